"""The faces of a video in given windows of time: found, followed and cut out, with one window in memory at a time."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from aura_model.config import FaceConfig, LimitsConfig
from aura_model.cropping import center_crop, crop_face
from aura_model.errors import MediaError
from aura_model.faces import Face, FaceDetector, Floats, Image
from aura_model.frames import Converter, FrameReader, ShownFrame
from aura_model.media import Media
from aura_model.stopwatch import Stopwatch
from aura_model.tracks import Detection, Track, link

SPARE = 2
"""A window keeps so many times `max_faces`: which faces lead over the whole video is known at its end."""
Window = npt.NDArray[np.float64]
"""[T] moments in seconds, rising."""


@dataclass(frozen=True, eq=False)
class Crops:
    """One face in one window."""

    window: int
    track_id: int
    frames: npt.NDArray[np.uint8]
    """[T, size, size, 3] RGB."""
    boxes: npt.NDArray[np.float32]
    """[T, 4] the face, source pixels as displayed (of the first frame, where the size changes)."""
    landmarks: npt.NDArray[np.float32]
    """[T, 5, 2] in crop pixels."""


@dataclass(frozen=True, eq=False)
class Picture:
    """What the video stream of one file gave."""

    crops: list[Crops]
    """By track, the most prominent first, then by window."""
    width: int
    height: int
    rotation: int
    damaged: bool
    """Some packets or frames could not be decoded, or not wholly."""
    faces_left_out: bool
    """Some faces were seen and not cut out, as there were more than `max_faces` at a time."""


class PictureReader:
    """Cuts faces out of one video; with no detector, the centre of each frame."""

    def __init__(self, detector: FaceDetector | None, face: FaceConfig, limits: LimitsConfig, threads: int) -> None:
        self._detector = detector
        self._face = face
        self._limits = limits
        self._threads = threads

    def read(self, media: Media, windows: Sequence[Window], watch: Stopwatch) -> Picture:
        """Follow the faces through `windows`, which may overlap but begin in rising order.

        Raises:
            MediaError: corrupt_video, or a frame beyond the size limits.
        """
        reader = FrameReader(media, self._limits, self._threads)
        work = _Faces(self._detector, self._face, Converter(self._threads), reader)
        for index, frames in enumerate(_by_window(reader, windows)):
            watch.lap("decode")
            work.add(index, windows[index], frames)
            frames.clear()  # before the next window is decoded
            watch.lap("faces")
        if reader.garbled:
            raise MediaError("corrupt_video", "Hardly a frame can be decoded; send an intact, unencrypted video.")
        crops, left_out = work.finish()
        watch.lap("faces")
        return Picture(crops, *_displayed(reader), reader.orientation.degrees, reader.damaged, left_out)


class _Faces:
    """Collects the crops of each window, then names their tracks over the whole video."""

    def __init__(
        self, detector: FaceDetector | None, config: FaceConfig, convert: Converter, reader: FrameReader
    ) -> None:
        self._detector = detector
        self._config = config
        self._convert = convert
        self._reader = reader
        self._detections: list[Detection] = []
        self._local: list[tuple[Crops, Track]] = []
        self._beyond: list[Track] = []
        self._centres: list[Crops] = []

    def add(self, index: int, times: Window, frames: Sequence[ShownFrame]) -> None:
        """Cut the faces out of window `index`; `frames` [T] are those on display at `times` [T]."""
        images = _Images(frames, self._convert, _displayed(self._reader))
        if self._detector is None:
            self._centres.append(_centre(index, images, self._config.size))
            return
        found = self._detect(self._detector, times, images)
        self._detections.extend(found)
        present = [track for track in link(found) if track.covers(times[0], times[-1])]
        most = SPARE * self._config.max_faces
        tracks, beyond = present[:most], present[most:]
        self._local.extend(zip(_cut(index, tracks, times, images, self._config), tracks, strict=True))
        self._beyond.extend(beyond)

    def _detect(self, detector: FaceDetector, times: Window, images: "_Images") -> list[Detection]:
        """Search every k-th frame and the last one, and all of them where a face comes or goes.

        A frame that is shown again is not searched again.
        """
        found: dict[int, list[Face]] = {}

        def search(i: int) -> Detection:
            key = images.key(i)
            if key not in found:
                found[key] = [_unscaled(face, images.scale(images[i])) for face in detector.detect(images[i])]
            return Detection(float(times[i]), found[key])

        sparse = sorted({*range(0, len(times), self._config.every), len(times) - 1})
        detections = [search(i) for i in sparse]
        if all(_same_faces(one, other) for one, other in pairwise(detections)):
            return detections
        return [search(i) for i in range(len(times))]

    def finish(self) -> tuple[list[Crops], bool]:
        """In each window the `max_faces` that lead over the whole video; and whether a face has no crop at all.

        The crops have the numbers of their tracks in the whole video, the most prominent first.
        """
        tracks, left_out, taken = list[list[Crops]](), False, Counter[int]()
        for track in link(self._detections):
            parts = [crops for crops, local in self._local if _is_part(local, track)]
            chosen = [crops for crops in parts if taken[crops.window] < self._config.max_faces]
            taken.update(crops.window for crops in chosen)
            if chosen:
                tracks.append(chosen)
            elif parts or any(_is_part(local, track) for local in self._beyond):
                left_out = True
        named = [replace(crops, track_id=number) for number, chosen in enumerate(tracks) for crops in chosen]
        return [*self._centres, *named], left_out


class _Images:
    """The frames of a window as RGB, converted when first used; a frame shown twice in a row is converted once."""

    def __init__(self, frames: Sequence[ShownFrame], convert: Converter, size: tuple[int, int]) -> None:
        self._frames = frames
        self._convert = convert
        self._size = size
        self._images: dict[int, Image] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Image:
        key = self.key(index)
        if key not in self._images:
            self._images[key] = self._convert.rgb(self._frames[index])
        return self._images[key]

    def scale(self, image: Image) -> Floats:
        """[2] x, y: how many pixels of an image one of the video's is; calls over a poor network change their size."""
        height, width = image.shape[:2]
        return np.array([width / self._size[0], height / self._size[1]], dtype=np.float32)

    def take(self) -> Iterator[Image]:
        """Each image in turn, forgotten afterwards: a window of large frames would fill the child's memory."""
        for index in range(len(self)):
            yield self[index]
            if index + 1 == len(self) or self.key(index + 1) != self.key(index):
                del self._images[self.key(index)]

    def key(self, index: int) -> int:
        """The same for the same frame."""
        return id(self._frames[index])


