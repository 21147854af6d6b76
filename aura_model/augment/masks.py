"""Soft masks of a face or a part of it, from five landmarks.

The outline of a mean face turned as the landmarks say is filled, smoothed, and cut off at a level that varies from
place to place: one draw of lumps gives the irregular, now wider now narrower contours of real merges, and the level's
slope their softness (the deformation, erosion and blur of Shiohara and Yamasaki, 2022).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from aura_model.augment.face_model import REGIONS, Floats, apply, fit_cameras, fit_similarities, unit
from aura_model.augment.forgery import Masks
from aura_model.augment.video import Landmarks

WORK_SIDE = 112
"""Masks are smooth: they are drawn at this long side and enlarged."""
LEAST_UNIT = 2.0
"""Pixels between the eyes below which there is no face to work on."""
_SUBPIXEL_BITS = 4
_LEAST_DEVIATION, _LARGEST_DEVIATION = 0.6, 24.0
_LEAST_LEVEL, _HIGHEST_LEVEL = 0.02, 0.97
"""A mask is 0 where the smoothed outline is, and reaches 1."""
_GRID, _GRID_STEP = 5, 0.75
_GRID_ORIGIN = np.array([-1.5, -1.1], np.float32)
"""The grid of lumps spans the face: its first node and the distance of its nodes, face units."""


@dataclass(frozen=True)
class MaskSettings:
    """From what a mask's shape is drawn. Lengths are in distances between the eyes."""

    regions: tuple[str, ...] = ("face", "face", "face", "brows_to_chin", "core", "box")
    bulge: float = 0.06
    """Deviation of the outline's slow waves, as a share of the radius."""
    lumps: float = 0.25
    """Deviation of the level along the contour: it runs now further out, now further in."""
    level: tuple[float, float] = (0.3, 0.65)
    """The level; above 0.5 the mask is eroded."""
    slope: tuple[float, float] = (0.15, 0.9)
    """Between the level of weight 0 and that of weight 1: the seam's softness."""
    smoothing: tuple[float, float] = (0.05, 0.26)
    """Deviation of the Gaussian before the cut."""


@dataclass(frozen=True, eq=False)
class MaskShape:
    """What is drawn once for a clip."""

    region: str
    bulges: Floats
    """[4, 2] cosine and sine weights of the outline's waves."""
    lumps: Floats
    """[5, 5]"""
    level: float
    slope: float
    smoothing: float


def draw_shape(rng: np.random.Generator, settings: MaskSettings) -> MaskShape:
    """Draw a mask's shape."""
    return MaskShape(
        region=str(rng.choice(settings.regions)),
        bulges=(rng.standard_normal((4, 2)) * settings.bulge / np.arange(1, 5)[:, None]).astype(np.float32),
        lumps=(rng.standard_normal((_GRID, _GRID)) * settings.lumps).astype(np.float32),
        level=rng.uniform(*settings.level),
        slope=rng.uniform(*settings.slope),
        smoothing=rng.uniform(*settings.smoothing),
    )


def face_masks(landmarks: Landmarks, height: int, width: int, shape: MaskShape) -> Masks:
    """The masks `[T, height, width]` of one shape about landmarks `[T, 5, 2]`.

    A face outside the frame, or one of next to no size, gives zeros.
    """
    scale = min(1.0, WORK_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    places = landmarks * np.array([size[0] / width, size[1] / height], np.float32)
    outlines = apply(fit_cameras(places), _bulged(REGIONS[shape.region], shape.bulges))
    faces = fit_similarities(places)
    masks = [_mask(outline, face, size, shape) for outline, face in zip(outlines, faces, strict=True)]
    large = [cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR) for mask in masks]
    whole: Masks = np.stack(large).astype(np.float32, copy=False)
    whole[unit(fit_similarities(landmarks)) < LEAST_UNIT] = 0
    return whole


def _bulged(points: Floats, bulges: Floats) -> Floats:
    """Stretch each point away from the region's middle by waves of its direction."""
    offset = points[:, :2] - points[:, :2].mean(0)
    angles = np.arctan2(offset[:, 1], offset[:, 0])[:, None] * np.arange(1, len(bulges) + 1)
    factor = 1 + np.cos(angles) @ bulges[:, 0] + np.sin(angles) @ bulges[:, 1]
    return np.hstack([points[:, :2] + offset * (factor - 1)[:, None], points[:, 2:]]).astype(np.float32)


def _mask(outline: Floats, face: Floats, size: tuple[int, int], shape: MaskShape) -> Masks:
    """Fill an outline `[n, 2]` in pixels, smooth it and cut it at the shape's level; `size` is (width, height)."""
    filled = np.zeros(size[::-1], np.float32)
    # Far-off points would overflow OpenCV's fixed-point numbers.
    pixels = np.clip(outline - 0.5, -4 * WORK_SIDE, 5 * WORK_SIDE) * (1 << _SUBPIXEL_BITS)
    cv2.fillConvexPoly(filled, cv2.convexHull(np.rint(pixels).astype(np.int32)), 1.0, shift=_SUBPIXEL_BITS)
    deviation = min(max(shape.smoothing * float(np.hypot(*face[:, 0])), _LEAST_DEVIATION), _LARGEST_DEVIATION)
    smooth = cv2.GaussianBlur(filled, (0, 0), deviation, borderType=cv2.BORDER_REPLICATE)
    to_pixels = np.hstack([face[:, :2] * _GRID_STEP, apply(face[None], _GRID_ORIGIN[None])[0].T])
    lumps = cv2.warpAffine(shape.lumps, to_pixels, size, borderMode=cv2.BORDER_REPLICATE)
    bent = smooth + lumps * 4 * smooth * (1 - smooth)
    low = max(shape.level - shape.slope / 2, _LEAST_LEVEL)
    high = min(low + shape.slope, _HIGHEST_LEVEL)
    return np.asarray(np.clip((bent - low) / (high - low), 0, 1), dtype=np.float32)
