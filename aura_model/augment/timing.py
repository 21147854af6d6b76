"""Frames of another time, moved to where the face is now."""

from collections.abc import Sequence

import cv2
import numpy as np

from aura_model.augment.face_model import Floats, invert
from aura_model.augment.video import Frames


def aligned(
    frames: Frames, faces: Floats, order: Sequence[int], onto: Floats | None = None, size: tuple[int, int] | None = None
) -> list[Frames]:
    """Frame `order[t]` for each t, moved so that its face lies where the face of time t does.

    Args:
        frames: `[N, H, W, 3]`.
        faces: `[N, 2, 3]` similarities from face units to the pixels of `frames`.
        order: which frame is shown at each time.
        onto: `[T, 2, 3]` where the faces shall lie; where `faces` are if it is None.
        size: height and width of what is returned; those of `frames` if it is None.
    """
    inverses, targets = invert(faces), faces if onto is None else onto
    height, width = size or frames.shape[1:3]
    return [
        frames[shown]
        if onto is None and shown == time
        else _moved(frames[shown], chain(targets[time], inverses[shown]), (width, height))
        for time, shown in enumerate(order)
    ]


def _moved(frame: Frames, matrix: Floats, size: tuple[int, int]) -> Frames:
    moved = cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, dtype=np.uint8)


def chain(after: Floats, before: Floats) -> Floats:
    """The affine map `[2, 3]` that does `before`, then `after`."""
    linear = after[:, :2] @ before[:, :2]
    return np.hstack([linear, after[:, :2] @ before[:, 2:] + after[:, 2:]])


def draw_shifted(rng: np.random.Generator, count: int) -> list[int]:
    """Show each frame at another time: the clip runs late or early by up to half its length, turning at its ends."""
    if count == 1:
        return [0]
    shift = int(rng.integers(1, max(2, count // 2 + 1))) * int(rng.choice((-1, 1)))
    period = 2 * (count - 1)
    return [min((time + shift) % period, period - (time + shift) % period) for time in range(count)]


def draw_stumbling(rng: np.random.Generator, count: int) -> list[int]:
    """Show frames again, leave some out or swap neighbours: an order that stumbles in at least one place."""
    order = list(range(count))
    for _ in range(int(rng.integers(1, max(2, count // 3 + 1))) if count > 1 else 0):
        place, kind = int(rng.integers(1, count)), int(rng.integers(3))
        if kind == 0:
            order[place] = order[place - 1]
        elif kind == 1:
            order[place] = min(count - 1, place + 1)
        else:
            order[place - 1], order[place] = order[place], order[place - 1]
    if count > 1 and order == list(range(count)):
        order[-1] = count - 2
    return order
