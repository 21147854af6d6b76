"""Where each face of a file looks forged, as the reply tells it: numbers, the hottest place and a picture."""

from base64 import b64encode
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from aura_model.analysis import moment
from aura_model.clips import Clip, Clips
from aura_model.config import FaceConfig
from aura_model.cropping import square_crop
from aura_model.faces import has_detector
from aura_model.heatmap import Heat, Image, hottest, overlay
from aura_model.reply import FaceBox, Heatmap, Peak
from aura_model.scores import ClipScore

Maps = npt.NDArray[np.float32]
"""[T, h, w] the map of each frame of a clip."""

PICTURE = 176
"""Most pixels of a picture's side: its PNG stays below 100 kB, whatever is in it."""


def explain(clips: Clips, scores: Sequence[ClipScore], face: FaceConfig) -> dict[int, Heatmap]:
    """The heat-map of each face, by track_id: of the clip that looks most fake, the mean over its frames.

    The picture shows the frame with the hottest place. Faces whose scores have no map are left out.

    Args:
        clips: with pixels.
        scores: one for each clip, in the same order.
        face: how the crops were cut out.
    """
    worst: dict[int, tuple[float, Clip, Maps]] = {}
    for clip, score in zip(clips.clips, scores, strict=True):
        if clip.track_id is None or score.heatmap is None:
            continue
        if clip.track_id not in worst or score.fake > worst[clip.track_id][0]:
            worst[clip.track_id] = score.fake, clip, score.heatmap
    return {track_id: _explain(clip, maps, face, clips.media.duration) for track_id, (_, clip, maps) in worst.items()}


def _explain(clip: Clip, maps: Maps, face: FaceConfig, duration: float) -> Heatmap:
    """The heat-map of one clip."""
    assert clip.frames is not None  # it has maps
    assert clip.boxes is not None
    heat: Heat = maps.mean(axis=0)
    frame = int(maps.max(axis=(1, 2)).argmax())
    area = _area(clip.boxes[frame], moment(float(clip.times[frame]), duration), face)
    peak = hottest(heat)
    return Heatmap(
        area=area,
        values=tuple(tuple(round(float(value), 3) for value in row) for row in heat),
        peak=Peak(
            x=round(area.x1 + peak.x * (area.x2 - area.x1), 1),
            y=round(area.y1 + peak.y * (area.y2 - area.y1), 1),
            probability=round(peak.probability, 3),
        ),
        image=_data_uri(overlay(_small(clip.frames[frame]), heat)),
    )


def _area(box: npt.NDArray[np.float32], time: float, face: FaceConfig) -> FaceBox:
    """The square that the crop shows, in source pixels."""
    x, y, side = square_crop(box, face.margin if has_detector(face) else 0.0)
    x1, y1, x2, y2 = (round(value, 1) for value in (x - side / 2, y - side / 2, x + side / 2, y + side / 2))
    return FaceBox(time=time, x1=x1, y1=y1, x2=x2, y2=y2)


def _small(crop: Image) -> Image:
    if len(crop) <= PICTURE:
        return crop
    return np.asarray(cv2.resize(crop, (PICTURE, PICTURE), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _data_uri(picture: Image) -> str:
    _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return f"data:image/png;base64,{b64encode(data.tobytes()).decode()}"
