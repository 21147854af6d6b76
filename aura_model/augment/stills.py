"""A still becomes a short clip: the camera moves, the head turns a little, eyes blink, the mouth moves, grain flickers.

All of it is one smooth warp of the still a frame, so that it is resampled once.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aura_model.augment.expressions import FEATURES, bumps
from aura_model.augment.face_model import Floats, fit_similarities
from aura_model.augment.forgery import Material, wander
from aura_model.augment.video import Frames, Landmarks, add_noise
from aura_model.augment.warps import Warp, moved_points, warp_picture

_EYES = np.array([FEATURES["left_eye"][0], FEATURES["right_eye"][0]], np.float32)
_DEPTH_CENTERS = np.array([[0.0, 0.6], [0.0, 0.45]], np.float32)
_DEPTH_RADII = np.array([[0.28, 0.32], [0.75, 0.95]], np.float32)
_DEPTHS = np.array([0.45, 0.55], np.float32)
"""The head's depth as two bumps, the nose and the face: what is nearer moves further when the head turns."""


@dataclass(frozen=True)
class StillSettings:
    """How a still is made to move. Deviations; times in seconds, lengths in distances between the eyes."""

    frames: int = 8
    rate: float = 8.0
    """Frames per second."""
    pan: float = 0.08
    zoom: float = 0.02
    roll: float = 0.02
    """Radians."""
    shake: float = 0.006
    """Of a hand-held camera, from frame to frame."""
    turn: float = 0.1
    """Of the head to the side, and by half as much up and down; radians."""
    mouth: float = 0.25
    """Change of the mouth's height, as a share."""
    brows: float = 0.02
    blinks: float = 0.3
    """Blinks a second."""
    grain: tuple[float, float] = (0.3, 3.0)
    """The sensor's noise, levels of 255."""


def still_to_clip(
    image: Frames, landmarks: Landmarks, rng: np.random.Generator, settings: StillSettings = StillSettings()
) -> Material:
    """Make a clip of a still `[H, W, 3]` with landmarks `[5, 2]`; it has the still's size and no sound."""
    still = Material(image[None], landmarks[None])
    face = fit_similarities(still.landmarks)[0]
    warps = _draw_course(rng, settings, _room(face, *still.size))
    frames = np.stack([warp_picture(image, face, warp) for warp in warps])
    places = np.stack([moved_points(landmarks, face, warp) for warp in warps])
    return Material(add_noise(frames, rng.uniform(*settings.grain), rng), places)


def _room(face: Floats, height: int, width: int) -> float:
    """The most that the camera may move without showing much from beyond the still's edges, in face units."""
    one = max(float(np.hypot(*face[:, 0])), 1.0)
    return 0.08 * min(height, width) / one


def _draw_course(rng: np.random.Generator, settings: StillSettings, room: float) -> list[Warp]:
    count = settings.frames
    slow, fast = (float(np.exp(-1 / (settings.rate * seconds))) for seconds in (1.2, 0.25))
    camera = wander(rng, count, 4, 1.0, slow) * np.array(
        [settings.pan, settings.pan, settings.zoom, settings.roll], np.float32
    )
    shift = np.clip(camera[:, :2], -room, room) + wander(rng, count, 2, settings.shake, 0.3)
    turns = wander(rng, count, 2, 1.0, slow) * np.array([settings.turn, settings.turn / 2], np.float32)
    mouth = wander(rng, count, 2, settings.mouth, fast) * rng.uniform(0, 1)
    brows = wander(rng, count, 1, settings.brows, fast)
    lids = _draw_blinks(rng, settings)
    return [
        _warp(
            camera[time, 2:], shift[time], turns[time], mouth[time], brow=float(brows[time, 0]), lid=float(lids[time])
        )
        for time in range(count)
    ]


def _draw_blinks(rng: np.random.Generator, settings: StillSettings) -> npt.NDArray[np.float64]:
    """How far the eyes are shut at each frame, [T], 0..1: each blink takes about a quarter of a second."""
    times = np.arange(settings.frames) / settings.rate
    span = settings.frames / settings.rate
    starts = rng.uniform(0, span, rng.poisson(settings.blinks * span))
    return np.asarray(np.exp(-(((times[:, None] - starts) / 0.09) ** 2)).max(1, initial=0.0))


def _warp(camera: Floats, shift: Floats, turn: Floats, mouth: Floats, *, brow: float, lid: float) -> Warp:
    """One frame's warp: `camera` is zoom and roll, `turn` to the side and up, `mouth` its height and width."""
    scale, roll = np.exp(-camera[0] - 0.03), camera[1]  # 3 % nearer, so that edges stay out of view
    linear = scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    centers = np.vstack([_DEPTH_CENTERS, _EYES, [FEATURES["mouth"][0]], [(-0.5, -0.3), (0.5, -0.3)]])
    radii = np.vstack([_DEPTH_RADII, [(0.24, 0.12)] * 2, [FEATURES["mouth"][1]], [(0.3, 0.12)] * 2])
    moves, stretches = np.zeros((2, len(centers), 2), np.float32)
    moves[:2] = -_DEPTHS[:, None] * turn
    moves[5:] = (0, brow)
    stretches[2:4] = (0, -1.6 * lid)
    stretches[4] = (0.3 * mouth[1], mouth[0])
    moving = bumps(centers.astype(np.float32), radii.astype(np.float32), moves, stretches)
    return Warp(linear.astype(np.float32), shift, moving.centers, moving.radii, moving.moves, moving.stretches)
