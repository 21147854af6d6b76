from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from aura_model.audio import LogMel
from aura_model.batch import to_batch
from aura_model.clips import Clip
from aura_model.config import Config

MakeClip = Callable[..., Clip]
MakeConfig = Callable[..., Config]


def test_a_batch_of_whole_clips(tiny_config: MakeConfig, make_clip: MakeClip) -> None:
    clips = [make_clip(seed) for seed in range(2)]
    batch = to_batch(clips, tiny_config())
    assert batch.video is not None
    assert batch.audio is not None
    assert (batch.video.shape, batch.video.dtype) == ((2, 3, 3, 64, 64), torch.uint8)
    assert (batch.audio.shape, batch.audio.dtype) == ((2, 32, 6000 // 160 + 1), torch.float32)
    assert batch.video_mask.tolist() == batch.audio_mask.tolist() == [True, True]


def test_pixels_keep_their_place(tiny_config: MakeConfig, make_clip: MakeClip) -> None:
    clips = [make_clip(seed) for seed in range(2)]
    video = to_batch(clips, tiny_config()).video
    assert video is not None
    assert clips[1].frames is not None
    assert np.array_equal(video[1, 2].permute(1, 2, 0).numpy(), clips[1].frames[2])


def test_the_log_mel_is_that_of_the_wave(tiny_config: MakeConfig, make_clip: MakeClip) -> None:
    clip = make_clip(0)
    audio = to_batch([clip], tiny_config()).audio
    assert audio is not None
    assert torch.allclose(audio[0], LogMel(32, 16000)(torch.from_numpy(clip.wave)), atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "video_mask", "audio_mask"),
    [
        ([(True, True), (True, False), (False, True)], [True, True, False], [True, False, True]),
        ([(False, True), (True, False)], [False, True], [True, False]),
    ],
)
def test_a_missing_modality_is_masked_and_zero(
    rows: list[tuple[bool, bool]],
    video_mask: list[bool],
    audio_mask: list[bool],
    tiny_config: MakeConfig,
    make_clip: MakeClip,
) -> None:
    batch = to_batch([make_clip(i, video=v, audio=a) for i, (v, a) in enumerate(rows)], tiny_config())
    assert batch.video_mask.tolist() == video_mask
    assert batch.audio_mask.tolist() == audio_mask
    for values, mask in ((batch.video, batch.video_mask), (batch.audio, batch.audio_mask)):
        assert values is not None
        assert bool((values[~mask] == 0).all())
        assert bool(values[mask].flatten(1).any(dim=1).all())


def test_a_modality_that_no_clip_has_is_none(tiny_config: MakeConfig, make_clip: MakeClip) -> None:
    pictures = to_batch([make_clip(0, audio=False)] * 2, tiny_config())
    assert pictures.audio is None
    assert pictures.audio_mask.tolist() == [False, False]
    sound = to_batch([make_clip(0, video=False)] * 2, tiny_config())
    assert sound.video is None
    assert sound.video_mask.tolist() == [False, False]


def test_sound_is_left_out_where_it_is_switched_off(tiny_config: MakeConfig, make_clip: MakeClip) -> None:
    batch = to_batch([make_clip(0)], tiny_config("dataset.audio.enabled=false"))
    assert batch.audio is None
    assert batch.audio_mask.tolist() == [False]


def test_a_short_clip_repeats_its_last_frame(tiny_config: MakeConfig, make_clip: MakeClip) -> None:
    video = to_batch([make_clip(0, frames=2, audio=False), make_clip(1, audio=False)], tiny_config()).video
    assert video is not None
    assert torch.equal(video[0, 2], video[0, 1])
    assert not torch.equal(video[0, 1], video[0, 0])


@pytest.mark.parametrize("samples", [1, 100, 5999, 6000, 6001, 20000])
def test_a_wave_of_any_length_fits(samples: int, tiny_config: MakeConfig, make_clip: MakeClip) -> None:
    whole = np.random.default_rng(0).standard_normal(20000).astype(np.float32)
    audio = to_batch([replace(make_clip(0), wave=whole[:samples])], tiny_config()).audio
    padded = np.zeros(6000, dtype=np.float32)
    padded[: min(samples, 6000)] = whole[: min(samples, 6000)]
    assert audio is not None
    assert torch.allclose(audio[0], LogMel(32, 16000)(torch.from_numpy(padded)), atol=1e-5)


def test_clips_are_not_changed(tiny_config: MakeConfig, make_clip: MakeClip) -> None:
    clip, same = make_clip(0), make_clip(0)
    batch = to_batch([clip], tiny_config())
    assert batch.video is not None
    batch.video.zero_()
    assert clip.frames is not None
    assert same.frames is not None
    assert np.array_equal(clip.frames, same.frames)


def test_moving_keeps_what_is_none(tiny_config: MakeConfig, make_clip: MakeClip) -> None:
    moved = to_batch([make_clip(0, audio=False)], tiny_config()).to("meta")
    assert moved.video is not None
    assert moved.video.device.type == moved.video_mask.device.type == moved.audio_mask.device.type == "meta"
    assert moved.audio is None


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([], "at least one clip"),
        ([{"seed": 0}, {"seed": 1, "size": 32}], "of one size"),
        ([{"seed": 0, "frames": 4}], "1 to 3 frames"),
        ([{"seed": 0, "frames": 0}], "1 to 3 frames"),
    ],
)
def test_what_cannot_be_stacked_is_refused(
    clips: list[dict[str, int]], message: str, tiny_config: MakeConfig, make_clip: MakeClip
) -> None:
    with pytest.raises(ValueError, match=message):
        to_batch([make_clip(**settings) for settings in clips], tiny_config())
