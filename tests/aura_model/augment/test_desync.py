from dataclasses import replace

import numpy as np
import pytest

from aura_model.augment.desync import DesyncSettings, desync
from aura_model.config import SAMPLE_RATE


def offset_of(material, forgery) -> float:
    """Seconds by which the sound is late, from the correlation's peak."""
    spectra = np.fft.rfft(forgery.wave) * np.conj(np.fft.rfft(material.wave))
    shift = int(np.argmax(np.fft.irfft(spectra, len(material.wave))))
    return (shift if shift <= len(material.wave) // 2 else shift - len(material.wave)) / SAMPLE_RATE


def noisy(make_material, seconds: float):
    wave = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE))
    return replace(make_material(frames=1), wave=wave.astype(np.float32))


@pytest.mark.parametrize("seed", range(8))
def test_the_sound_is_late_or_early_by_what_was_drawn(seed: int, make_material) -> None:
    material = noisy(make_material, 3.0)
    forgery = desync(material, np.random.default_rng(seed), DesyncSettings(seconds=(0.3, 0.5)))
    assert 0.3 <= abs(offset_of(material, forgery)) <= 0.5
    assert forgery.wave.shape == material.wave.shape


def test_it_is_a_mismatch_and_no_fake(make_material) -> None:
    forgery = desync(noisy(make_material, 1.0), np.random.default_rng(0))
    assert (forgery.mismatch, forgery.audio, forgery.video, forgery.label) == (True, False, False, 0)


def test_late_and_early_both_happen(make_material) -> None:
    material = noisy(make_material, 2.0)
    offsets = [offset_of(material, desync(material, np.random.default_rng(seed))) for seed in range(10)]
    assert min(offsets) < 0 < max(offsets)


def test_an_offset_is_at_most_half_of_the_sound(make_material) -> None:
    material = noisy(make_material, 0.5)
    for seed in range(5):
        assert 0.2 <= abs(offset_of(material, desync(material, np.random.default_rng(seed)))) <= 0.25


@pytest.mark.parametrize("seconds", [0.1, 0.39])
def test_a_sound_that_is_too_short_is_left(seconds: float, make_material) -> None:
    material = noisy(make_material, seconds)
    forgery = desync(material, np.random.default_rng(0))
    assert forgery.wave is material.wave
    assert not forgery.mismatch


def test_where_the_ends_meet_there_is_no_click(make_material) -> None:
    """A slow rise from -0.5 to 0.5 falls back over the fade and not from one sample to the next."""
    ramp = np.linspace(-0.5, 0.5, 2 * SAMPLE_RATE, dtype=np.float32)
    forgery = desync(replace(make_material(frames=1), wave=ramp), np.random.default_rng(0))
    assert np.abs(np.diff(forgery.wave)).max() < 0.01
