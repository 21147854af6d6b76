from dataclasses import replace

import cv2
import numpy as np
import pytest

from aura_model.augment.face_model import FIVE, REGIONS
from aura_model.augment.masks import MaskSettings, MaskShape, draw_shape, face_masks

EVEN = MaskShape("face", np.zeros((4, 2), np.float32), np.zeros((5, 5), np.float32), 0.5, 0.3, 0.08)


def landmarks(scale: float = 40, angle: float = 0, x: float = 100, y: float = 80) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (scale * FIVE[:, :2] @ turn.T + (x, y))[None].astype(np.float32)


def center(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    return np.array([(mask * columns).sum(), (mask * rows).sum()]) / mask.sum()


@pytest.mark.parametrize("region", sorted(REGIONS))
@pytest.mark.parametrize("seed", range(3))
def test_a_mask_is_soft_whole_inside_and_nothing_far_away(region: str, seed: int) -> None:
    shape = draw_shape(np.random.default_rng(seed), MaskSettings(regions=(region,)))
    mask = face_masks(landmarks(), 200, 220, shape)
    assert mask.shape == (1, 200, 220)
    assert mask.dtype == np.float32
    assert mask.min() == 0
    assert mask[:, :10].max() == 0
    assert mask[:, :, -10:].max() == 0
    assert mask.max() > (0.97 if region not in {"nose", "eyes", "mouth"} else 0.5)
    assert ((mask > 0.05) & (mask < 0.95)).sum() > 50


@pytest.mark.parametrize("pose", [(40, 0, 130, 80), (20, 0, 100, 80), (40, 0.6, 100, 80)])
def test_a_mask_goes_with_its_landmarks(pose: tuple[float, float, float, float]) -> None:
    """The mask of a moved, smaller or turned face is the first mask, moved, made smaller or turned."""
    lumps = np.random.default_rng(1).normal(0, 0.4, (5, 5)).astype(np.float32)
    shape = replace(EVEN, lumps=lumps, smoothing=0.25)
    scale, angle, x, y = pose
    first, other = face_masks(np.concatenate([landmarks(), landmarks(*pose)]), 220, 240, shape)
    cosine, sine = scale / 40 * np.cos(angle), scale / 40 * np.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    shift = np.array([x, y]) - linear @ (100, 80)
    expected = cv2.warpAffine(first, np.hstack([linear, shift[:, None]]), (240, 220))
    assert np.abs(expected - other).sum() < 0.07 * other.sum()


def test_the_face_holds_all_five_landmarks_and_the_mouth_only_its_own() -> None:
    face, mouth = (face_masks(landmarks(), 200, 200, replace(EVEN, region=name))[0] for name in ("face", "mouth"))
    places = np.rint(landmarks()[0]).astype(int)
    assert all(face[y, x] == 1 for x, y in places)
    eyes, middle = places[:2], places[3:].mean(0).astype(int)
    assert all(mouth[y, x] == 0 for x, y in eyes)
    assert mouth[middle[1], middle[0]] > 0.9


def test_a_higher_level_erodes_and_a_wider_slope_softens() -> None:
    def area(shape: MaskShape) -> tuple[float, int]:
        mask = face_masks(landmarks(), 200, 200, shape)[0]
        return float(mask.sum()), int(((mask > 0.02) & (mask < 0.98)).sum())

    assert area(replace(EVEN, level=0.7))[0] < area(EVEN)[0] < area(replace(EVEN, level=0.3))[0]
    assert area(replace(EVEN, slope=0.8))[1] > 1.5 * area(EVEN)[1]


def test_lumps_and_bulges_change_the_contour() -> None:
    base = face_masks(landmarks(), 200, 200, EVEN)
    rng = np.random.default_rng(0)
    lumpy = face_masks(landmarks(), 200, 200, replace(EVEN, lumps=rng.normal(0, 0.3, (5, 5)).astype(np.float32)))
    bulgy = face_masks(landmarks(), 200, 200, replace(EVEN, bulges=rng.normal(0, 0.1, (4, 2)).astype(np.float32)))
    for other in (lumpy, bulgy):
        changed = np.abs(base - other) > 0.2
        assert changed.sum() > 20
        assert not changed[0, 110, 100]


@pytest.mark.parametrize("x", [-500.0, 1e6, -1e9])
def test_a_face_outside_the_frame_has_no_mask(x: float) -> None:
    assert not face_masks(landmarks(x=x), 100, 100, EVEN).any()


def test_a_face_that_is_cut_off_is_masked_up_to_the_edge() -> None:
    mask = face_masks(landmarks(x=5), 200, 200, EVEN)[0]
    assert mask[90, 0] == 1
    assert center(mask)[0] < 40


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 200), (201, 33), (333, 257)])
def test_any_size_will_do(height: int, width: int) -> None:
    mask = face_masks(landmarks(scale=height / 5, x=width / 2, y=height / 2), height, width, EVEN)
    assert mask.shape == (1, height, width)
    assert np.isfinite(mask).all()


def test_shapes_are_drawn_from_their_settings() -> None:
    rng = np.random.default_rng(0)
    settings = MaskSettings(regions=("eyes", "mouth"), level=(0.4, 0.5), slope=(0.2, 0.3))
    drawn = [draw_shape(rng, settings) for _ in range(30)]
    assert {shape.region for shape in drawn} == {"eyes", "mouth"}
    assert all(0.4 <= shape.level <= 0.5 and 0.2 <= shape.slope <= 0.3 for shape in drawn)
