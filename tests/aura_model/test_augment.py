from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura_model.augment import audio, video
from aura_model.augment.clip import augment_clip
from aura_model.clips import Clip
from aura_model.config import AugmentationConfig, ConfigError, load_config

T, SIDE, S = 3, 32, 800


@pytest.fixture
def clip() -> Clip:
    rng = np.random.default_rng(0)
    return Clip(
        times=np.arange(T) / 8,
        seconds=T / 8,
        frames=rng.integers(0, 256, (T, SIDE, SIDE, 3), dtype=np.uint8),
        boxes=np.ones((T, 4), np.float32),
        landmarks=(SIDE * rng.random((T, 5, 2))).astype(np.float32),
        track_id=0,
        wave=(0.5 * rng.standard_normal(S)).clip(-1, 1).astype(np.float32),
    )


def make(**changes: Any) -> AugmentationConfig:
    return load_config(env={}, settings={"dataset": {"augmentation": changes}}).dataset.augmentation


OFF: dict[str, Any] = {"horizontal_flip": 0, "color_jitter": 0, "jpeg_quality": None, "audio_noise": 0}


def smooth(side: int = 32) -> np.ndarray:
    ramp = np.linspace(0, 255, side)
    picture = np.stack(
        [ramp[None, :] + 0 * ramp[:, None], 0 * ramp[None, :] + ramp[:, None], 0 * ramp + 128 + np.zeros((side, side))],
        -1,
    )
    return np.broadcast_to(picture.astype(np.uint8), (2, side, side, 3)).copy()


def test_a_flip_mirrors_pictures_and_landmarks_together() -> None:
    frames, landmarks = np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 5, 2), np.float32)
    places = [(1, 2), (6, 2), (3, 4), (2, 6), (5, 6)]  # left eye, right eye, nose, mouth corners: x, y
    for value, (x, y) in enumerate(places, start=1):
        frames[0, y, x], landmarks[0, value - 1] = value, (x, y)
    flipped, moved = video.flip(frames, landmarks)
    values = [int(flipped[0, int(y), int(x), 0]) for x, y in moved[0]]
    assert values == [2, 1, 3, 5, 4]
    assert moved[0, 0, 0] < moved[0, 1, 0]
    np.testing.assert_array_equal(video.flip(flipped, moved)[0], frames)
    np.testing.assert_array_equal(video.flip(flipped, moved)[1], landmarks)


def test_colours_stay_as_they_are_at_strength_one() -> None:
    np.testing.assert_array_equal(video.jitter_color(smooth(), 1, 1, 1), smooth())


@pytest.mark.parametrize(("brightness", "expected"), [(0.5, 50), (1.5, 150), (10, 255)])
def test_brightness_scales(brightness: float, expected: int) -> None:
    frames = np.full((1, 4, 4, 3), 100, np.uint8)
    assert (video.jitter_color(frames, brightness, 1, 1) == expected).all()


def test_contrast_keeps_the_mean_and_scales_the_spread() -> None:
    frames = np.array([90, 110], np.uint8).repeat(3).reshape(1, 1, 2, 3)
    np.testing.assert_array_equal(video.jitter_color(frames, 1, 2, 1)[0, 0, :, 0], [80, 120])


def test_no_saturation_is_grey_of_the_same_brightness() -> None:
    grey = video.jitter_color(smooth(), 1, 1, 0).astype(int)
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])
    assert np.abs(grey[..., 0] - smooth() @ video.LUMA).max() <= 1


def test_jpeg_loses_more_at_low_quality_and_keeps_the_colours() -> None:
    frames = smooth()
    losses = [np.abs(video.jpeg(frames, quality).astype(int) - frames).mean() for quality in (100, 5)]
    assert losses[0] < 3 < losses[1] < 40


