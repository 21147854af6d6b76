from dataclasses import replace

import numpy as np
import pytest

from aura_model.augment.copysynthesis import VOCODERS, VocoderSettings, copy_synthesis
from aura_model.config import SAMPLE_RATE


def speech(samples: int = 8000) -> np.ndarray:
    """A voice-like sound: harmonics that glide, louder and softer, and a little noise."""
    time = np.arange(samples) / SAMPLE_RATE
    pitch = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 3 * time)) / SAMPLE_RATE
    voice = sum(np.sin(k * pitch) / k for k in range(1, 15)) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time))
    return (0.1 * voice + 0.003 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


def spectrum(wave: np.ndarray) -> np.ndarray:
    """Magnitudes in 20 bands of 400 Hz."""
    return np.abs(np.fft.rfft(wave)).reshape(-1)[:4000].reshape(20, -1).mean(1)


def made(make_material, name: str, seed: int = 0, wave: np.ndarray | None = None):
    material = replace(make_material(frames=1), wave=speech() if wave is None else wave)
    return copy_synthesis(material, np.random.default_rng(seed), VocoderSettings(names=(name,)))


@pytest.mark.parametrize("name", VOCODERS)
def test_it_says_the_same_with_another_wave(name: str, make_material) -> None:
    forgery = made(make_material, name)
    assert forgery.audio
    assert forgery.label == 1
    assert not forgery.mismatch
    wave = speech()
    difference = np.sqrt(np.square(forgery.wave - wave).mean() / np.square(wave).mean())
    assert difference > 0.02
    np.testing.assert_allclose(spectrum(forgery.wave)[:5], spectrum(wave)[:5], rtol=0.5)


@pytest.mark.parametrize("name", VOCODERS)
def test_it_is_as_loud_as_before(name: str, make_material) -> None:
    power = np.square(made(make_material, name).wave).mean()
    assert power == pytest.approx(np.square(speech()).mean(), rel=0.05)


@pytest.mark.parametrize("name", VOCODERS)
def test_the_seed_and_nothing_else_decides(name: str, make_material) -> None:
    np.testing.assert_array_equal(made(make_material, name).wave, made(make_material, name).wave)


@pytest.mark.parametrize("wave", [np.zeros(8000, np.float32), speech(2000)], ids=["silence", "too short"])
def test_nothing_to_synthesise_is_left_and_real(wave: np.ndarray, make_material) -> None:
    forgery = made(make_material, "griffin_lim", wave=wave)
    assert forgery.wave is wave
    assert forgery.label == 0


@pytest.mark.parametrize("samples", [2048, 8001, 16000])
@pytest.mark.parametrize("seed", range(4))
def test_each_draw_keeps_the_length(samples: int, seed: int, make_material) -> None:
    material = replace(make_material(frames=1), wave=speech(samples))
    wave = copy_synthesis(material, np.random.default_rng(seed)).wave
    assert wave.shape == (samples,)
    assert np.isfinite(wave).all()
