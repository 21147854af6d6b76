"""Warps of a face's features over time: a mouth that opens, eyes that close, brows and chin that move."""

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from aura_model.augment.face_model import Floats
from aura_model.augment.forgery import wander
from aura_model.augment.warps import Warp

FEATURES = MappingProxyType(
    {
        "left_eye": ((-0.5, 0.0), (0.22, 0.13)),
        "right_eye": ((0.5, 0.0), (0.22, 0.13)),
        "left_brow": ((-0.5, -0.3), (0.3, 0.12)),
        "right_brow": ((0.5, -0.3), (0.3, 0.12)),
        "nose": ((0.0, 0.5), (0.2, 0.25)),
        "mouth": ((0.0, 1.06), (0.36, 0.2)),
        "chin": ((0.0, 1.5), (0.4, 0.25)),
    }
)
"""Centre and deviations of each feature's bump, face units."""


@dataclass(frozen=True)
class Motion:
    """How strongly and how fast features move."""

    features: tuple[str, ...] = tuple(FEATURES)
    moves: float = 0.01
    """Deviation of each feature's place, in distances between the eyes."""
    widths: float = 0.02
    """Deviation of its width, as a share."""
    heights: float = 0.05
    """Deviation of its height, as a share."""
    hold: float = 0.7
    """How much of a frame's place the next one keeps."""


def draw_expressions(rng: np.random.Generator, count: int, motion: Motion) -> list[Warp]:
    """Draw the features' course over `count` frames: one warp a frame."""
    centers = np.array([FEATURES[name][0] for name in motion.features], np.float32)
    radii = np.array([FEATURES[name][1] for name in motion.features], np.float32)
    moves = _course(rng, count, len(centers), motion.moves, motion.hold)
    stretches = _course(rng, count, len(centers), 1.0, motion.hold) * np.array([motion.widths, motion.heights])
    return [bumps(centers, radii, moves[frame], stretches[frame]) for frame in range(count)]


def bumps(centers: Floats, radii: Floats, moves: Floats, stretches: Floats) -> Warp:
    """A warp of bumps alone, `[K, 2]` each."""
    still = np.eye(2, dtype=np.float32), np.zeros(2, np.float32)
    return Warp(*still, centers, radii, moves.astype(np.float32), stretches.astype(np.float32))


def _course(rng: np.random.Generator, count: int, features: int, amplitude: float, hold: float) -> Floats:
    """[count, features, 2]"""
    return wander(rng, count, 2 * features, amplitude, hold).reshape(count, features, 2)
