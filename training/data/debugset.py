"""A tiny labelled set made from the media that the tests use, for a run without any data."""

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from training.data.manifest import Sample
from training.data.splits import Split

MEDIA = Path(__file__).parents[2] / "tests" / "media"
SOURCES = ("talking_face.mp4", "talking_face_b.mp4")
SPLITS: tuple[Split, ...] = ("train", "val")
PER_LABEL = 2
ARTEFACT = 12
"""Levels by which the artefact lifts and lowers the green of a pixel."""

Image = npt.NDArray[np.uint8]


def debug_samples(samples: Sequence[Sample]) -> list[Sample]:
    """At most two real and two fake samples of each of the splits train and val."""
    return [
        sample
        for split in SPLITS
        for label in (0, 1)
        for sample in [one for one in samples if (one.split, one.label) == (split, label)][:PER_LABEL]
    ]


def make_debug_set(root: Path, media: Path = MEDIA) -> list[Sample]:
    """Write four training and four validation videos below `root`: real ones, and fakes with an obvious artefact.

    The validation videos are the training videos mirrored, so a good result on them means nothing.

    Raises:
        FileNotFoundError: the tests' media are not there, as in an installed package.
    """
    return [_make(root, media / source, split, label) for source in SOURCES for split in SPLITS for label in (0, 1)]


def add_artefact(frame: Image) -> Image:
    """A green checkerboard of 4-pixel squares over an RGB frame `[H, W, 3]`: easy to learn, and a face stays a face."""
    rows, columns = np.ogrid[: frame.shape[0], : frame.shape[1]]
    marked = frame.astype(np.int16)
    marked[..., 1] += np.where((rows // 4 + columns // 4) % 2, ARTEFACT, -ARTEFACT).astype(np.int16)
    return np.clip(marked, 0, 255).astype(np.uint8)


def rewrite(source: Path, target: Path, edit: Callable[[Image], Image]) -> None:
    """Write `source` to `target` as H.264, each frame edited; the sound is copied as it is."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        seen, heard = reader.streams.video[0], reader.streams.audio[0]
        picture, sound = writer.add_stream("libx264", rate=seen.average_rate), writer.add_stream_from_template(heard)
        picture.width, picture.height, picture.pix_fmt = seen.width, seen.height, "yuv420p"
        picture.options = {"preset": "ultrafast", "crf": "18"}
        for packet in reader.demux(heard):
            if packet.dts is not None:  # not the empty packet that ends the stream
                packet.stream = sound
                writer.mux(packet)
        reader.seek(0)
        for frame in reader.decode(seen):
            writer.mux(picture.encode(_edited(frame, edit)))
        writer.mux(picture.encode(None))


def _edited(frame: VideoFrame, edit: Callable[[Image], Image]) -> VideoFrame:
    edited = VideoFrame.from_ndarray(edit(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)))
    edited.pts, edited.time_base = frame.pts, frame.time_base
    return edited


def _make(root: Path, source: Path, split: Split, label: int) -> Sample:
    video_id = f"{source.stem}-{split}-{'fake' if label else 'real'}"
    path = root / split / video_id / "video.mp4"
    path.parent.mkdir(parents=True)

    def edit(frame: Image) -> Image:
        """Mirror a validation frame and mark a fake one."""
        turned = np.ascontiguousarray(frame[:, ::-1]) if split == "val" else frame
        return add_artefact(turned) if label else turned

    rewrite(source, path, edit)
    return Sample(video_id, label, split, str(path))
