from dataclasses import replace
from typing import get_args

import cv2
import numpy as np
import pytest

from aura_model.augment.codec import CodecSettings
from aura_model.augment.families import FAMILIES
from aura_model.augment.forgery import Material, null_blend
from aura_model.augment.pairs import (
    GENERATED,
    RenderSettings,
    draw_shared,
    face_boxes,
    filmed,
    fitting_margin,
    into_view,
    render,
    render_generated,
    render_pair,
)
from aura_model.config import GeneratedFamily

SMALL = RenderSettings(size=64)
CLEAN = RenderSettings(
    size=64,
    wobble=0,
    color=0,
    blur=(0, 0),
    noise=(0, 0),
    flip=0,
    filmed=0,
    lens=0,
    uneven=0,
    grain=(0, 0),
    fresh=0,
    sharpen=(0, 0),
    codec=CodecSettings(names=("h264",), never=0, twice=0, shrink=(1, 1)),
    gain=(1, 1),
    hiss=0,
)


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


def test_disturbances_come_before_the_codecs_or_after_them(make_material) -> None:
    """Black bars stay black unless they were coded, or the crop does not reach them."""
    settings = replace(CLEAN, disturbed=100)
    shared = [draw_shared(np.random.default_rng(seed), 64, 64, settings) for seed in range(40)]
    assert 8 < sum(one.disturbed_first for one in shared) < 24
    material, clips = make_material(), []
    for first in (True, False):
        drawn = replace(shared[0], disturbed_first=first)
        clips.append(render(null_blend(material, np.random.default_rng(0)), material.landmarks, drawn, settings))
    assert (clips[0].frames != clips[1].frames).any()


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


def test_boxes_follow_the_face_and_wobble_as_drawn(make_material) -> None:
    landmarks = make_material().landmarks
    steady = face_boxes(landmarks, np.zeros(3, np.float32))
    assert (steady[:, :2] < landmarks.min(1)).all()
    assert (steady[:, 2:] > landmarks.max(1)).all()
    sides = (steady[:, 2:] - steady[:, :2]).max(1)
    moved = face_boxes(landmarks, np.array([0.1, 0, 0], np.float32))
    np.testing.assert_allclose(moved[:, 0] - steady[:, 0], 0.1 * sides, rtol=1e-3)
    larger = face_boxes(landmarks, np.array([0, 0, 0.1], np.float32))
    np.testing.assert_allclose((larger[:, 2:] - larger[:, :2]).max(1), 1.1 * sides, rtol=1e-3)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((30, 30, 50, 50), (30, 30, 50, 50)),
        ((-10, 30, 10, 50), (2, 30, 22, 50)),
        ((30, 85, 50, 105), (30, 78, 50, 98)),
        ((-40, 0, 160, 120), (-40, 0, 160, 120)),
    ],
    ids=["inside", "left", "below", "too large"],
)
def test_a_box_is_shifted_into_view_where_it_fits(box: tuple[int, ...], expected: tuple[int, ...]) -> None:
    found = into_view(np.array([box], np.float32), 0.1, 100, 100)
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


@pytest.mark.parametrize(("side", "expected"), [(50, 0.2), (80, 0.125), (96, 0.0208), (100, 0.0), (400, 0.0)])
def test_a_margin_gives_way_where_the_frame_is_too_small(side: float, expected: float) -> None:
    boxes = np.array([[0, 0, side / 2, side / 2], [5, 5, 5 + side, 10]], np.float32)
    assert fitting_margin(boxes, 0.2, 120, 100) == pytest.approx(expected, abs=1e-3)


def test_a_close_up_shows_no_repeated_edge(make_material) -> None:
    """A face as large as the frame allows: the crop's last rows and columns are pictures of different places."""
    material = make_material(height=100, width=100, scale=30.0, x=50.0, y=38.0)
    real, _ = pair(material, "null_blend", 0, replace(CLEAN, margin=(0.2, 0.2)))
    for edge in (real.frames[:, -3:], real.frames[:, :3], real.frames[:, :, :3].swapaxes(1, 2)):
        assert np.abs(np.diff(edge.astype(int), axis=1)).mean() > 0.5


