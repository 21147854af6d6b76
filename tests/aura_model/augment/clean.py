"""Rendering that leaves a clip nearly as it is, and a measure of what is left."""

import cv2
import numpy as np

from aura_model.augment.codec import CodecSettings
from aura_model.augment.rendering import RenderSettings

CLEAN = RenderSettings(
    size=64,
    wobble=0,
    color=0,
    blur=(0, 0),
    noise=(0, 0),
    flip=0,
    filmed=0,
    lens=0,
    uneven=0,
    grain=(0, 0),
    fresh=0,
    sharpen=(0, 0),
    codec=CodecSettings(names=("h264",), never=0, twice=0, shrink=(1, 1)),
    gain=(1, 1),
    hiss=0,
)


def sharpness(frames: np.ndarray, where: np.ndarray | slice = slice(None)) -> float:
    """Deviation of the fine detail of the green channel."""
    green = frames[..., 1].astype(np.float32)
    return float(np.stack([one - cv2.GaussianBlur(one, (0, 0), 2) for one in green])[where].std())
