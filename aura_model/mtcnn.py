"""MTCNN (Zhang et al., 2016): three small networks in NumPy, with the weights of the package `mtcnn`."""

import hashlib
import importlib.util
import io
import math
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np

from aura_model.config import FaceConfig
from aura_model.cropping import resample
from aura_model.errors import ConfigError
from aura_model.faces import Face, Floats, Image, largest_first, shrink, suppress

WEIGHTS_SHA256 = MappingProxyType(
    {
        "pnet": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
        "rnet": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
        "onet": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
    }
)
"""Of the files in mtcnn 1.0.0. They are pickles, so a file is never loaded before its digest is known."""
_MIN_FACE = 40
_CELL, _STRIDE = 12, 2
_PYRAMID_STEP = 0.709
_PROPOSAL_THRESHOLD, _REFINE_THRESHOLD = 0.6, 0.7
_MOST_CANDIDATES = 1024
"""Windows passed from one network to the next, the best first: bounds time and memory for any picture."""


class MTCNN:
    """Finds faces with five landmarks; a face needs about 40 pixels after scaling to `detection_side`.

    Runs on as many threads as NumPy's BLAS is allowed, see OPENBLAS_NUM_THREADS.
    """

    def __init__(self, config: FaceConfig) -> None:
        """Load the weights.

        Raises:
            ConfigError: the package `mtcnn` is not installed, or a file of weights is not the known one.
        """
        self._config = config
        folder = weights_folder()
        self._propose, self._refine, self._output = (load_weights(folder / f"{name}.lz4") for name in WEIGHTS_SHA256)

    def detect(self, image: Image) -> list[Face]:
        """See `FaceDetector.detect`; the image is scaled down to `detection_side` first."""
        small = shrink(image, self._config.detection_side)
        scale = np.array(image.shape[1::-1], dtype=np.float32) / np.array(small.shape[1::-1], dtype=np.float32)
        boxes, landmarks, scores = self._finish(small, self._narrow(small, self._proposals(small)))
        faces = (
            Face(box * np.tile(scale, 2), points * scale, float(score))
            for box, points, score in zip(boxes, landmarks, scores, strict=True)
        )
        return largest_first(faces, self._config.min_side)

    def _proposals(self, image: Image) -> Floats:
        """Stage 1, on a pyramid of the whole image: square candidate windows [n, 4]."""
        found = [self._proposals_at(image, scale) for scale in _pyramid(*image.shape[:2])]
        if not found:
            return np.zeros((0, 4), dtype=np.float32)
        boxes, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return _squares(boxes[suppress(boxes, scores, 0.7)[:_MOST_CANDIDATES]])

    def _proposals_at(self, image: Image, scale: float) -> tuple[Floats, Floats]:
        height, width = (math.ceil(side * scale) for side in image.shape[:2])
        scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        scores, shifts = propose(self._propose, _normalise(np.asarray(scaled, dtype=np.uint8)[None]))
        rows, columns = np.nonzero(scores[0] > _PROPOSAL_THRESHOLD)
        sure = scores[0, rows, columns]
        corner = np.stack([columns, rows], axis=1).astype(np.float32) * _STRIDE
        boxes = (np.concatenate([corner, corner + _CELL], axis=1) + shifts[0, rows, columns] * _CELL) / scale
        best = np.argsort(-sure, kind="stable")[:_MOST_CANDIDATES]
        kept = best[suppress(boxes[best], sure[best], 0.5)]
        return boxes[kept].astype(np.float32), sure[kept]

    def _narrow(self, image: Image, boxes: Floats) -> Floats:
        """Stage 2: drop most candidates, move the others."""
        scores, shifts = refine(self._refine, _patches(image, boxes, 24))
        sure = scores > _REFINE_THRESHOLD
        moved = _move(boxes[sure], shifts[sure])
        return _squares(moved[suppress(moved, scores[sure], 0.7)])

    def _finish(self, image: Image, boxes: Floats) -> tuple[Floats, Floats, Floats]:
        """Stage 3: final boxes [n, 4], landmarks [n, 5, 2] and scores [n]."""
        scores, shifts, points = output(self._output, _patches(image, boxes, 48))
        sure = scores > self._config.threshold
        landmarks = boxes[sure, None, :2] + points[sure] * (boxes[sure, None, 2:] - boxes[sure, None, :2])
        moved = _move(boxes[sure], shifts[sure])
        kept = suppress(moved, scores[sure], 0.7, over="smaller")
        return moved[kept], landmarks[kept].astype(np.float32), scores[sure][kept]


def weights_folder() -> Path:
    """Where the package `mtcnn` keeps its weights, found without importing it (it would import TensorFlow).

    Raises:
        ConfigError: it is not installed.
    """
    spec = importlib.util.find_spec("mtcnn")
    if spec is None or not spec.submodule_search_locations:
        advice = "pip install -e '.[mtcnn]' in Aura's folder"
        raise ConfigError(f"dataset.face.detector is mtcnn, which is not installed: {advice}")
    return Path(spec.submodule_search_locations[0]) / "assets" / "weights"


