import numpy as np
import pytest

from aura_model.augment.audio import add_noise, shift_pitch, stretch_time

RATE = 16000


def tone(frequency: float, seconds: float = 1.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def clicks(*places: float) -> np.ndarray:
    """One second, silent but for short bursts at these moments (s)."""
    wave = np.zeros(RATE, np.float32)
    for place in places:
        start = round(place * RATE)
        wave[start : start + 160] = tone(2000, 0.01)
    return wave


def pitch(wave: np.ndarray) -> float:
    """The strongest frequency in the middle half, Hz."""
    middle = wave[len(wave) // 4 : -len(wave) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 8 * len(middle)))
    return float(spectrum.argmax() * RATE / (8 * len(middle)))


def onsets(wave: np.ndarray) -> list[float]:
    """Where the energy peaks, seconds."""
    energy = np.convolve(wave.astype(float) ** 2, np.ones(320) / 320, "same")
    loud = np.flatnonzero(energy > 0.1 * energy.max())
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > 800) + 1)
    return [float((group * energy[group]).sum() / energy[group].sum()) / RATE for group in groups]


@pytest.mark.parametrize("deviation", [0.001, 0.1])
def test_noise_has_the_asked_for_deviation(deviation: float) -> None:
    noisy = add_noise(np.zeros(20_000, np.float32), deviation, np.random.default_rng(0))
    assert noisy.std() == pytest.approx(deviation, rel=0.05)
    assert noisy.dtype == np.float32


def test_noise_stays_in_range() -> None:
    assert np.abs(add_noise(np.ones(100, np.float32), 0.5, np.random.default_rng(0))).max() <= 1


@pytest.mark.parametrize("speed", [0.5, 0.8, 0.95, 1.05, 1.3, 2.0])
def test_another_speed_keeps_the_pitch(speed: float) -> None:
    assert pitch(stretch_time(tone(440), speed)[: round(RATE / max(1, speed))]) == pytest.approx(440, rel=0.005)


@pytest.mark.parametrize("speed", [0.8, 0.95, 1.05, 1.25])
def test_moments_move_with_the_speed(speed: float) -> None:
    found = onsets(stretch_time(clicks(0.2, 0.6), speed))
    assert found == pytest.approx([(place + 0.005) / speed for place in (0.2, 0.6)], abs=0.025)


def test_fast_sound_is_followed_by_silence_and_slow_sound_is_cut() -> None:
    fast, slow = stretch_time(tone(300), 1.25), stretch_time(tone(300), 0.8)
    assert not fast[round(RATE / 1.25) :].any()
    assert np.abs(fast[round(RATE / 1.25) - 200 :]).max() > 0.3
    assert np.abs(slow[-200:]).max() > 0.3


@pytest.mark.parametrize("semitones", [-12, -1, -0.3, 0.3, 1, 5, 12])
def test_pitch_moves_by_semitones(semitones: float) -> None:
    assert pitch(shift_pitch(tone(440), semitones)) == pytest.approx(440 * 2 ** (semitones / 12), rel=0.005)


@pytest.mark.parametrize("semitones", [-1, 1, 3])
def test_another_pitch_keeps_the_moments(semitones: float) -> None:
    assert onsets(shift_pitch(clicks(0.2, 0.6), semitones)) == pytest.approx([0.205, 0.605], abs=0.025)


@pytest.mark.parametrize("change", [lambda wave: stretch_time(wave, 0.9), lambda wave: shift_pitch(wave, -4)])
def test_loudness_stays_from_the_first_sample_to_the_last(change) -> None:
    found = change(tone(440))
    for part in np.array_split(found, 8):
        assert np.sqrt((part**2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.15)


@pytest.mark.parametrize("samples", [1, 133, 1000, 1024, 16000, 16001])
@pytest.mark.parametrize("change", [lambda wave: stretch_time(wave, 1), lambda wave: shift_pitch(wave, 0)])
def test_strength_zero_gives_the_wave_back(change, samples: int) -> None:
    wave = (0.3 * np.random.default_rng(0).standard_normal(samples)).clip(-1, 1).astype(np.float32)
    np.testing.assert_allclose(change(wave), wave, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 133, 1024, 16000])
@pytest.mark.parametrize(
    "change",
    [
        *(lambda wave, speed=speed: stretch_time(wave, speed) for speed in (0.5, 0.97, 2.0)),
        *(lambda wave, steps=steps: shift_pitch(wave, steps) for steps in (-12, 0.7, 12)),
    ],
)
def test_length_type_and_range_stay(change, samples: int) -> None:
    wave = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), samples)
    wave.flags.writeable = False
    found = change(wave)
    assert (found.shape, found.dtype) == (wave.shape, np.float32)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1


@pytest.mark.parametrize("change", [lambda wave: stretch_time(wave, 0.9), lambda wave: shift_pitch(wave, 1)])
def test_silence_stays_silent(change) -> None:
    assert not change(np.zeros(RATE, np.float32)).any()
