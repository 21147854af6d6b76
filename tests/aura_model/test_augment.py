import hashlib
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura_model.augment import audio, compression, video
from aura_model.augment.clip import STEPS, augment_clip
from aura_model.clips import Clip
from aura_model.config import AugmentationConfig, Change
from aura_model.errors import ConfigError
from aura_model.settings import load_config

T, SIDE, S = 3, 32, 2000
PARTS = ("frames", "landmarks", "wave")


def random_clip(frames: int = T, side: int = SIDE, samples: int = S) -> Clip:
    rng = np.random.default_rng(0)
    return Clip(
        times=np.arange(frames) / 8,
        seconds=frames / 8,
        frames=rng.integers(0, 256, (frames, side, side, 3), dtype=np.uint8),
        boxes=np.ones((frames, 4), np.float32),
        landmarks=(side * rng.random((frames, 5, 2))).astype(np.float32),
        track_id=0,
        wave=(0.3 * rng.standard_normal(samples)).clip(-1, 1).astype(np.float32),
    )


@pytest.fixture
def clip() -> Clip:
    return random_clip()


def make(**changes: Any) -> AugmentationConfig:
    return load_config(env={}, settings={"dataset": {"augmentation": changes}}).dataset.augmentation


def change(low: float, high: float, probability: float = 1) -> dict[str, Any]:
    return {"probability": probability, "range": [low, high]}


def off(**others: Any) -> AugmentationConfig:
    """No change at all but `others`."""
    names = set(AugmentationConfig.model_fields) - {"enabled", "horizontal_flip"}
    return make(**{"horizontal_flip": 0} | {name: {"probability": 0} for name in names} | others)


EVERY: dict[str, Any] = {
    "horizontal_flip": 1,
    "crop": change(0.7, 0.9),
    "color_jitter": change(0.1, 0.3),
    "blur": change(0.5, 1.5),
    "noise": change(2, 6),
    "jpeg": change(20, 60),
    "h264": change(20, 40),
    "audio_noise": change(0.01, 0.02),
    "time_stretch": change(0.8, 0.9),
    "pitch_shift": change(1, 3),
}
"""Each change, made always and visibly."""


def changed_parts(before: Clip, after: Clip) -> set[str]:
    return {part for part in PARTS if not np.array_equal(getattr(before, part), getattr(after, part))}


def digest(clip: Clip) -> str:
    return hashlib.sha256(b"".join(getattr(clip, part).tobytes() for part in PARTS)).hexdigest()


def test_every_change_of_the_configuration_is_tried_here() -> None:
    assert set(EVERY) == set(AugmentationConfig.model_fields) - {"enabled"}
    assert len(STEPS) == len(EVERY)


@pytest.mark.parametrize(
    ("name", "touched"),
    [
        ("horizontal_flip", {"frames", "landmarks"}),
        ("crop", {"frames", "landmarks"}),
        *((name, {"frames"}) for name in ("color_jitter", "blur", "noise", "jpeg", "h264")),
        *((name, {"wave"}) for name in ("audio_noise", "time_stretch", "pitch_shift")),
    ],
)
def test_each_switch_changes_its_own_part(clip: Clip, name: str, touched: set[str]) -> None:
    changed = augment_clip(clip, off(**{name: EVERY[name]}), np.random.default_rng(0))
    assert changed_parts(clip, changed) == touched


@pytest.mark.parametrize("config", [make(enabled=False), off()], ids=["disabled", "improbable"])
def test_what_is_switched_off_changes_nothing(clip: Clip, config: AugmentationConfig) -> None:
    assert changed_parts(clip, augment_clip(clip, config, np.random.default_rng(0))) == set()


@pytest.mark.parametrize("probability", [0.2, 0.7])
def test_a_change_is_made_as_often_as_asked(clip: Clip, probability: float) -> None:
    config = off(audio_noise=change(0.1, 0.1, probability))
    made = [changed_parts(clip, augment_clip(clip, config, np.random.default_rng(seed))) for seed in range(300)]
    assert sum(map(bool, made)) / 300 == pytest.approx(probability, abs=0.08)