def test_noise_has_the_asked_for_deviation_and_stays_in_range() -> None:
    rng = np.random.default_rng(0)
    noisy = audio.add_noise(np.zeros(20_000, np.float32), 0.1, rng)
    assert noisy.std() == pytest.approx(0.1, rel=0.05)
    assert noisy.dtype == np.float32
    assert np.abs(audio.add_noise(np.ones(100, np.float32), 0.5, rng)).max() <= 1


@given(seed=st.integers(0, 2**64 - 1))
def test_the_same_generator_gives_the_same_bytes(seed: int) -> None:
    rng = np.random.default_rng(1)
    clip = Clip(
        times=np.arange(T) / 8,
        seconds=T / 8,
        frames=rng.integers(0, 256, (T, 16, 16, 3), dtype=np.uint8),
        boxes=np.ones((T, 4), np.float32),
        landmarks=np.ones((T, 5, 2), np.float32),
        track_id=0,
        wave=np.zeros(S, np.float32),
    )
    first, again = (augment_clip(clip, make(), np.random.default_rng(seed)) for _ in range(2))
    for name in ("frames", "landmarks", "wave"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()


def test_all_frames_of_a_clip_are_changed_alike(clip: Clip) -> None:
    assert clip.frames is not None
    still = replace(clip, frames=np.repeat(clip.frames[:1], T, axis=0))
    for seed in range(5):
        frames = augment_clip(still, make(), np.random.default_rng(seed)).frames
        assert frames is not None
        assert (frames == frames[0]).all()


def test_the_input_is_not_touched_and_may_be_read_only(clip: Clip) -> None:
    assert clip.frames is not None
    assert clip.wave is not None
    before = clip.frames.tobytes() + clip.wave.tobytes()
    clip.frames.flags.writeable = clip.wave.flags.writeable = False
    changed = augment_clip(clip, make(), np.random.default_rng(0))
    assert clip.frames.tobytes() + clip.wave.tobytes() == before
    assert changed.frames is not None
    assert (changed.frames.shape, changed.frames.dtype) == (clip.frames.shape, np.uint8)
    assert (changed.times is clip.times, changed.boxes is clip.boxes, changed.track_id) == (True, True, 0)


@pytest.mark.parametrize("changes", [{"enabled": False}, OFF])
def test_what_is_switched_off_changes_nothing(clip: Clip, changes: dict[str, Any]) -> None:
    changed = augment_clip(clip, make(**changes), np.random.default_rng(0))
    for name in ("frames", "landmarks", "wave"):
        np.testing.assert_array_equal(getattr(changed, name), getattr(clip, name))


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        ({"horizontal_flip": 1}, {"frames", "landmarks"}),
        ({"color_jitter": 0.5}, {"frames"}),
        ({"jpeg_quality": [5, 5]}, {"frames"}),
        ({"audio_noise": 0.1}, {"wave"}),
    ],
)
def test_each_switch_changes_its_own_part(clip: Clip, change: dict[str, Any], touched: set[str]) -> None:
    changed = augment_clip(clip, make(**OFF | change), np.random.default_rng(0))
    found = {
        name
        for name in ("frames", "landmarks", "wave")
        if not np.array_equal(getattr(changed, name), getattr(clip, name))
    }
    assert found == touched


def test_a_missing_modality_stays_missing_and_does_not_alter_the_other(clip: Clip) -> None:
    silent, unseen = replace(clip, wave=None), replace(clip, frames=None, boxes=None, landmarks=None, track_id=None)
    whole, seen, heard = (augment_clip(one, make(), np.random.default_rng(7)) for one in (clip, silent, unseen))
    assert seen.wave is None
    assert heard.frames is None
    np.testing.assert_array_equal(seen.frames, whole.frames)  # type: ignore[arg-type]
    np.testing.assert_array_equal(heard.wave, whole.wave)  # type: ignore[arg-type]


def test_jpeg_quality_is_a_range() -> None:
    with pytest.raises(ConfigError, match=r"jpeg_quality must be \[low, high\]"):
        make(jpeg_quality=[90, 60])
