import math

import pytest
import torch
from torch import Tensor

from aura_model.audio import HOP, LogMel


def tone(hertz: float, samples: int = 16000) -> Tensor:
    return 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(samples) / 16000)


def noise(*shape: int, level: float = 0.1) -> Tensor:
    return level * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((16000,), (64, 101)),
        ((1,), (64, 1)),
        ((133,), (64, 1)),
        ((159,), (64, 1)),
        ((160,), (64, 2)),
        ((4, 2000), (64, 13)),
        ((2, 3, 8000), (64, 51)),
    ],
)
def test_ten_milliseconds_a_window(shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    mel = LogMel(64, 16000)(noise(*shape))
    assert mel.shape == (*shape[:-1], *expected)
    assert mel.shape[-1] == shape[-1] // HOP + 1
    assert mel.dtype == torch.float32


@pytest.mark.parametrize("n_mels", [16, 40, 64, 80, 128])
def test_no_band_is_empty(n_mels: int) -> None:
    # torchaudio warns of empty bands, and warnings are errors here
    mel = LogMel(n_mels, 16000)
    assert bool((mel.mel.mel_scale.fb.sum(dim=0) > 0).all())


def test_silence_gives_zeros() -> None:
    mel = LogMel(64, 16000)(torch.zeros(2, 16000))
    assert torch.isfinite(mel).all()
    assert mel.abs().max() < 1e-4


def test_what_is_almost_silent_is_not_blown_up() -> None:
    assert LogMel(64, 16000)(noise(16000, level=1e-5)).std() < 0.1


@pytest.mark.parametrize("wave", [noise(16000), tone(440), noise(16000, level=0.01) + tone(2000)])
def test_each_clip_has_mean_zero_and_no_more_than_unit_spread(wave: Tensor) -> None:
    mel = LogMel(64, 16000)(wave)
    assert abs(float(mel.mean())) < 1e-4
    assert float(mel.std()) < 1.001


def test_the_level_of_a_recording_does_not_count() -> None:
    logmel = LogMel(64, 16000)
    wave = noise(16000, level=0.5) * torch.linspace(0.2, 1, 16000)
    assert torch.allclose(logmel(wave), logmel(0.25 * wave), atol=0.02)


def test_a_higher_tone_lies_in_a_higher_band() -> None:
    logmel = LogMel(64, 16000)
    bands = [int(logmel(tone(hertz)).mean(dim=1).argmax()) for hertz in (150, 400, 1000, 3000, 7000)]
    assert bands == sorted(set(bands))


def test_a_sound_lies_at_its_time() -> None:
    wave = torch.zeros(16000)
    wave[8000:8400] = tone(1000, 400) * torch.hann_window(400)
    assert abs(int(LogMel(64, 16000)(wave).amax(dim=0).argmax()) - 8200 / HOP) <= 1


def test_a_clip_does_not_depend_on_its_neighbours_and_comes_out_the_same_twice() -> None:
    logmel, waves = LogMel(64, 16000), noise(5, 16000)
    together = logmel(waves)
    assert torch.equal(together, logmel(waves))
    assert torch.allclose(together, torch.stack([logmel(wave) for wave in waves]), atol=1e-5)


def test_it_holds_nothing_that_a_checkpoint_would_store() -> None:
    assert not list(LogMel(64, 16000).parameters())
