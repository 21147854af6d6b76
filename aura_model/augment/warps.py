"""Smooth warps in a face's own units, so that one draw means the same on a small, a turned or a moving face."""

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np

from aura_model.augment.face_model import Floats, apply, invert
from aura_model.augment.video import Frames

Picture = TypeVar("Picture", Frames, Floats)
"""[H, W, 3], bytes or floats"""
_LATTICE = 8
"""A warp is worked out at every eighth pixel and interpolated: it is smooth."""
_STEPS = 6
"""Of the inverse's iteration: a warp that bends by 0.3 is then undone to a thousandth of its length."""


@dataclass(frozen=True, eq=False)
class Warp:
    """Where each place of a face takes its pixels from. Lengths are in face units (`face_model`).

    The whole plane is stretched by `linear` and moved by `shift` about the origin between the eyes; besides, each of
    K Gaussian bumps moves what is about its centre, and stretches it.
    """

    linear: Floats
    """[2, 2]"""
    shift: Floats
    """[2]"""
    centers: Floats
    """[K, 2]"""
    radii: Floats
    """[K, 2] deviations of the bumps across and down."""
    moves: Floats
    """[K, 2] where the pixels of a bump's centre come from, relative to it."""
    stretches: Floats
    """[K, 2] by which the bump is enlarged across and down; 0 leaves it."""

    def sources(self, points: Floats) -> Floats:
        """Where points `[n, 2]` take their pixels from, `[n, 2]`."""
        offset = points[:, None] - self.centers
        weight = np.exp(-0.5 * ((offset / self.radii) ** 2).sum(-1, keepdims=True))
        bumps = (weight * (self.moves - offset * self.stretches)).sum(1)
        return np.asarray(points @ self.linear.T + self.shift + bumps, dtype=np.float32)


def warp_picture(picture: Picture, face: Floats, warp: Warp, kernel: int = cv2.INTER_CUBIC) -> Picture:
    """Warp a picture `[H, W, 3]` about a face that lies in it by the similarity `face` `[2, 3]`.

    `kernel` is one of OpenCV's interpolations. What comes from outside the picture is its reflection.
    """
    height, width = picture.shape[:2]
    map_x, map_y = _maps(height, width, face, warp)
    moved = cv2.remap(picture, map_x, map_y, kernel, borderMode=cv2.BORDER_REFLECT_101)
    return moved.astype(picture.dtype, copy=False)


def moved_points(points: Floats, face: Floats, warp: Warp) -> Floats:
    """Where points `[n, 2]` in pixels lie after `warp_picture`: the warp's inverse, by fixed-point iteration."""
    own = apply(invert(face[None]), points)[0]
    found = own
    for _ in range(_STEPS):
        found = found - (warp.sources(found) - own)
    return np.asarray(apply(face[None], found)[0])


def _maps(height: int, width: int, face: Floats, warp: Warp) -> tuple[Floats, Floats]:
    """For each pixel the place that it takes its value from: x and y, `[H, W]` each."""
    rows, columns = -(-height // _LATTICE) + 1, -(-width // _LATTICE) + 1
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2) * float(_LATTICE)
    own = apply(invert(face[None]), grid)[0]
    offset = ((warp.sources(own) - own) @ face[:, :2].T).astype(np.float32).reshape(rows, columns, 2)
    fine = _enlarged(offset, height, width)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    return fine[..., 0] + x, fine[..., 1] + y


def _enlarged(lattice: Floats, height: int, width: int) -> Floats:
    """Values between the nodes of a lattice `[h, w, 2]`, bilinearly: node i is pixel 8 i."""
    step = 1 / _LATTICE
    matrix = np.array([[step, 0, 0], [0, step, 0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(lattice, matrix, (width, height), flags=flags), dtype=np.float32)
