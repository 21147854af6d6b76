"""What every family owes: see `aura_model.augment.forgery`."""

from dataclasses import replace

import numpy as np
import pytest

from aura_model.augment.families import FAMILIES, HELD_OUT, PROBES
from aura_model.augment.forgery import Forgery, Material

OF_SOUND = {"copy_synthesis", "desync"}
OF_PICTURES = sorted(set(FAMILIES) - OF_SOUND - PROBES)
ODD_PLACES = {
    "cut off on the left": {"x": 4.0},
    "cut off below": {"y": 88.0},
    "odd sides": {"height": 75, "width": 91},
    "a narrow strip": {"height": 40, "width": 130},
    "small": {"height": 24, "width": 20, "scale": 5.0, "x": 10.0, "y": 9.0},
    "larger than the frame": {"scale": 90.0},
    "one frame": {"frames": 1},
}


def forge(name: str, material: Material, seed: int = 0) -> Forgery:
    return FAMILIES[name](material, np.random.default_rng(seed))


def same(one: Forgery, other: Forgery) -> bool:
    waves = one.wave is other.wave or np.array_equal(one.wave, other.wave)
    return waves and np.array_equal(one.frames, other.frames) and np.array_equal(one.mask, other.mask)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_a_function_of_the_material_and_the_seed(name: str, make_material) -> None:
    material = make_material()  # read-only
    first = forge(name, material)
    assert same(first, forge(name, make_material()))
    assert first.family == name
    if name not in PROBES:
        assert not same(first, forge(name, material, seed=1))


@pytest.mark.parametrize("name", FAMILIES)
def test_shapes_and_types_are_kept(name: str, make_material) -> None:
    material = make_material(height=90, width=101)
    forgery = forge(name, material)
    assert forgery.frames.shape == material.frames.shape
    assert forgery.frames.dtype == np.uint8
    assert forgery.mask.shape == material.frames.shape[:3]
    assert forgery.mask.dtype == np.float32
    assert 0 <= forgery.mask.min() <= forgery.mask.max() <= 1
    assert forgery.wave.shape == material.wave.shape
    assert forgery.wave.dtype == np.float32
    assert np.abs(forgery.wave).max() <= 1


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", OF_PICTURES)
def test_pixels_change_under_the_mask_and_nowhere_else(name: str, seed: int, make_material) -> None:
    material = make_material(seed)
    forgery = forge(name, material, seed)
    assert forgery.video
    assert forgery.label == 1
    changed = (forgery.frames != material.frames).any(-1)
    assert not changed[forgery.mask == 0].any()
    assert changed[forgery.mask > 0.9].mean() > 0.3
    assert forgery.wave is material.wave


@pytest.mark.parametrize("name", sorted(OF_SOUND))
def test_sound_families_leave_the_picture(name: str, make_material) -> None:
    material = make_material()
    forgery = forge(name, material)
    assert forgery.frames is material.frames
    assert not forgery.video
    assert np.abs(forgery.wave - material.wave).max() > 0.01


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("place", ODD_PLACES.values(), ids=ODD_PLACES)
def test_faces_at_odd_places_and_frames_of_odd_sizes_do(name: str, place: dict[str, float], make_material) -> None:
    material = make_material(**place)
    forgery = forge(name, material)
    changed = (forgery.frames != material.frames).any(-1)
    assert not changed[forgery.mask == 0].any()
    assert np.isfinite(forgery.mask).all()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("level", [0, 255])
def test_plain_pictures_do(name: str, level: int, make_material) -> None:
    """Nothing divides by a deviation of 0, and no value wraps around."""
    material = make_material()
    plain = replace(material, frames=np.full_like(material.frames, level))
    forgery = forge(name, plain)
    if name not in HELD_OUT:
        assert np.abs(forgery.frames.astype(int) - level).max() < 90


@pytest.mark.parametrize("name", FAMILIES)
def test_a_face_out_of_the_frame_is_left_alone(name: str, make_material) -> None:
    material = make_material(x=900.0, frames=2)
    forgery = forge(name, material)
    if name == "generated_picture":
        assert forgery.video
    else:
        assert not forgery.video
        np.testing.assert_array_equal(forgery.frames, material.frames)


@pytest.mark.parametrize("name", sorted(set(OF_PICTURES) - {"generated_picture"}))
@pytest.mark.parametrize("eyes", [0.0, 1.0], ids=["landmarks in one place", "a face of some pixels"])
def test_a_face_too_small_to_work_on_is_left_alone(name: str, eyes: float, make_material) -> None:
    material = make_material(frames=2)
    middle = material.landmarks.mean(1, keepdims=True)
    tiny = middle + (material.landmarks - middle) * np.float32(eyes / 22)
    forgery = forge(name, replace(material, landmarks=tiny))
    assert forgery.label == 0
    np.testing.assert_array_equal(forgery.frames, material.frames)


@pytest.mark.parametrize("name", sorted(OF_SOUND))
@pytest.mark.parametrize("wave", [None, np.zeros(100, np.float32)], ids=["none", "short"])
def test_sound_families_without_enough_sound_forge_nothing(name: str, wave, make_material) -> None:
    forgery = forge(name, replace(make_material(), wave=wave))
    assert forgery.wave is wave
    assert (forgery.label, forgery.mismatch) == (0, False)


def test_families_differ_from_each_other(make_material) -> None:
    material = make_material()
    made = {name: forge(name, material) for name in FAMILIES}
    names = sorted(made)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            assert not same(made[one], made[other]), (one, other)


def test_the_donors_are_held_out_and_probes_are_real(make_material) -> None:
    assert {"donor_blend", "donor_poisson"} == HELD_OUT
    assert all(forge(name, make_material()).label == 0 for name in PROBES)
    assert set(FAMILIES) >= HELD_OUT | PROBES