@pytest.mark.parametrize(
    "config", [make(**EVERY), off(noise=change(3, 3), crop=EVERY["crop"]), make()], ids=["all", "few", "default"]
)
@given(seed=st.integers(0, 2**64 - 1))
def test_the_same_seed_gives_the_same_bytes(config: AugmentationConfig, seed: int) -> None:
    clip = random_clip()
    first, again = (augment_clip(clip, config, np.random.default_rng(seed)) for _ in range(2))
    assert digest(first) == digest(again)


def test_other_seeds_give_other_bytes(clip: Clip) -> None:
    config = make(**EVERY)
    assert len({digest(augment_clip(clip, config, np.random.default_rng(seed))) for seed in range(20)}) == 20


def test_another_process_gives_the_same_bytes(clip: Clip) -> None:
    """The digests of a fresh interpreter with another number of threads and another hash seed."""
    script = (
        "import sys, cv2, numpy as np\n"
        f"sys.path.insert(0, {str(__file__).rsplit('/', 1)[0]!r})\n"
        "import test_augment as t\n"
        "cv2.setNumThreads(3)\n"
        "config = t.make(**t.EVERY)\n"
        "clips = [t.augment_clip(t.random_clip(), config, np.random.default_rng(seed)) for seed in range(3)]\n"
        "print(*[t.digest(clip) for clip in clips])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    here = [digest(augment_clip(clip, make(**EVERY), np.random.default_rng(seed))) for seed in range(3)]
    assert done.stdout.split() == here, done.stderr


def strengths(
    config: AugmentationConfig, monkeypatch: pytest.MonkeyPatch, seed: int = 11
) -> dict[str, tuple[Any, ...]]:
    """What each change is called with, without the arrays and the generators."""
    found: dict[str, tuple[Any, ...]] = {}

    def spy(module: Any, name: str) -> None:
        original = getattr(module, name)

        def call(array: Any, *rest: Any) -> Any:
            label = f"{module.__name__.rsplit('.', 1)[-1]}.{name}"
            found[label] = tuple(value for value in rest if isinstance(value, float | int))
            return original(array, *rest)

        monkeypatch.setattr(module, name, call)

    for module, names in (
        (video, ("flip", "crop", "jitter_color", "blur", "add_noise")),
        (compression, ("jpeg", "h264")),
        (audio, ("stretch_time", "shift_pitch", "add_noise")),
    ):
        for name in names:
            spy(module, name)
    augment_clip(random_clip(), config, np.random.default_rng(seed))
    monkeypatch.undo()
    return found


CALLS = {
    "horizontal_flip": "video.flip",
    "crop": "video.crop",
    "color_jitter": "video.jitter_color",
    "blur": "video.blur",
    "noise": "video.add_noise",
    "jpeg": "compression.jpeg",
    "h264": "compression.h264",
    "audio_noise": "audio.add_noise",
    "time_stretch": "audio.stretch_time",
    "pitch_shift": "audio.shift_pitch",
}


@pytest.mark.parametrize("name", EVERY)
def test_switching_one_change_off_leaves_the_draws_of_the_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    silenced = EVERY | {name: 0 if name == "horizontal_flip" else {"probability": 0}}
    whole, without = strengths(make(**EVERY), monkeypatch), strengths(make(**silenced), monkeypatch)
    assert set(whole) == set(CALLS.values())
    assert whole.pop(CALLS[name]) is not None
    assert without == whole


@pytest.mark.parametrize("name", [name for name in EVERY if name != "horizontal_flip"])
def test_strengths_are_drawn_from_the_range(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    low, high = EVERY[name]["range"]
    values = strengths(make(**EVERY), monkeypatch)[CALLS[name]]
    found = [abs(value - 1) for value in values] if name == "color_jitter" else [values[0]]
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in found)


def test_crops_lie_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    config = off(crop=EVERY["crop"])
    places = np.array([strengths(config, monkeypatch, seed)["video.crop"][1:] for seed in range(60)])
    assert (places.min(0) < 0.1).all()
    assert (places.max(0) > 0.9).all()
    assert abs(np.corrcoef(places.T)[0, 1]) < 0.4


def test_colours_go_up_and_down(clip: Clip) -> None:
    grey = replace(clip, frames=np.full((1, 8, 8, 3), 100, np.uint8))
    config = off(color_jitter=change(0.2, 0.2))
    seen = set()
    for seed in range(20):
        frames = augment_clip(grey, config, np.random.default_rng(seed)).frames
        assert frames is not None
        seen.add(int(frames[0, 0, 0, 0]))
    assert seen == {80, 120}


def test_pictures_are_compressed_after_all_else_and_sound_is_made_noisy_last(monkeypatch: pytest.MonkeyPatch) -> None:
    order = list(strengths(make(**EVERY), monkeypatch))
    assert order[:5] == ["video.flip", "video.crop", "video.jitter_color", "video.blur", "video.add_noise"]
    assert order[5:7] == ["compression.jpeg", "compression.h264"]
    assert order[7:] == ["audio.stretch_time", "audio.shift_pitch", "audio.add_noise"]


def test_h264_runs_at_the_frame_rate_of_the_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    assert strengths(make(**EVERY), monkeypatch)["compression.h264"][1] == pytest.approx(8)


def test_all_frames_of_a_clip_are_changed_alike(clip: Clip) -> None:
    assert clip.frames is not None
    still = replace(clip, frames=np.repeat(clip.frames[:1], T, axis=0))
    config = make(**EVERY | {"noise": {"probability": 0}, "h264": {"probability": 0}})
    for seed in range(5):
        frames = augment_clip(still, config, np.random.default_rng(seed)).frames
        assert frames is not None
        assert (frames == frames[0]).all()


def test_the_input_is_not_touched_and_may_be_read_only(clip: Clip) -> None:
    assert clip.frames is not None
    assert clip.wave is not None
    assert clip.landmarks is not None
    before = digest(clip)
    clip.frames.flags.writeable = clip.wave.flags.writeable = clip.landmarks.flags.writeable = False
    changed = augment_clip(clip, make(**EVERY), np.random.default_rng(0))
    assert digest(clip) == before
    assert changed.frames is not None
    assert (changed.frames.shape, changed.frames.dtype) == (clip.frames.shape, np.uint8)
    assert (changed.times is clip.times, changed.boxes is clip.boxes, changed.track_id) == (True, True, 0)


@pytest.mark.parametrize("name", EVERY)
def test_each_change_alone_takes_read_only_views(clip: Clip, name: str) -> None:
    """Such as those that Ray hands out: a part of a larger array that must not be written."""
    assert clip.frames is not None
    assert clip.wave is not None
    pool, sounds = np.stack([clip.frames] * 2), np.stack([clip.wave] * 2)
    pool.flags.writeable = sounds.flags.writeable = False
    before = pool.tobytes() + sounds.tobytes()
    view, config = replace(clip, frames=pool[1], wave=sounds[1]), off(**{name: EVERY[name]})
    found, expected = (augment_clip(one, config, np.random.default_rng(3)) for one in (view, clip))
    assert pool.tobytes() + sounds.tobytes() == before
    assert digest(found) == digest(expected)


@pytest.mark.parametrize("name", EVERY)
def test_strided_frames_give_the_same_as_packed_ones(clip: Clip, name: str) -> None:
    assert clip.frames is not None
    mirrored = replace(clip, frames=clip.frames[::-1, :, ::-1])
    packed = replace(clip, frames=np.ascontiguousarray(clip.frames[::-1, :, ::-1]))
    config = off(**{name: EVERY[name]})
    found, expected = (augment_clip(one, config, np.random.default_rng(3)) for one in (mirrored, packed))
    assert digest(found) == digest(expected)


@pytest.mark.parametrize(("frames", "side", "samples"), [(1, 32, 250), (1, 33, 133), (5, 47, 16001), (8, 64, 1)])
def test_shapes_and_types_stay(frames: int, side: int, samples: int) -> None:
    clip = random_clip(frames, side, samples)
    changed = augment_clip(clip, make(**EVERY), np.random.default_rng(0))
    for part in PARTS:
        before, after = getattr(clip, part), getattr(changed, part)
        assert (after.shape, after.dtype) == (before.shape, before.dtype)
    assert changed.wave is not None
    assert np.isfinite(changed.wave).all()
    assert np.abs(changed.wave).max() <= 1


def test_a_missing_modality_stays_missing_and_does_not_alter_the_other(clip: Clip) -> None:
    silent, unseen = replace(clip, wave=None), replace(clip, frames=None, boxes=None, landmarks=None, track_id=None)
    config = make(**EVERY)
    whole, seen, heard = (augment_clip(one, config, np.random.default_rng(7)) for one in (clip, silent, unseen))
    assert seen.wave is None
    assert heard.frames is None
    np.testing.assert_array_equal(seen.frames, whole.frames)  # type: ignore[arg-type]
    np.testing.assert_array_equal(heard.wave, whole.wave)  # type: ignore[arg-type]


def test_a_change_is_a_probability_and_an_ordered_range() -> None:
    assert Change(probability=0.5, range=(1, 1)).range == (1, 1)
    with pytest.raises(ConfigError, match=r"jpeg\.range: .*must be \[low, high\] with low <= high"):
        make(jpeg=change(90, 60))


@pytest.mark.parametrize(
    ("name", "low", "high", "allowed"),
    [
        ("crop", 0.05, 1, r"0\.1\.\.1"),
        ("crop", 0.5, 1.1, r"0\.1\.\.1"),
        ("color_jitter", -0.1, 0.2, r"0\.\.0\.9"),
        ("color_jitter", 0, 0.95, r"0\.\.0\.9"),
        ("blur", -1, 1, r"0\.\.20"),
        ("blur", 0, 21, r"0\.\.20"),
        ("noise", -1, 5, r"0\.\.255"),
        ("noise", 0, 256, r"0\.\.255"),
        ("jpeg", 0, 50, r"1\.\.100"),
        ("jpeg", 50, 101, r"1\.\.100"),
        ("h264", -1, 20, r"0\.\.51"),
        ("h264", 20, 52, r"0\.\.51"),
        ("audio_noise", -0.1, 0.1, r"0\.\.1"),
        ("audio_noise", 0, 1.1, r"0\.\.1"),
        ("time_stretch", 0.4, 1, r"0\.5\.\.2"),
        ("time_stretch", 1, 2.1, r"0\.5\.\.2"),
        ("pitch_shift", -13, 0, r"-12\.\.12"),
        ("pitch_shift", 0, 13, r"-12\.\.12"),
    ],
)
def test_a_range_beyond_what_makes_sense_is_refused(name: str, low: float, high: float, allowed: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}.*range must lie within {allowed}"):
        make(**{name: change(low, high)})


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"jpeg": {"probability": 1.5}}, "probability"),
        ({"jpeg": {"probability": -0.1}}, "probability"),
        ({"jpeg": {"range": [50]}}, "range"),
        ({"noise": change(0, float("nan"))}, "range"),
        ({"noise": {"strength": 3}}, "strength"),
        ({"horizontal_flip": 2}, "horizontal_flip"),
    ],
)
def test_what_is_no_change_is_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        make(**settings)


