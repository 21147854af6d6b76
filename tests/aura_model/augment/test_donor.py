from dataclasses import replace

import numpy as np
import pytest

from aura_model.augment.blending import BlendSettings
from aura_model.augment.donor import donor_blend, donor_poisson, generated_swap, nearest_donors
from aura_model.augment.face_model import FIVE
from aura_model.augment.forgery import Material
from aura_model.augment.looks import LookSettings

ALL = pytest.mark.parametrize("swap", [donor_blend, donor_poisson, generated_swap])
STILL = LookSettings(offset=0, gain=0, saturation=0, hue=0, curve=0, shading=0, harmony=0, texture=0, matched=0)
IN_PLACE = BlendSettings(look=STILL, ratios=(1.0,), shift=0, stretch=0, turn=0, bumps=0, drift=0)
"""Nothing of the donor's face is changed or moved."""


@ALL
def test_without_a_donor_it_says_so(swap, make_material) -> None:
    with pytest.raises(ValueError, match=r"needs Material\.donor"):
        swap(make_material(donor=False), np.random.default_rng(0))


@ALL
def test_the_donors_features_come_with_it_and_the_clips_surroundings_stay(swap, make_material) -> None:
    """A donor with a dark cross on the nose brings it, also into every frame of a longer clip."""
    material = make_material(frames=3, scale=26.0)
    frames = material.donor.frames.copy()
    x, y = np.rint(material.donor.landmarks[0, 2]).astype(int)
    frames[0, y - 4 : y + 5, x - 4 : x + 5] = 0
    marked = replace(material, donor=Material(frames, material.donor.landmarks))
    plain, crossed = (swap(clip, np.random.default_rng(0)) for clip in (material, marked))
    for time in range(3):
        x, y = np.rint(material.landmarks[time, 2]).astype(int)
        assert crossed.frames[time, y, x].mean() < plain.frames[time, y, x].mean() - 25
    np.testing.assert_array_equal(crossed.frames[crossed.mask == 0], material.frames[crossed.mask == 0])


@ALL
def test_the_donor_takes_the_clips_colours(swap, make_material) -> None:
    material = make_material(moving=False)
    dark = Material((material.donor.frames * 0.4).astype(np.uint8), material.donor.landmarks)
    forgery = swap(replace(material, donor=dark), np.random.default_rng(0))
    inside = forgery.mask > 0.9
    assert forgery.frames[inside].mean() == pytest.approx(material.frames[inside].mean(), abs=35)


def test_a_generated_face_keeps_its_texture(make_material) -> None:
    """What a network drew is put in pixel for pixel, where tool and camera do nothing to it."""
    material = make_material(frames=2, moving=False)
    drawn = replace(material, frames=255 - material.frames, donor=None)
    forgery = generated_swap(replace(material, donor=drawn), np.random.default_rng(0), IN_PLACE)
    whole = forgery.mask == 1
    assert whole.mean() > 0.02
    np.testing.assert_array_equal(forgery.frames[whole], drawn.frames[whole])


def test_a_generated_face_lies_a_little_out_of_place_in_each_clip(make_material) -> None:
    material = make_material(frames=2, moving=False)
    slips = replace(IN_PLACE, shift=0.03, stretch=0.02)
    same = replace(material, donor=Material(material.frames, material.landmarks))
    first, again, other = (generated_swap(same, np.random.default_rng(seed), slips) for seed in (1, 1, 2))
    assert (first.family, first.label) == ("generated_swap", 1)
    np.testing.assert_array_equal(first.frames, again.frames)
    assert (first.frames != material.frames).any()
    assert (first.frames != other.frames).any()


def test_poisson_blending_keeps_off_the_edge(make_material) -> None:
    forgery = donor_poisson(make_material(scale=80.0), np.random.default_rng(0))
    edge = np.ones(forgery.mask.shape[1:], bool)
    edge[1:-1, 1:-1] = False
    assert not forgery.mask[:, edge].any()
    assert set(np.unique(forgery.mask)) == {0.0, 1.0}


def test_the_nearest_donor_has_the_same_pose() -> None:
    def turned(yaw: float, scale: float) -> np.ndarray:
        rotation = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0]]) * scale
        return (FIVE @ rotation.T + 50).astype(np.float32)

    pool = np.stack([turned(-0.5, 20), turned(0.35, 60), turned(0.0, 30)])
    assert nearest_donors(turned(0.4, 33), pool).tolist() == [1, 2, 0]
    assert nearest_donors(turned(-0.4, 33), pool)[0] == 0
