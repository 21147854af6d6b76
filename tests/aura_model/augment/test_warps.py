import cv2
import numpy as np
import pytest

from aura_model.augment.expressions import bumps
from aura_model.augment.warps import Warp, moved_points, warp_picture

FACE = np.array([[40, 0, 80], [0, 40, 60]], np.float32)
NONE = np.zeros((0, 2), np.float32)


def plane(linear: list[list[float]], shift: tuple[float, float]) -> Warp:
    return Warp(np.array(linear, np.float32), np.array(shift, np.float32), NONE, NONE, NONE, NONE)


def bump(x: float, y: float, move: tuple[float, float] = (0, 0), stretch: tuple[float, float] = (0, 0)) -> Warp:
    arrays = (np.array([values], np.float32) for values in ((x, y), (0.3, 0.3), move, stretch))
    return bumps(*arrays)


def dotted(x: float, y: float) -> np.ndarray:
    """A soft dot on black, float32 [160, 160, 3]."""
    picture = np.zeros((160, 160, 3), np.float32)
    picture[round(y), round(x)] = 255
    return cv2.GaussianBlur(picture, (0, 0), 2) * 10


def place_of(picture: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    weight = picture[..., 0]
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


def test_a_warp_that_moves_nothing_changes_nothing() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (75, 91, 3), dtype=np.uint8)
    still = plane([[1, 0], [0, 1]], (0, 0))
    np.testing.assert_array_equal(warp_picture(picture, FACE, still), picture)
    assert warp_picture(picture, FACE, still).dtype == np.uint8


@pytest.mark.parametrize(
    "warp",
    [
        plane([[1, 0], [0, 1]], (0.1, -0.05)),
        plane([[1.05, 0], [0, 0.95]], (0, 0)),
        plane([[0.99, -0.05], [0.05, 0.99]], (0, 0)),
        bump(0.5, 0.5, move=(0.08, 0.02)),
        bump(0.3, 0.4, stretch=(0.2, 0.2)),
    ],
    ids=["shift", "stretch", "turn", "bump", "swell"],
)
def test_a_dot_goes_where_its_point_goes(warp: Warp) -> None:
    dot = np.array([[100.0, 80.0]], np.float32)
    moved = place_of(warp_picture(dotted(*dot[0]), FACE, warp))
    assert np.abs(moved - dot[0]).max() > 0.5
    np.testing.assert_allclose(moved, moved_points(dot, FACE, warp)[0], atol=0.35)


def test_a_bump_leaves_what_is_far_from_it() -> None:
    picture = np.random.default_rng(0).normal(128, 40, (160, 160, 3)).astype(np.float32)
    warped = warp_picture(picture, FACE, bump(0.8, 0.8, move=(0.1, 0)))
    changed = np.abs(warped - picture).max(-1) > 1
    assert changed[92 - 6 : 92 + 6, 112 - 6 : 112 + 6].mean() > 0.8
    assert not changed[:40].any()


def test_a_stretch_enlarges() -> None:
    picture = dotted(80, 60)
    spread = [(warp_picture(picture, FACE, bump(0, 0, stretch=(s, s)))[..., 0] > 5).sum() for s in (-0.4, 0, 0.4)]
    assert spread[0] < spread[1] < spread[2]


def test_a_warp_means_the_same_on_a_smaller_face() -> None:
    warp = bump(0.5, 0.5, move=(0.1, 0))
    small = FACE * np.float32(0.5)
    shifts = [
        (moved_points(points, face, warp) - points)[0, 0]
        for face, points in ((FACE, np.array([[100, 80]], np.float32)), (small, np.array([[50, 40]], np.float32)))
    ]
    assert shifts[0] == pytest.approx(2 * shifts[1], rel=1e-4)
