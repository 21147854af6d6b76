"""What must not tell real from fake: edits that leave a label as it is, pictures without their face, facts of a file.

Shapes: T frames, S their side.
"""

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.stream import VideoStream

from aura_model.augment.codec import Encoding, to_picture, transcode
from aura_model.augment.face_model import REGIONS, apply, fit_cameras
from aura_model.augment.forgery import Masks
from aura_model.augment.perturbations import saturation
from aura_model.augment.video import LUMA, Frames, Landmarks, each, jitter_color

Statistics = tuple[float, ...]
Hidden = npt.NDArray[np.bool_]
"""[T, S, S]"""

GREY = 128
DILATION = 0.08
"""How much further than the face and the forgery is hidden, as a share of the crop's side."""
LEAST_VISIBLE = 0.1
"""Share of the picture that must be left for the background to be looked at."""
BAR = 0.1
"""Height of a letterbox's bar and of a caption, as a share of the crop's."""
RATE = 25
CRF = 23
SOUND_RATE = 16000


def caption(frames: Frames) -> Frames:
    """A line of text over the lower edge."""
    height, width = frames.shape[1:3]
    scale = height / 224

    def change(frame: Frames) -> Frames:
        written = frame.copy()
        place = round(0.04 * width), height - round(0.03 * height)
        for colour, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            weight = max(1, round(thickness * scale))
            cv2.putText(written, "and that is what", place, cv2.FONT_HERSHEY_SIMPLEX, 0.75 * scale, colour, weight)
        return written

    return each(frames, change)


def letterbox(frames: Frames) -> Frames:
    """Black bars over the upper and the lower edge."""
    barred, bar = frames.copy(), max(1, round(BAR * frames.shape[1]))
    barred[:, :bar] = 0
    barred[:, -bar:] = 0
    return barred


def brighter(frames: Frames) -> Frames:
    """Every value a fifth larger."""
    return jitter_color(frames, 1.2, 1.0, 1.0)


def darker(frames: Frames) -> Frames:
    """Every value a quarter smaller."""
    return jitter_color(frames, 0.75, 1.0, 1.0)


def grey(frames: Frames) -> Frames:
    """Without colour."""
    return saturation(frames, 0.0, np.random.default_rng(0))


EDITS: Mapping[str, Callable[[Frames], Frames]] = MappingProxyType(
    {"caption": caption, "letterbox": letterbox, "brighter": brighter, "darker": darker, "grey": grey}
)
"""Edits that make no real video a fake."""


def coded(frames: Frames, crf: int = CRF) -> Frames:
    """Encode a clip `[T, S, S, 3]` as H.264 at its own size and decode it: once more than it was."""
    height, width = frames.shape[1:3]
    encoding = Encoding("h264", crf, height, width, cv2.INTER_LINEAR, float(RATE), 12, 0, "veryfast")
    return transcode(frames, encoding)


def hidden_places(landmarks: Landmarks, mask: Masks) -> Hidden:
    """Where the face is, by landmarks `[T, 5, 2]`, or a forgery, by its mask `[T, S, S]`, and some way around both."""
    outlines = np.clip(apply(fit_cameras(landmarks), REGIONS["face"]), -4 * mask.shape[1], 5 * mask.shape[1])
    side = 2 * round(DILATION * mask.shape[1]) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    hidden = []
    for outline, forged in zip(outlines, mask, strict=True):
        filled = (forged > 0).astype(np.uint8)
        cv2.fillConvexPoly(filled, cv2.convexHull(np.rint(outline).astype(np.int32)), 1)
        hidden.append(cv2.dilate(filled, kernel) > 0)
    return np.stack(hidden)


def without(frames: Frames, hidden: Hidden) -> Frames:
    """The clip `[T, S, S, 3]` with grey where it is hidden."""
    return np.where(hidden[..., None], np.uint8(GREY), frames)


def picture_statistics(frames: Frames, hidden: Hidden) -> Statistics:
    """12 cheap statistics of what is not hidden: colours, gradients, change over time, 8 x 8 blocks, fine detail.

    Zeros where everything is hidden.
    """
    seen = ~hidden
    if not seen.any():
        return (0.0,) * 12
    colours = frames[seen].astype(np.float64)
    bright = frames.astype(np.float32) @ LUMA.astype(np.float32)
    both = [seen[:, :, 1:] & seen[:, :, :-1], seen[:, 1:] & seen[:, :-1], seen[1:] & seen[:-1]]
    steps = [np.abs(np.diff(bright, axis=axis)) for axis in (2, 1, 0)]
    changes = [_mean(step, where) for step, where in zip(steps, both, strict=True)]
    blocks = [_mean(steps[0][:, :, 7::8], both[0][:, :, 7::8]), _mean(steps[1][:, 7::8], both[1][:, 7::8])]
    fine = np.stack([cv2.Laplacian(one, cv2.CV_32F) for one in bright])
    whole = np.stack([cv2.erode(one.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0 for one in seen])
    return (*colours.mean(0), *colours.std(0), *changes, *blocks, _mean(np.abs(fine), whole))


def file_facts(frames: Frames) -> Statistics:
    """What a file of this clip tells without being looked at: bytes, frames, height, width, seconds.

    The file is an MP4 of H.264 at one fixed quality, made in memory; its bytes may differ by a few from time to time.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: VideoStream = container.add_stream("libx264", RATE, options={"crf": str(CRF), "preset": "veryfast"})
        stream.height, stream.width = (side + side % 2 for side in frames.shape[1:3])
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
        for time, frame in enumerate(frames):
            container.mux(stream.encode(to_picture(frame, time, *(side % 2 for side in frame.shape[:2]))))
        container.mux(stream.encode(None))
    return (float(len(file.getvalue())), float(len(frames)), *map(float, frames.shape[1:3]), len(frames) / RATE)


def silence(seconds: float) -> npt.NDArray[np.float32]:
    """A sound track of nothing."""
    return np.zeros(round(seconds * SOUND_RATE), np.float32)


def _mean(values: npt.NDArray[np.generic], where: Hidden) -> float:
    return float(values[where].mean()) if where.any() else 0.0
