"""A mean face in three dimensions, and how it lies in a picture of which only five landmarks are known.

Face units: the origin lies between the eyes' centres, x runs to the picture's right, y down, z away from the viewer;
1 is the distance between the eyes. Proportions are those of adult faces (Farkas, 1994), rounded.
"""

from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from aura_model.augment.video import Landmarks

Floats = npt.NDArray[np.float32]

FIVE = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0, 0.56, -0.5], [-0.43, 1.03, -0.08], [0.43, 1.03, -0.08]], np.float32)
"""[5, 3] the landmarks."""


def _both_sides(half: list[tuple[float, float, float]]) -> Floats:
    right = np.array(half, np.float32)
    return np.vstack([right, right * np.array([-1, 1, 1], np.float32)])


_JAW = [(1.06, 0.1, 0.7), (1.04, 0.5, 0.7), (0.96, 0.9, 0.6), (0.8, 1.28, 0.4), (0.56, 1.6, 0.15), (0.28, 1.8, -0.02)]
_CHEEKS = [(0.78, 0.5, 0.0), (0.85, 0.1, 0.15), (0.0, 1.86, -0.08)]
_BROWS = [(0.95, -0.3, 0.3), (0.6, -0.46, 0.0), (0.2, -0.42, -0.12)]
_FOREHEAD = [(1.02, -0.4, 0.55), (0.88, -0.78, 0.45), (0.52, -1.02, 0.2), (0.0, -1.1, 0.1)]

REGIONS = MappingProxyType(
    {
        "face": _both_sides(_JAW + _CHEEKS + _FOREHEAD),
        "brows_to_chin": _both_sides(_JAW + _CHEEKS + _BROWS),
        "core": _both_sides(
            [(0.85, -0.35, 0.2), (0.35, -0.5, -0.1), (0.85, 0.5, 0.1), (0.62, 1.25, 0.1), (0.3, 1.5, 0)]
        ),
        "box": _both_sides([(1.0, -0.8, 0.1), (0.75, -1.0, 0.1), (1.0, 1.6, 0.1), (0.75, 1.8, 0.1)]),
        "lower": _both_sides(
            [(0.72, 0.62, 0.1), (0.3, 0.55, -0.2), (0.82, 1.1, 0.3), (0.6, 1.55, 0.1), (0.2, 1.8, -0.05)]
        ),
        "mouth": _both_sides([(0.55, 1.1, 0), (0.4, 0.88, -0.1), (0.1, 0.84, -0.2), (0.4, 1.4, 0), (0.15, 1.5, -0.05)]),
        "eyes": _both_sides(
            [(0.85, 0.0, 0.15), (0.7, -0.32, 0.05), (0.25, -0.35, -0.1), (0.7, 0.25, 0.05), (0.2, 0.2, -0.15)]
        ),
        "nose": _both_sides([(0.13, 0.0, -0.15), (0.32, 0.55, -0.2), (0.25, 0.75, -0.2), (0.0, 0.82, -0.3)]),
    }
)
"""[n, 3] points whose silhouette is the region, whatever the pose."""

_SHEAR_PRIOR, _DEPTH_PRIOR = 0.5, 0.08
_FIVE_SPREAD = FIVE[:, :2] - FIVE[:, :2].mean(0)


def fit_similarities(landmarks: Landmarks) -> Floats:
    """The similarity from face units (x, y) to pixels that fits landmarks `[T, 5, 2]` best, `[T, 2, 3]`.

    Least squares in closed form (Umeyama, 1991, without reflections, of which an upright mean face needs none).
    """
    middle = landmarks.mean(1)
    moved = landmarks - middle[:, None]
    x, y = _FIVE_SPREAD.T
    power = float((_FIVE_SPREAD**2).sum())
    cosine = (moved[..., 0] * x + moved[..., 1] * y).sum(1) / power
    sine = (moved[..., 1] * x - moved[..., 0] * y).sum(1) / power
    linear = np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], 1)
    shift = middle - linear @ FIVE[:, :2].mean(0)
    return np.concatenate([linear, shift[..., None]], -1).astype(np.float32)


def fit_cameras(landmarks: Landmarks) -> Floats:
    """The affine camera from face units (x, y, z, 1) to pixels that fits landmarks `[T, 5, 2]`, `[T, 2, 4]`.

    Five points hardly fix eight numbers, so the camera is a similarity plus the smallest correction (ridge
    regression) that explains what is left: mostly the depth column, which holds the turn of the head.
    """
    similar = fit_similarities(landmarks)
    left_over = landmarks - apply(similar, FIVE[:, :2])
    points = np.hstack([FIVE, np.ones((5, 1), np.float32)])
    prior = np.diag([_SHEAR_PRIOR, _SHEAR_PRIOR, _DEPTH_PRIOR, 1e-6])
    solver = np.linalg.solve(points.T @ points + prior, points.T)
    cameras = np.swapaxes(solver @ left_over, 1, 2)
    cameras[..., [0, 1, 3]] += similar
    return np.asarray(cameras, dtype=np.float32)


def apply(transforms: Floats, points: npt.NDArray[np.floating]) -> Floats:
    """Points `[n, k]` under affine transforms `[T, 2, k + 1]`: `[T, n, 2]`."""
    return np.asarray(points @ np.swapaxes(transforms[..., :-1], 1, 2) + transforms[:, None, :, -1], dtype=np.float32)


def invert(transforms: Floats) -> Floats:
    """The inverse of similarities `[T, 2, 3]`; that of a face without extent is one of tiny extent."""
    linear = transforms[..., :2] + np.eye(2) * 1e-6
    inverse = np.linalg.inv(linear)
    return np.concatenate([inverse, -inverse @ transforms[..., 2:]], -1).astype(np.float32)


def unit(transforms: Floats) -> Floats:
    """The distance between the eyes in pixels, `[T]`, under similarities `[T, 2, 3]`."""
    return np.asarray(np.hypot(transforms[:, 0, 0], transforms[:, 1, 0]), dtype=np.float32)
