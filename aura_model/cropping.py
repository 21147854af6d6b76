"""The one geometry by which a face, or the middle of a frame, is cut out."""

import math

import cv2
import numpy as np

from aura_model.faces import Floats, Image

# Eyes, nose and mouth corners as shares of an aligned face's side: the five points of the ArcFace template
# (Deng et al., 2019; InsightFace) over its 112 pixels.
_NEUTRAL = ((0.3419, 0.4616), (0.6565, 0.4598), (0.5002, 0.6405), (0.3710, 0.8247), (0.6315, 0.8233))
_LARGEST_WORK = 4096


def square_crop(box: Floats, margin: float) -> tuple[float, float, float]:
    """The square around a face box: centre x, centre y and side, `margin` of the longer side added on each side."""
    x1, y1, x2, y2 = (float(value) for value in box)
    return (x1 + x2) / 2, (y1 + y2) / 2, max(x2 - x1, y2 - y1) * (1 + 2 * margin)


def crop_face(image: Image, box: Floats, landmarks: Floats, margin: float, size: int) -> tuple[Image, Floats]:
    """Cut the square around a face from the original image and resize it once.

    Args:
        image: uint8 [H, W, 3].
        box: [4] x1, y1, x2, y2 in the image's pixels; it may lie partly or wholly outside.
        landmarks: [5, 2] in the image's pixels.
        margin: added on each side, as a share of the box's longer side.
        size: of the crop, pixels.

    Returns:
        The crop, uint8 [size, size, 3], and the landmarks [5, 2] in its pixels. Outside the image its edge is
        repeated; a reflection would show parts of a face twice.
    """
    x, y, side = square_crop(box, margin)
    side = max(side, 1.0)
    left, top = x - side / 2, y - side / 2
    moved = (landmarks - np.array([left, top])) * (size / side)
    return resample(image, left, top, side, size), moved.astype(np.float32)


def center_crop(image: Image, size: int) -> tuple[Image, Floats, Floats]:
    """Cut out the largest centred square, for when no detector is used.

    Returns:
        The crop, uint8 [size, size, 3]; the square [4] in the image's pixels; neutral landmarks [5, 2] in the crop's.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = np.array([left, top, left + side, top + side], dtype=np.float32)
    landmarks = box[:2] + np.array(_NEUTRAL, dtype=np.float32) * side
    crop, moved = crop_face(image, box, landmarks, margin=0, size=size)
    return crop, box, moved


def resample(image: Image, left: float, top: float, side: float, size: int) -> Image:
    """Resize the square of `side` pixels at (left, top) to `size`, without aliasing or rounding to whole pixels.

    `warpAffine` alone would skip pixels when it shrinks, and a slice with `INTER_AREA` would round the square to whole
    pixels and shake from frame to frame. So the square is sampled bilinearly on a grid about as fine as the image's
    own, an integer multiple of the crop's, whose cells are then averaged.
    """
    factor = max(1, min(math.ceil(side / size), _LARGEST_WORK // size))
    step = side / (size * factor)
    matrix = np.array([[step, 0, left + step / 2 - 0.5], [0, step, top + step / 2 - 0.5]])
    work = cv2.warpAffine(
        image,
        matrix,
        (size * factor, size * factor),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if factor > 1:
        work = cv2.resize(work, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(work, dtype=np.uint8)
