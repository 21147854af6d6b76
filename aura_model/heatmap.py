"""Where in a crop the forgery is: the map laid over the picture, its hottest place, its overlap with a true mask."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""[H, W, 3] RGB."""
Heat = npt.NDArray[np.float32]
"""[h, w] the probability, 0..1, that each place was forged. Cell (i, j) covers its share of the crop."""

RAMP = np.array([(30, 60, 190), (110, 40, 215), (190, 20, 220), (250, 0, 190), (255, 60, 140)], np.float32)
"""Colours of the probabilities 0, 1/4, 1/2, 3/4 and 1: blue, violet, magenta, pink. No skin has them; yellow, orange
and red, the hot end of the usual maps, are lost on faces and lips."""
FAINT = 0.15
"""Below this probability nothing is laid over the picture."""
OPACITY = 0.6
"""Of the colour where the probability is 1."""
EDGE = 0.5
"""The probability at which a line is drawn, white on black, which shows on any skin."""
WHITE = (255, 255, 255)
BLACK = (0, 0, 0)


@dataclass(frozen=True)
class HeatPeak:
    """Where a map is highest."""

    x: float
    """From the left, as a share of the crop's width."""
    y: float
    """From the top, likewise."""
    probability: float


def upsample(heat: Heat, height: int, width: int) -> Heat:
    """The map at [height, width], interpolated between the centres of its cells (cubic, held within 0..1)."""
    fine = cv2.resize(heat, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(fine, 0.0, 1.0), dtype=np.float32)


def overlay(crop: Image, heat: Heat) -> Image:
    """Lay a map over a crop: the more probable, the warmer and the less transparent; a line at probability 1/2.

    Args:
        crop: uint8 [H, W, 3].
        heat: float32 [h, w], 0..1.

    Returns:
        uint8 [H, W, 3].
    """
    fine = upsample(heat, *crop.shape[:2])
    mixed = _mixed(crop, fine)
    outlines, _ = cv2.findContours((fine >= EDGE).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for colour, thickness in ((BLACK, 3), (WHITE, 1)):
        cv2.drawContours(mixed, outlines, -1, colour, thickness)
    return mixed


def hottest(heat: Heat) -> HeatPeak:
    """The centre of the most probable cell of a map [h, w]; the first one where several are."""
    height, width = heat.shape
    row, column = divmod(int(heat.argmax()), width)
    return HeatPeak((column + 0.5) / width, (row + 0.5) / height, float(heat[row, column]))


def legend(height: int, width: int) -> Image:
    """The colours of 0 on the left to 1 on the right, on a grey picture, and the line; uint8 [height, width, 3]."""
    grey = np.full((height, width, 3), 128, np.uint8)
    bar = _mixed(grey, np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1)))
    middle = round(EDGE * (width - 1))
    bar[:, middle - 1 : middle + 2] = BLACK
    bar[:, middle] = WHITE
    return bar


def iou(heat: npt.NDArray[np.float32], truth: npt.NDArray[np.generic], threshold: float = 0.5) -> float | None:
    """Intersection over union of what the maps call forged and what was forged.

    Args:
        heat: [T, h, w] probabilities; enlarged to the size of `truth`.
        truth: [T, S, S] a mask, forged where above 1/2.
        threshold: a place is called forged from this probability on.

    Returns:
        Over all T frames at once, 0..1; None where nothing was forged and nothing is called so.

    Raises:
        ValueError: not as many maps as masks.
    """
    if len(heat) != len(truth):
        raise ValueError(f"{len(heat)} maps for {len(truth)} masks")
    called = np.stack([upsample(one, *truth.shape[1:]) >= threshold for one in heat])
    forged = np.asarray(truth, np.float32) > 0.5
    union = int(np.count_nonzero(called | forged))
    return np.count_nonzero(called & forged) / union if union else None


def _mixed(picture: Image, heat: Heat) -> Image:
    """The picture [H, W, 3] under the colours of a map [H, W]."""
    stops = np.linspace(0, 1, len(RAMP))
    colours = np.stack([np.interp(heat, stops, channel) for channel in RAMP.T], axis=-1)
    alpha = OPACITY * np.clip((heat - FAINT) / (1 - FAINT), 0.0, 1.0)[..., None]
    return np.asarray(np.round(picture * (1 - alpha) + colours * alpha), dtype=np.uint8)
