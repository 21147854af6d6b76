"""Faces in one image: the detector's contract, and what the detectors share."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from aura_model.config import FaceConfig

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Face:
    """A detected face, in pixels of the image given; the box may reach past the image's edge."""

    box: Floats
    """[4] x1, y1, x2, y2; pixel i covers i..i+1."""
    landmarks: Floats
    """[5, 2] x, y of the eyes, the nose and the mouth corners, each pair from the image's left to its right."""
    score: float
    """0..1."""

    @property
    def area(self) -> float:
        """Of the box, square pixels."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))

    @property
    def side(self) -> float:
        """The box's longer side, pixels."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))


class FaceDetector(Protocol):
    """What finds faces."""

    def detect(self, image: Image) -> list[Face]:
        """Find the faces of an RGB image [H, W, 3] of any size, the largest first."""
        ...


def has_detector(config: FaceConfig) -> bool:
    """Whether faces are looked for; else the frame's centre is cropped, without a margin."""
    return config.detect and config.detector != "center_crop"


def make_detector(config: FaceConfig, threads: int) -> FaceDetector | None:
    """Build the configured detector; None where the frame's centre is cropped instead.

    Raises:
        ConfigError: the detector's package is not installed, or its weights are not the known ones.
    """
    if not has_detector(config):
        return None
    if config.detector == "mtcnn":
        from aura_model.mtcnn import MTCNN

        return MTCNN(config)
    from aura_model.retinaface import RetinaFace

    return RetinaFace(config, threads)


def largest_first(faces: Iterable[Face], min_side: float) -> list[Face]:
    """Drop the faces without area or with a longer side below `min_side` pixels and sort the others by area."""
    kept = (face for face in faces if face.area > 0 and face.side >= min_side)
    return sorted(kept, key=lambda face: (-face.area, *face.box.tolist()))


def shrink(image: Image, long_side: int) -> Image:
    """Scale an image down until its longer side is `long_side`; a smaller one is returned as it is."""
    height, width = image.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return image
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, target, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def overlaps(a: Floats, b: Floats, over: Literal["union", "smaller"] = "union") -> Floats:
    """Intersection of each box of `a` [n, 4] with each of `b` [m, 4], as a share of their union or of the smaller one.

    Returns:
        [n, m]; 0 for boxes without area.
    """
    corner1 = np.maximum(a[:, None, :2], b[None, :, :2])
    corner2 = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(corner2 - corner1, 0, None), axis=2)
    area_a = np.prod(np.clip(a[:, 2:] - a[:, :2], 0, None), axis=1)[:, None]
    area_b = np.prod(np.clip(b[:, 2:] - b[:, :2], 0, None), axis=1)[None, :]
    whole = np.minimum(area_a, area_b) if over == "smaller" else area_a + area_b - shared
    return np.asarray(np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0), dtype=np.float32)


def suppress(
    boxes: Floats, scores: Floats, threshold: float, over: Literal["union", "smaller"] = "union"
) -> npt.NDArray[np.intp]:
    """Non-maximum suppression: indices of the boxes kept, the best score first.

    A box goes when it overlaps a better one that is kept by more than `threshold`.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best = order[0]
        kept.append(int(best))
        others = order[1:]
        order = others[overlaps(boxes[best][None], boxes[others], over)[0] <= threshold]
    return np.asarray(kept, dtype=np.intp)
