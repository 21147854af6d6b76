from dataclasses import replace

import cv2
import numpy as np
import pytest

from aura_model.augment.blending import BlendSettings, box_of, draw_slips, mix, rounded, self_blend
from aura_model.augment.looks import DETAIL, LookSettings

STILL = BlendSettings(drift=0.0)
NO_LOOK = LookSettings(0, 0, 0, 0, 0, 0, 0, 0, sharpness=None)
IN_PLACE = BlendSettings(look=NO_LOOK, shift=0, stretch=0, turn=0, bumps=0, drift=0)


def blended(material, settings: BlendSettings, seed: int = 0):
    return self_blend(material, np.random.default_rng(seed), settings)


def detail(frame: np.ndarray) -> np.ndarray:
    green = frame[..., 1].astype(np.float32)
    return green - cv2.GaussianBlur(green, (0, 0), DETAIL)


@pytest.mark.parametrize("seed", range(4))
def test_a_still_face_gets_the_same_forgery_in_each_frame(seed: int, make_material) -> None:
    """Everything but the drift is drawn once for a clip."""
    forgery = blended(make_material(moving=False, frames=4), STILL, seed)
    assert forgery.video
    for frame, mask in zip(forgery.frames, forgery.mask, strict=True):
        np.testing.assert_array_equal(frame, forgery.frames[0])
        np.testing.assert_array_equal(mask, forgery.mask[0])


def test_a_drift_tells_the_frames_apart_by_a_little(make_material) -> None:
    material = make_material(moving=False, frames=6)
    steady, drifting = (blended(material, settings, 3).frames.astype(int) for settings in (STILL, BlendSettings()))
    over_time = np.abs(np.diff(drifting, axis=0)).mean()
    assert 0 < over_time < np.abs(steady - material.frames).mean()


def test_a_blend_of_the_same_look_in_place_changes_nothing(make_material) -> None:
    material = make_material()
    np.testing.assert_array_equal(blended(material, IN_PLACE).frames, material.frames)


def test_the_ratio_scales_the_change_but_not_the_truth(make_material) -> None:
    material = make_material()
    look = LookSettings(sharpness=None)
    whole, half = (blended(material, replace(STILL, look=look, ratios=(ratio,))) for ratio in (1.0, 0.5))
    change = [np.abs(forgery.frames.astype(float) - material.frames).mean() for forgery in (whole, half)]
    assert change[1] == pytest.approx(change[0] / 2, rel=0.1)
    np.testing.assert_array_equal(whole.mask, half.mask)


@pytest.mark.parametrize("knob", ["shift", "stretch", "turn", "bumps"])
def test_each_kind_of_displacement_shows(knob: str, make_material) -> None:
    material = make_material()
    forgery = blended(material, replace(IN_PLACE, **{knob: 0.1}))
    assert (forgery.frames != material.frames).any(-1)[forgery.mask > 0.9].mean() > 0.3


def test_a_slip_turns_and_stretches_about_the_middle_of_the_face() -> None:
    slip = draw_slips(np.random.default_rng(0), BlendSettings(shift=0, bumps=0, drift=0, turn=0.3, stretch=0.2), 1)[0]
    middle = np.array([[0.0, 0.5]], np.float32)
    np.testing.assert_allclose(slip.sources(middle), middle, atol=1e-5)
    assert np.abs(slip.sources(middle + 1) - middle - 1).max() > 0.01


def test_a_mix_is_exact_at_both_ends_and_bytes_never_wrap() -> None:
    below, above = (np.full((1, 3, 3), level, np.float32) for level in (250.4, 400))
    mixed = mix(below, above, np.array([[0.0, 0.01, 1.0]], np.float32))
    assert mixed[0, 0, 0] == below[0, 0, 0]
    assert rounded(mixed)[0, :, 0].tolist() == [250, 252, 255]
    assert rounded(-mixed).max() == 0


@pytest.mark.parametrize("ratio", [0.5, 1.0])
def test_a_face_whose_sharpness_is_matched_is_as_often_sharper_as_softer(ratio: float, make_material) -> None:
    """Warps, redrawing and mixing blur; if that stayed, a detector would learn no more than blur."""
    gains = sharpness_gains(make_material(frames=1, scale=26.0), ratio, sharpness=LookSettings.sharpness)
    assert 0.25 < np.mean(gains > 1) < 0.75
    assert 0.85 < np.median(gains) < 1.15


def test_a_face_whose_sharpness_is_not_matched_is_mostly_softer(make_material) -> None:
    gains = sharpness_gains(make_material(frames=1, scale=26.0), 1.0, sharpness=None)
    assert np.mean(gains > 1) < 0.5
    assert np.median(gains) < 0.95


def sharpness_gains(material, ratio: float, sharpness: float | None) -> np.ndarray:
    """How much sharper than before the face is, of some forgeries."""
    settings = replace(STILL, ratios=(ratio,), look=LookSettings(sharpness=sharpness, matched=1.0))
    gains = []
    for seed in range(24):
        forgery = blended(material, settings, seed)
        inside = forgery.mask[0] > 0.9
        forged, own = (detail(frames[0])[inside].std() for frames in (forgery.frames, material.frames))
        gains.append(forged / own)
    return np.array(gains)


@pytest.mark.parametrize(("rows", "columns"), [((2, 5), (1, 4)), ((0, 8), (0, 9)), ((7, 8), (8, 9))])
def test_a_box_holds_what_is_not_zero(rows: tuple[int, int], columns: tuple[int, int]) -> None:
    mask = np.zeros((8, 9), np.float32)
    mask[rows[0] : rows[1], columns[0] : columns[1]] = 0.01
    assert box_of(mask) == (slice(*rows), slice(*columns))


def test_an_empty_mask_has_no_box() -> None:
    assert box_of(np.zeros((8, 9), np.float32)) is None