def _by_window(reader: FrameReader, windows: Sequence[Window]) -> Iterator[list[ShownFrame]]:
    """The frames of each window, read in one pass; windows may overlap."""
    pending = sorted((float(time), index) for index, window in enumerate(windows) for time in window)
    frames: list[list[ShownFrame]] = [[] for _ in windows]
    for time, index in pending:
        frames[index].append(reader.at(time))
        if len(frames[index]) == len(windows[index]):
            yield frames[index]
            frames[index] = []


def _cut(index: int, tracks: Sequence[Track], times: Window, images: _Images, config: FaceConfig) -> list[Crops]:
    """One face after the other from each frame in turn; where a face is not there yet or any more, its nearest crop."""
    if not tracks:
        return []
    boxes = [track.boxes_at(times) for track in tracks]
    points = [track.landmarks_at(times) for track in tracks]
    cut = [
        _cut_image(image, [b[i] for b in boxes], [p[i] for p in points], images.scale(image), config)
        for i, image in enumerate(images.take())
    ]
    crops = []
    for k, track in enumerate(tracks):
        shown = _shown(track, times)
        frames, landmarks = (np.stack([cut[i][k][part] for i in shown]) for part in (0, 1))
        crops.append(Crops(index, track.id, frames, boxes[k][shown], landmarks))
    return crops


def _shown(track: Track, times: Window) -> npt.NDArray[np.int64]:
    """[T] which frame of a window shows the face nearest to each of its moments."""
    first, last = np.searchsorted(times, track.times[[0, -1]])
    return np.clip(np.arange(len(times)), first, last)


def _cut_image(
    image: Image, boxes: Sequence[Floats], points: Sequence[Floats], scale: Floats, config: FaceConfig
) -> list[tuple[Image, Floats]]:
    """Cut faces out of one image; boxes and landmarks are in the video's pixels."""
    faces = zip(boxes, points, strict=True)
    return [crop_face(image, box * np.tile(scale, 2), five * scale, config.margin, config.size) for box, five in faces]


def _centre(index: int, images: _Images, size: int) -> Crops:
    cut = [(center_crop(image, size), images.scale(image)) for image in images.take()]
    frames = np.stack([frame for (frame, _, _), _ in cut])
    boxes = np.stack([box * np.tile(np.reciprocal(scale), 2) for (_, box, _), scale in cut])
    return Crops(index, 0, frames, boxes, np.stack([points for (_, _, points), _ in cut]))


def _is_part(local: Track, whole: Track) -> bool:
    """Whether the first detection of a window's track is one of the whole video's track."""
    return bool(np.any((whole.times == local.times[0]) & np.all(whole.boxes == local.boxes[0], axis=1)))


def _same_faces(one: Detection, other: Detection) -> bool:
    """Whether each face of two frames goes on from one to the other."""
    return all(len(track.times) == 2 for track in link((one, other)))


def _unscaled(face: Face, scale: Floats) -> Face:
    """A face of one image in the video's pixels."""
    inverse = np.reciprocal(scale)
    return Face(face.box * np.tile(inverse, 2), face.landmarks * inverse, face.score)


def _displayed(reader: FrameReader) -> tuple[int, int]:
    """Width and height of the first frame as displayed."""
    return (reader.height, reader.width) if reader.orientation.turns % 2 else (reader.width, reader.height)
