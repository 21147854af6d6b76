from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from aura_model.augment.families import FAMILIES
from aura_model.augment.forgery import Material
from aura_model.augment.pairs import GENERATED, render_generated, render_pair
from aura_model.augment.rendering import (
    RenderSettings,
    draw_shared,
    filmed,
)
from aura_model.config import GeneratedFamily
from tests.aura_model.augment.clean import CLEAN, sharpness

SMALL = RenderSettings(size=64)


def pair(material, family: str, seed: int = 0, settings: RenderSettings = SMALL):
    return render_pair(material, family, np.random.default_rng(seed), settings)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pair_has_one_shape_and_says_which_is_which(family: str, make_material) -> None:
    material = make_material()
    real, fake = pair(material, family)
    for sample in (real, fake):
        assert sample.frames.shape == (3, 64, 64, 3)
        assert sample.frames.dtype == np.uint8
        assert sample.landmarks.shape == (3, 5, 2)
        assert sample.mask.shape == (3, 64, 64)
        assert 0 <= sample.mask.min() <= sample.mask.max() <= 1
        assert sample.wave.shape == material.wave.shape
    assert real.label == 0
    assert not real.mask.any()
    expected = FAMILIES[family](material, np.random.default_rng(0))
    assert (fake.video, fake.audio, fake.mismatch) == (expected.video, expected.audio, expected.mismatch)
    assert (real.family, fake.family) == ("null_blend", family)


@pytest.mark.parametrize("seed", range(12))
def test_the_null_blend_is_rendered_to_the_very_bytes_of_the_real_one(seed: int, make_material) -> None:
    """Nothing in the shared part depends on which of the two it works on."""
    real, null = pair(make_material(), "null_blend", seed)
    np.testing.assert_array_equal(real.frames, null.frames)
    np.testing.assert_array_equal(real.landmarks, null.landmarks)
    np.testing.assert_array_equal(real.wave, null.wave)
    assert null.label == 0


@pytest.mark.parametrize("seed", range(12))
def test_what_disturbs_a_clip_disturbs_its_partner_alike(seed: int, make_material) -> None:
    settings = replace(CLEAN, disturbed=100)
    real, null = pair(make_material(), "null_blend", seed, settings)
    np.testing.assert_array_equal(real.frames, null.frames)
    calm = pair(make_material(), "null_blend", seed, CLEAN)[0]
    assert (real.frames != calm.frames).any()
    np.testing.assert_array_equal(real.landmarks, calm.landmarks)
    np.testing.assert_array_equal(real.mask, calm.mask)


def test_sound_of_a_forged_picture_is_the_very_same_and_the_other_way_round(make_material) -> None:
    real, fake = pair(make_material(), "self_blend", 3)
    np.testing.assert_array_equal(real.wave, fake.wave)
    real, fake = pair(make_material(), "copy_synthesis", 3)
    np.testing.assert_array_equal(real.frames, fake.frames)
    assert (real.wave != fake.wave).any()


