from dataclasses import replace

import numpy as np
import pytest

from aura_model.augment.forgery import null_blend
from aura_model.augment.rendering import (
    RenderSettings,
    draw_shared,
    face_boxes,
    filmed,
    fitting_margin,
    into_view,
    render,
)
from tests.aura_model.augment.clean import CLEAN, sharpness


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


def test_sound_is_bounded_and_of_sixteen_bits(make_material) -> None:
    settings = RenderSettings(size=64, gain=(8, 8))
    material = make_material()
    shared = draw_shared(np.random.default_rng(0), *material.size, settings)
    wave = render(null_blend(material, np.random.default_rng(0)), material.landmarks, shared, settings).wave
    assert np.abs(wave).max() == 1
    np.testing.assert_allclose(wave * 32767, np.rint(wave * 32767), atol=2e-3)