@pytest.mark.parametrize(
    "edge",
    [
        {"crop": change(0.1, 0.1)},
        {"color_jitter": change(0.9, 0.9)},
        {"blur": change(0, 0)},
        {"blur": change(20, 20)},
        {"noise": change(255, 255)},
        {"jpeg": change(1, 1)},
        {"jpeg": change(100, 100)},
        {"h264": change(0, 0)},
        {"h264": change(51, 51)},
        {"audio_noise": change(1, 1)},
        {"time_stretch": change(0.5, 0.5)},
        {"time_stretch": change(2, 2)},
        {"pitch_shift": change(-12, -12)},
        {"pitch_shift": change(12, 12)},
    ],
    ids=str,
)
def test_the_strongest_changes_that_are_allowed_work(clip: Clip, edge: dict[str, Any]) -> None:
    changed = augment_clip(clip, off(**edge), np.random.default_rng(0))
    assert changed.frames is not None
    assert changed.wave is not None
    assert changed.frames.shape == (T, SIDE, SIDE, 3)
    assert np.isfinite(changed.wave).all()


def test_the_default_augmentation_leaves_a_clip_recognisable(clip: Clip) -> None:
    assert clip.frames is not None
    ramp = np.linspace(60, 180, SIDE).astype(np.uint8)
    smooth = replace(clip, frames=np.broadcast_to(ramp[:, None, None], clip.frames.shape).copy())
    assert smooth.frames is not None
    for seed in range(20):
        frames = augment_clip(smooth, make(), np.random.default_rng(seed)).frames
        assert frames is not None
        assert np.corrcoef(frames.ravel(), smooth.frames.ravel())[0, 1] > 0.9