def test_the_same_seed_gives_the_same_pair(make_material) -> None:
    material = make_material()
    first, again, other = (pair(material, "self_blend", seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert (first.frames != other.frames).any()


def test_every_family_shares_what_comes_after_it(make_material) -> None:
    """The real clip does not depend on how its partner is forged."""
    material = make_material()
    reals = [pair(material, family, 5)[0].frames for family in ("self_blend", "generated_picture", "desync")]
    assert all((real == reals[0]).all() for real in reals)


def test_the_truth_mask_lies_where_the_pair_differs(make_material) -> None:
    material = make_material(height=120, width=120, scale=24.0, x=60.0, y=48.0)
    for seed in range(6):
        real, fake = pair(material, "self_blend", seed, replace(CLEAN, flip=0.5))
        difference = np.abs(real.frames.astype(int) - fake.frames).mean(-1)
        assert difference[fake.mask > 0.9].mean() > 2 * difference[fake.mask == 0].mean()


def test_a_flip_takes_landmarks_and_mask_along(make_material) -> None:
    material = make_material(x=40.0)
    straight, turned = (pair(material, "self_blend", 1, replace(CLEAN, flip=flip))[1] for flip in (0.0, 1.0))
    np.testing.assert_array_equal(turned.frames, straight.frames[:, :, ::-1])
    np.testing.assert_array_equal(turned.mask, straight.mask[:, :, ::-1])
    np.testing.assert_allclose(turned.landmarks[:, 0, 0], 64 - straight.landmarks[:, 1, 0], atol=1e-3)


def test_the_crop_holds_the_face_whatever_the_coded_size(make_material) -> None:
    material = make_material(height=120, width=120, scale=24.0, x=60.0, y=48.0)
    wanted = pair(material, "null_blend", 0, CLEAN)[0]
    for share in (0.6, 1.25):
        coded = replace(CLEAN, codec=replace(CLEAN.codec, shrink=(share, share)))
        found = pair(material, "null_blend", 0, coded)[0]
        np.testing.assert_allclose(found.landmarks, wanted.landmarks, atol=0.5)
        assert np.abs(found.frames.astype(int) - wanted.frames).mean() < 12


def test_a_close_up_shows_no_repeated_edge(make_material) -> None:
    """A face as large as the frame allows: the crop's last rows and columns are pictures of different places."""
    material = make_material(height=100, width=100, scale=30.0, x=50.0, y=38.0)
    real, _ = pair(material, "null_blend", 0, replace(CLEAN, margin=(0.2, 0.2)))
    for edge in (real.frames[:, -3:], real.frames[:, :3], real.frames[:, :, :3].swapaxes(1, 2)):
        assert np.abs(np.diff(edge.astype(int), axis=1)).mean() > 0.5


def test_uneven_footage_is_uneven_in_both_clips_and_the_face_put_into_it_is_not(make_material) -> None:
    material = make_material()
    settings = replace(CLEAN, uneven=1)
    shared = draw_shared(np.random.default_rng(5), *material.size, settings)
    footage = filmed(material, shared)
    assert (footage.frames != material.frames).any()
    np.testing.assert_array_equal(footage.faces, material.frames)
    real, fake = pair(material, "self_blend", 5, settings)
    plain, _ = pair(material, "self_blend", 5, CLEAN)
    assert (real.frames != plain.frames).any()
    difference = np.abs(real.frames.astype(int) - fake.frames)
    assert difference[fake.mask == 0].mean() < 0.3 * difference[fake.mask > 0.9].mean()


def test_half_of_the_forged_faces_are_crisper_than_the_footage(make_material) -> None:
    """Softness alone tells nothing: with the lens a face is as often sharper than before as softer."""
    material = make_material(frames=1, height=120, width=120, scale=24.0, x=60.0, y=48.0)
    gains = []
    for seed in range(40):
        real, fake = pair(material, "self_blend", seed, replace(CLEAN, lens=0.5))
        inside = fake.mask > 0.9
        gains.append(sharpness(fake.frames, inside) / sharpness(real.frames, inside))
    assert 0.2 < np.mean(np.array(gains) > 1) < 0.8


def test_sharpening_is_shared_too(make_material) -> None:
    plain, crisp = (
        pair(make_material(), "null_blend", 2, replace(CLEAN, sharpen=(chance, 1.5)))[0] for chance in (0, 1)
    )
    assert sharpness(crisp.frames) > sharpness(plain.frames)


def test_a_clip_without_sound_stays_without(make_material) -> None:
    real, fake = pair(make_material(wave=False), "self_blend")
    assert real.wave is None
    assert fake.wave is None


def test_an_unknown_family_is_an_error(make_material) -> None:
    with pytest.raises(KeyError, match="no_such"):
        pair(make_material(), "no_such")


@pytest.mark.parametrize("place", [{"x": 3.0}, {"height": 33, "width": 75, "scale": 9.0, "y": 12.0}, {"frames": 1}])
def test_odd_material_is_rendered_too(place: dict[str, float], make_material) -> None:
    real, fake = pair(make_material(**place), "self_blend")
    assert real.frames.shape == fake.frames.shape


def test_a_generated_clip_goes_the_same_way_as_the_genuine_one_beside_it(make_material) -> None:
    material = make_material()
    real, fake = render_generated(material, material, "generated_person", np.random.default_rng(3), SMALL)
    np.testing.assert_array_equal(real.frames, fake.frames)
    np.testing.assert_array_equal(real.landmarks, fake.landmarks)
    assert (real.label, real.family, real.mask.max()) == (0, "null_blend", 0)
    assert (fake.label, fake.family, fake.mask.min()) == (1, "generated_person", 1)


def test_a_generated_clip_is_cropped_by_its_own_landmarks(make_material) -> None:
    material = make_material()
    half = Material(material.frames[:, :90, :90], material.landmarks - 4)
    _, fake = render_generated(material, half, "generated_person", np.random.default_rng(3), CLEAN)
    (_, alone) = render_generated(half, half, "generated_person", np.random.default_rng(3), CLEAN)
    np.testing.assert_array_equal(fake.frames, alone.frames)
    other = render_generated(material, half, "generated_person", np.random.default_rng(4), CLEAN)[1]
    assert (other.frames != fake.frames).any()


def test_a_generated_face_is_put_into_the_genuine_clip(make_material) -> None:
    material = make_material()
    drawn = Material(255 - material.frames, material.landmarks)
    real, fake = render_generated(material, drawn, "generated_swap", np.random.default_rng(3), CLEAN)
    beside, _ = render_pair(material, "self_blend", np.random.default_rng(3), CLEAN)
    np.testing.assert_array_equal(real.frames, beside.frames)
    np.testing.assert_array_equal(real.landmarks, fake.landmarks)
    assert (real.label, fake.label, fake.family) == (0, 1, "generated_swap")
    assert 0.02 < fake.mask.mean() < 0.9
    changed = np.abs(real.frames.astype(int) - fake.frames).mean(-1)
    assert changed[fake.mask > 0.9].mean() > 10 * changed[fake.mask == 0].mean()


def test_a_way_to_use_a_generated_clip_that_is_unknown_is_an_error(make_material) -> None:
    with pytest.raises(KeyError, match="no_such"):
        render_generated(make_material(), make_material(), "no_such", np.random.default_rng(3), CLEAN)


def test_the_configuration_knows_all_that_is_made_of_generated_clips() -> None:
    assert set(get_args(GeneratedFamily)) == set(GENERATED)