def test_filmed_footage_has_a_codecs_traces_and_its_own_size(make_material) -> None:
    material = make_material(height=75, width=91)
    shared = draw_shared(np.random.default_rng(0), *material.size, replace(CLEAN, filmed=1.0))
    footage = filmed(material, shared)
    assert footage.frames.shape == material.frames.shape
    assert (footage.frames != material.frames).any()
    assert footage.wave is material.wave
    assert footage.faces is footage.frames
    assert filmed(material, replace(shared, camera=None)).frames is material.frames


@pytest.mark.parametrize("camera", [False, True])
def test_a_dull_lens_softens_the_footage_and_not_the_face_that_is_put_into_it(camera: bool, make_material) -> None:
    material = make_material()
    for seed in range(6):
        settings = replace(CLEAN, filmed=float(camera), lens=1)
        shared = draw_shared(np.random.default_rng(seed), *material.size, settings)
        footage = filmed(material, shared)
        np.testing.assert_array_equal(footage.faces, filmed(material, replace(shared, lens=None)).frames)
        assert sharpness(footage.frames) < sharpness(footage.faces)
        np.testing.assert_allclose(footage.frames.mean((1, 2, 3)), footage.faces.mean((1, 2, 3)), atol=1.5)


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


def test_a_camera_leaves_its_noise_before_its_coding(make_material) -> None:
    material = make_material()
    shared = draw_shared(np.random.default_rng(0), *material.size, replace(CLEAN, grain=(1, 5)))
    noisy = filmed(material, replace(shared, grain=3.0)).frames.astype(float) - material.frames
    assert noisy.std() == pytest.approx(3, rel=0.1)
    np.testing.assert_array_equal(filmed(material, shared).frames, filmed(material, shared).frames)
    coded = filmed(material, replace(shared, camera=replace(shared.platform[0], height=96, width=96))).frames
    assert (coded != filmed(material, shared).frames).any()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_fresh_face_has_neither_the_cameras_noise_nor_its_coding(fresh: bool, make_material) -> None:
    material = make_material()
    settings = replace(CLEAN, filmed=1.0, grain=(1, 5), lens=1, fresh=float(fresh))
    shared = draw_shared(np.random.default_rng(0), *material.size, settings)
    footage = filmed(material, shared)
    expected = material if fresh else filmed(material, replace(shared, lens=None))
    np.testing.assert_array_equal(footage.faces, expected.frames)
    assert (footage.frames != footage.faces).any()


def test_half_of_the_forged_faces_are_crisper_than_the_footage(make_material) -> None:
    """Softness alone tells nothing: with the lens a face is as often sharper than before as softer."""
    material = make_material(frames=1, height=120, width=120, scale=24.0, x=60.0, y=48.0)
    gains = []
    for seed in range(40):
        real, fake = pair(material, "self_blend", seed, replace(CLEAN, lens=0.5))
        inside = fake.mask > 0.9
        gains.append(sharpness(fake.frames, inside) / sharpness(real.frames, inside))
    assert 0.2 < np.mean(np.array(gains) > 1) < 0.8


def sharpness(frames: np.ndarray, where: np.ndarray | slice = slice(None)) -> float:
    """Deviation of the fine detail of the green channel."""
    green = frames[..., 1].astype(np.float32)
    return float(np.stack([one - cv2.GaussianBlur(one, (0, 0), 2) for one in green])[where].std())


def test_sharpening_is_shared_too(make_material) -> None:
    plain, crisp = (
        pair(make_material(), "null_blend", 2, replace(CLEAN, sharpen=(chance, 1.5)))[0] for chance in (0, 1)
    )
    assert sharpness(crisp.frames) > sharpness(plain.frames)


def test_samples_are_bounded_and_of_sixteen_bits(make_material) -> None:
    material = make_material()
    shared = draw_shared(np.random.default_rng(0), *material.size, replace(SMALL, gain=(8, 8)))
    wave = render(null_blend(material, np.random.default_rng(0)), material.landmarks, shared, SMALL).wave
    assert np.abs(wave).max() == 1
    np.testing.assert_allclose(wave * 32767, np.rint(wave * 32767), atol=2e-3)


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