def load_weights(path: Path) -> list[Floats]:
    """Read one network's tensors, in its layers' order, after checking the file's digest.

    Raises:
        ConfigError: the file is missing, or is not the known one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256.get(path.stem):
        raise ConfigError(f'{path} is not the file of mtcnn 1.0.0: pip install --force-reinstall "mtcnn==1.0.0"')
    import joblib

    tensors: list[Floats] = joblib.load(io.BytesIO(content))
    return tensors


def propose(weights: Sequence[Floats], images: Floats) -> tuple[Floats, Floats]:
    """P-Net on images [n, h, w, 3]: scores [n, h', w'] and box shifts [n, h', w', 4] of every 12-pixel window."""
    x = _max_pool(_conv(images, *weights[0:3]), 2)
    x = _conv(_conv(x, *weights[3:6]), *weights[6:9])
    return _face_share(x @ weights[11][0, 0] + weights[12]), x @ weights[9][0, 0] + weights[10]


def refine(weights: Sequence[Floats], images: Floats) -> tuple[Floats, Floats]:
    """R-Net on windows [n, 24, 24, 3]: scores [n] and box shifts [n, 4]."""
    x = _max_pool(_conv(images, *weights[0:3]), 3)
    x = _max_pool(_conv(x, *weights[3:6]), 3)
    x = _dense(_conv(x, *weights[6:9]), *weights[9:12])
    return _face_share(x @ weights[14] + weights[15]), x @ weights[12] + weights[13]


def output(weights: Sequence[Floats], images: Floats) -> tuple[Floats, Floats, Floats]:
    """O-Net on windows [n, 48, 48, 3]: scores [n], box shifts [n, 4], landmarks [n, 5, 2] as shares of the window."""
    x = _max_pool(_conv(images, *weights[0:3]), 3)
    x = _max_pool(_conv(x, *weights[3:6]), 3)
    x = _max_pool(_conv(x, *weights[6:9]), 2)
    x = _dense(_conv(x, *weights[9:12]), *weights[12:15])
    points = (x @ weights[17] + weights[18]).reshape(-1, 2, 5).transpose(0, 2, 1)
    return _face_share(x @ weights[19] + weights[20]), x @ weights[15] + weights[16], points


def _conv(x: Floats, kernel: Floats, bias: Floats, slope: Floats) -> Floats:
    """Convolution without padding, kernel [kh, kw, in, out], and PReLU; x is [n, h, w, in]."""
    height, width = kernel.shape[:2]
    rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
    y = np.broadcast_to(bias, (len(x), rows, columns, len(bias))).copy()
    for i in range(height):
        for j in range(width):
            y += x[:, i : i + rows, j : j + columns] @ kernel[i, j]
    return _prelu(y, slope)


def _dense(x: Floats, kernel: Floats, bias: Floats, slope: Floats) -> Floats:
    """A fully connected layer and PReLU; the weights expect a window's columns before its rows."""
    return _prelu(x.transpose(0, 2, 1, 3).reshape(len(x), len(kernel)) @ kernel + bias, slope)


def _prelu(x: Floats, slope: Floats) -> Floats:
    return np.maximum(x, 0) + slope * np.minimum(x, 0)


def _max_pool(x: Floats, size: int) -> Floats:
    """Maximum over size x size pixels at every second one; windows at the end may be cut (ceil mode)."""
    pooled = x
    for axis in (1, 2):
        count = math.ceil(max(0, pooled.shape[axis] - size) / 2) + 1
        starts = 2 * np.arange(count)
        last = pooled.shape[axis] - 1
        parts = [np.take(pooled, np.minimum(starts + k, last), axis=axis) for k in range(size)]
        pooled = np.maximum.reduce(parts)
    return pooled


def _face_share(logits: Floats) -> Floats:
    """Softmax of [..., 2], the second class."""
    return np.asarray(1 / (1 + np.exp(np.clip(logits[..., 0] - logits[..., 1], -80, 80))), dtype=np.float32)


def _normalise(images: Image) -> Floats:
    return (images.astype(np.float32) - np.float32(127.5)) / np.float32(128)


def _pyramid(height: int, width: int) -> list[float]:
    """Scales at which a face of 40 pixels and more measures 12."""
    scales = []
    scale = _CELL / _MIN_FACE
    while min(height, width) * scale >= _CELL:
        scales.append(scale)
        scale *= _PYRAMID_STEP
    return scales


def _patches(image: Image, boxes: Floats, size: int) -> Floats:
    """The square windows [n, 4] of an image as [n, size, size, 3]."""
    patches = np.zeros((len(boxes), size, size, 3), dtype=np.uint8)
    for patch, (left, top, right, _) in zip(patches, boxes.tolist(), strict=True):
        patch[:] = resample(image, left, top, right - left, size)
    return _normalise(patches)


def _move(boxes: Floats, shifts: Floats) -> Floats:
    """Add shifts [n, 4], given as shares of the width and height."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return (boxes + shifts * np.tile(sides, 2)).astype(np.float32)


def _squares(boxes: Floats) -> Floats:
    """The square of the longer side around each box's centre."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = np.max(boxes[:, 2:] - boxes[:, :2], axis=1, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
