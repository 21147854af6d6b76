"""The seven perturbations of DeeperForensics-1.0 (Jiang et al., 2020) at five levels each, for a robustness grid.

Every one takes a clip `[T, H, W, 3]` uint8 RGB, its strength and a generator, keeps the clip's shape, and does not
write to its input. The figures are the benchmark's own; they count in pixels of the picture that they are applied to.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from aura_model.augment.blending import rounded
from aura_model.augment.codec import Encoding, transcode
from aura_model.augment.video import Frames, each

LEVELS = (1, 2, 3, 4, 5)
BLOCK = 8
"""Side of a grey block, pixels."""
BLOCK_GREY = 128
BLOCKS_SIDE = 256
"""The number of blocks is that of a picture whose shorter side is this long, and so many times more for longer ones."""
GROUP = 12
"""Frames from one self-contained frame of a compressed video to the next."""
RATE = 25.0
"""Frames per second of the compressed video."""

Change = Callable[[Frames, float, np.random.Generator], Frames]


@dataclass(frozen=True)
class Perturbation:
    """One kind, and its strength at each of the five levels."""

    change: Change
    strengths: tuple[float, float, float, float, float]


def perturb(frames: Frames, name: str, level: int, rng: np.random.Generator) -> Frames:
    """Put the perturbation `name` at `level` 1..5 on a clip `[T, H, W, 3]`.

    Raises:
        KeyError: there is no such perturbation.
        ValueError: there is no such level.
    """
    perturbation = PERTURBATIONS[name]
    if level not in LEVELS:
        raise ValueError(f"a perturbation has the levels 1 to 5, not {level}")
    return perturbation.change(frames, perturbation.strengths[level - 1], rng)


def saturation(frames: Frames, factor: float, rng: np.random.Generator) -> Frames:  # noqa: ARG001 - nothing is drawn
    """Scale the two colour differences (ITU-R BT.601) by `factor`: 0 leaves grey."""

    def change(frame: Frames) -> npt.NDArray[np.generic]:
        planes = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb), np.float32)
        planes[..., 1:] = 128 + (planes[..., 1:] - 128) * factor
        return cv2.cvtColor(rounded(planes), cv2.COLOR_YCrCb2RGB)

    return each(frames, change)


def contrast(frames: Frames, factor: float, rng: np.random.Generator) -> Frames:  # noqa: ARG001 - nothing is drawn
    """Scale every value by `factor`, as the benchmark does: the picture becomes darker and flatter."""
    return rounded(frames.astype(np.float32) * np.float32(factor))


def blocks(frames: Frames, count: float, rng: np.random.Generator) -> Frames:
    """Put grey squares of 8 pixels anywhere, other ones in each frame: `count` of them up to 512 pixels of side."""
    number = int(count) * max(1, min(frames.shape[1:3]) // BLOCKS_SIDE)
    changed = frames.copy()
    room = [max(1, side - BLOCK + 1) for side in frames.shape[1:3]]
    for frame in changed:
        for top, left in rng.integers(room, size=(number, 2)):
            frame[top : top + BLOCK, left : left + BLOCK] = BLOCK_GREY
    return changed


def noise(frames: Frames, variance: float, rng: np.random.Generator) -> Frames:
    """Add Gaussian noise of this variance (full scale 1) to brightness and both colour differences (BT.601)."""

    def change(frame: Frames) -> npt.NDArray[np.generic]:
        planes = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb), np.float32)
        noisy = planes + 255 * sqrt(variance) * rng.standard_normal(planes.shape, np.float32)
        return cv2.cvtColor(rounded(noisy), cv2.COLOR_YCrCb2RGB)

    return each(frames, change)


def blur(frames: Frames, kernel: float, rng: np.random.Generator) -> Frames:  # noqa: ARG001 - nothing is drawn
    """Smooth with a Gaussian of `kernel` pixels of width and a sixth of that as deviation."""
    side = int(kernel)
    return each(frames, lambda frame: cv2.GaussianBlur(frame, (side, side), kernel / 6))


def pixelation(frames: Frames, divisor: float, rng: np.random.Generator) -> Frames:  # noqa: ARG001 - nothing is drawn
    """Shrink both sides `divisor` times and enlarge them again; the benchmark calls this JPEG compression."""
    height, width = frames.shape[1:3]
    small = max(1, int(width // divisor)), max(1, int(height // divisor))
    return each(frames, lambda frame: cv2.resize(cv2.resize(frame, small), (width, height)))


def compression(frames: Frames, crf: float, rng: np.random.Generator) -> Frames:  # noqa: ARG001 - nothing is drawn
    """Encode as H.264 at this constant rate factor and decode again."""
    height, width = frames.shape[1:3]
    encoding = Encoding(
        name="h264",
        quality=int(crf),
        height=height,
        width=width,
        kernel=cv2.INTER_LINEAR,
        rate=RATE,
        group=GROUP,
        lead=0,
        preset="medium",
    )
    return transcode(frames, encoding)


PERTURBATIONS: Mapping[str, Perturbation] = MappingProxyType(
    {
        "saturation": Perturbation(saturation, (0.4, 0.3, 0.2, 0.1, 0.0)),
        "contrast": Perturbation(contrast, (0.85, 0.725, 0.6, 0.475, 0.35)),
        "blocks": Perturbation(blocks, (16, 32, 48, 64, 80)),
        "noise": Perturbation(noise, (0.001, 0.002, 0.005, 0.01, 0.05)),
        "blur": Perturbation(blur, (7, 9, 13, 17, 21)),
        "pixelation": Perturbation(pixelation, (2, 3, 4, 5, 6)),
        "compression": Perturbation(compression, (30, 32, 35, 38, 40)),
    }
)
"""CS, CC, BW, GNC, GB, "JPEG" and VC of the benchmark, in its order."""
