"""Picture augmentation. Shapes: T frames, H rows, W columns. Every frame of a clip is changed in the same way.

No function writes to its input, which may be read-only. Values are rounded and clipped to 0..255.
"""

from collections.abc import Callable
from statistics import NormalDist
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]
Landmarks = npt.NDArray[np.float32]

Number = TypeVar("Number", np.uint8, np.float32)

MIRRORED_LANDMARKS = (1, 0, 2, 4, 3)
"""Where left eye, right eye, nose, left and right mouth corner go in a mirror."""
LUMA = np.array([0.299, 0.587, 0.114])
"""The weights of red, green and blue in brightness (ITU-R BT.601)."""
LEVELS = 256
"""The grain is drawn from this many equally likely values of a Gaussian."""


def flip(frames: Frames, landmarks: Landmarks) -> tuple[Frames, Landmarks]:
    """Mirror frames `[T, H, W, 3]` and landmarks `[T, 5, 2]` (crop pixels, 0 is the left edge) left to right."""
    mirrored = landmarks[:, MIRRORED_LANDMARKS].copy()
    mirrored[..., 0] = frames.shape[2] - mirrored[..., 0]
    return _like(frames, cv2.flip(_one_picture(frames), 1)), mirrored


def crop(frames: Frames, landmarks: Landmarks, share: float, right: float, down: float) -> tuple[Frames, Landmarks]:
    """Cut one window out of all frames `[T, H, W, 3]` and enlarge it to their size; landmarks `[T, 5, 2]` follow.

    Args:
        frames: the clip.
        landmarks: in crop pixels; one that is cut away lies outside the new frames.
        share: the window's sides as a share of the frame's, above 0 to 1.
        right: where the window lies, from 0 (at the left edge) to 1 (at the right edge).
        down: likewise from the top edge to the bottom edge.
    """
    height, width = frames.shape[1:3]
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    top, left = round((height - rows) * down), round((width - columns) * right)
    cut = frames[:, top : top + rows, left : left + columns]
    moved = (landmarks - np.array([left, top])) * np.array([width / columns, height / rows])
    return each(cut, lambda frame: cv2.resize(frame, (width, height))), moved.astype(np.float32)


def jitter_color(frames: Frames, brightness: float, contrast: float, saturation: float) -> Frames:
    """Scale brightness, contrast about the clip's mean grey, and saturation of `[T, H, W, 3]`; 1 changes nothing.

    The three are one affine map of (red, green, blue), so that nothing is clipped between them.
    """
    picture = _one_picture(frames)
    mean = brightness * float(LUMA @ cv2.mean(picture)[:3])
    mixing = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * np.tile(LUMA, (3, 1)))
    offset = np.full((3, 1), (1 - contrast) * mean)
    return _like(frames, cv2.transform(picture, np.hstack([mixing, offset])))


def blur(frames: Frames, deviation: float) -> Frames:
    """Smooth `[T, H, W, 3]` with a Gaussian of standard `deviation` in pixels; 0 changes nothing."""
    if deviation <= 0:
        return frames
    return each(frames, lambda frame: cv2.GaussianBlur(frame, (0, 0), deviation))


def sharpen(frames: Frames, amount: float) -> Frames:
    """Unsharp masking of `[T, H, W, 3]` by this amount; 0 changes nothing."""
    if amount <= 0:
        return frames
    return each(frames, lambda frame: unsharp(frame, amount, 1.0))


def unsharp(picture: npt.NDArray[Number], amount: float, deviation: float) -> npt.NDArray[Number]:
    """Add `amount` times what a Gaussian of `deviation` pixels takes away, in the picture's own kind of numbers."""
    soft = cv2.GaussianBlur(picture, (0, 0), deviation)
    return np.asarray(cv2.addWeighted(picture, 1 + amount, soft, -amount, 0), dtype=picture.dtype)


def add_noise(frames: Frames, deviation: float, rng: np.random.Generator) -> Frames:
    """Add Gaussian grain of standard `deviation` (levels of 255) to `[T, H, W, 3]`, another in each frame.

    Bytes that index a table of the Gaussian's quantiles cost a tenth of drawing a float for each value.
    """
    if deviation <= 0:
        return frames
    normal = NormalDist()
    quantiles = np.array([normal.inv_cdf((level + 0.5) / LEVELS) for level in range(LEVELS)])
    added = np.clip(np.rint(deviation * quantiles), -255, 255)
    drawn = np.frombuffer(rng.bytes(frames.size), np.uint8).reshape(_one_picture(frames).shape)
    brighter = cv2.add(_one_picture(frames), cv2.LUT(drawn, np.maximum(added, 0).astype(np.uint8)))
    return _like(frames, cv2.subtract(brighter, cv2.LUT(drawn, np.maximum(-added, 0).astype(np.uint8))))


def each(frames: Frames, change: Callable[[Frames], npt.NDArray[np.generic]]) -> Frames:
    """`change` of one frame `[H, W, 3]`, made to every frame."""
    return np.stack([np.asarray(change(frame), dtype=np.uint8) for frame in frames])


def _one_picture(frames: Frames) -> Frames:
    """All frames below one another, `[T * H, W, 3]`: one call changes them all."""
    return frames.reshape(-1, *frames.shape[2:])


def _like(frames: Frames, picture: npt.NDArray[np.generic]) -> Frames:
    return np.asarray(picture, dtype=np.uint8).reshape(frames.shape)
