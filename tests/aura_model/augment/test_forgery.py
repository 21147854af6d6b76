from dataclasses import replace

import numpy as np
import pytest

from aura_model.augment.forgery import Forgery, Material, nowhere, null_blend, wander

FRAMES = np.zeros((2, 8, 6, 3), np.uint8)
LANDMARKS = np.ones((2, 5, 2), np.float32)


@pytest.mark.parametrize(
    "landmarks",
    [None, LANDMARKS[:1], LANDMARKS[:, :4], np.full((2, 5, 2), np.nan, np.float32), LANDMARKS[..., 0]],
    ids=["none", "too few frames", "four points", "not a number", "no y"],
)
def test_a_material_without_usable_landmarks_says_so(landmarks: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match="five finite landmarks for each frame"):
        Material(FRAMES, landmarks)


@pytest.mark.parametrize(
    "frames",
    [None, FRAMES[0], FRAMES.astype(np.float32), FRAMES[:0], FRAMES[..., :1]],
    ids=["none", "one frame", "floats", "no frames", "grey"],
)
def test_a_material_without_usable_frames_says_so(frames: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match="frames uint8"):
        Material(frames, LANDMARKS)


def test_landmarks_may_lie_outside_the_frame() -> None:
    assert Material(FRAMES, LANDMARKS * -50).size == (8, 6)


def test_the_null_blend_is_the_clip_itself_and_real(make_material) -> None:
    material = make_material()
    forgery = null_blend(material, np.random.default_rng(0))
    assert forgery.frames is material.frames
    assert forgery.wave is material.wave
    assert not forgery.mask.any()
    assert (forgery.label, forgery.video, forgery.audio, forgery.mismatch) == (0, False, False, False)


@pytest.mark.parametrize(
    ("mask", "audio", "mismatch", "label"),
    [(0, False, False, 0), (1, False, False, 1), (0, True, False, 1), (1, True, False, 1), (0, False, True, 0)],
)
def test_a_picture_or_a_sound_that_is_forged_is_fake_and_a_mismatch_is_not(
    mask: int, audio: bool, mismatch: bool, label: int
) -> None:
    masks = np.full((2, 8, 6), mask, np.float32)
    assert Forgery("some", FRAMES, None, masks, audio=audio, mismatch=mismatch).label == label


def test_sound_that_is_not_changed_is_no_forgery(make_material) -> None:
    material = make_material()
    assert not Forgery.of_audio("some", material, material.wave).audio
    assert not Forgery.of_audio("some", material, material.wave, mismatch=True).mismatch
    assert not Forgery.of_audio("some", replace(material, wave=None), None).audio


def test_a_mask_of_nothing_has_the_shape_of_the_frames(make_material) -> None:
    mask = nowhere(make_material(frames=2, height=31, width=45))
    assert mask.shape == (2, 31, 45)
    assert mask.dtype == np.float32


def test_a_wander_has_its_deviation_from_the_first_step_on_and_is_slow() -> None:
    curves = wander(np.random.default_rng(0), 40, 5000, 2.0, hold=0.9)
    np.testing.assert_allclose(curves.std(1), 2.0, rtol=0.06)
    steps = np.diff(curves, axis=0).std()
    assert steps == pytest.approx(2.0 * np.sqrt(2 * (1 - 0.9)), rel=0.05)


def test_a_face_is_taken_from_the_crisp_frames_where_there_are_any(make_material) -> None:
    material = make_material()
    assert material.faces is material.frames
    crisp = material.frames // 2
    assert replace(material, crisp=crisp).faces is crisp
    with pytest.raises(ValueError, match="crisp frames must have the shape"):
        replace(material, crisp=crisp[:, :-1])
