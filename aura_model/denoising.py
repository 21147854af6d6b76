"""Noise is taken out of pictures before they are scored: it hides what a blend leaves behind, and is easily removed.

Film, codecs and resizing leave little of it in faces; what is left comes from dim light, high sensitivity and cheap
sensors.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]
"""[T, H, W, 3], RGB."""
Plane = npt.NDArray[np.uint8]
"""[H, W], one colour component of one picture."""
PATCH, REACH = 5, 15
"""Sides of what is compared, and of where it is looked for, in pixels."""
LEAST_SIDE = 3
"""Pixels that a picture needs on each side to tell noise from what it shows."""
_CURVATURE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_GAIN = 6.0
"""Standard deviation of `_CURVATURE` over noise of one level."""
_MEDIAN_OF_NORMAL = 0.6745
"""Half of the normal distribution's values lie within so many standard deviations."""


def noise_level(plane: Plane) -> float:
    """The standard deviation of white noise in a picture, in levels of 255; next to 0 without noise.

    What the mask of Immerkær (1996, "Fast Noise Variance Estimation") lets through, which takes no notice of constant
    slopes, by the median as Donoho (1995) has it: edges and texture are few, noise is everywhere.
    """
    if min(plane.shape) < LEAST_SIDE:
        return 0.0
    curvature = cv2.filter2D(plane, cv2.CV_32F, _CURVATURE)[1:-1, 1:-1]
    return float(np.median(np.abs(curvature))) / _MEDIAN_OF_NORMAL / _GAIN


def denoised(frames: Frames, least: float) -> Frames:
    """Frames without their noise, or themselves where there is less of it than `least`.

    Non-local means (Buades, Coll and Morel, 2005) of brightness and of both colour differences, each by its own noise,
    which is taken to be the same throughout the clip. A stronger filter finds as many forgeries and accuses more
    genuine faces: it leaves them as smooth as a forgery.

    Args:
        frames: uint8 [T, H, W, 3] of one clip.
        least: levels of 255, of the brightness in the middle of the clip.
    """
    if noise_level(cv2.cvtColor(frames[len(frames) // 2], cv2.COLOR_RGB2GRAY)) < least:
        return frames
    pictures = [cv2.split(cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb)) for frame in frames]
    levels = [float(np.median([noise_level(plane) for plane in planes])) for planes in zip(*pictures, strict=True)]
    return np.stack([_filtered(planes, levels) for planes in pictures])


def _filtered(planes: Sequence[Any], levels: Sequence[float]) -> Frames:
    clean = [
        cv2.fastNlMeansDenoising(plane, None, level, PATCH, REACH) for plane, level in zip(planes, levels, strict=True)
    ]
    return np.asarray(cv2.cvtColor(cv2.merge(clean), cv2.COLOR_YCrCb2RGB), np.uint8)
