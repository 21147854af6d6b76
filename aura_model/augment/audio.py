"""Sound augmentation of a mono wave `[S]`, float32 in -1..1; what comes back has the same shape and range."""

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

WINDOW = 1024
"""Samples in one analysis window: 64 ms at 16 kHz, which tells the harmonics of a low voice apart."""
HOP = WINDOW // 4
"""Samples between windows."""


def add_noise(wave: Wave, deviation: float, rng: np.random.Generator) -> Wave:
    """Add white noise of standard `deviation` (full scale 1)."""
    return _bounded(wave + rng.standard_normal(wave.shape, dtype=np.float32) * np.float32(deviation))


def stretch_time(wave: Wave, speed: float) -> Wave:
    """Play `[S]` `speed` times as fast at the same pitch; what is over is cut off, what is missing is silence."""
    stretched = _vocode(wave, speed)[: len(wave)]
    return _bounded(np.pad(stretched, (0, len(wave) - len(stretched))))


def shift_pitch(wave: Wave, semitones: float) -> Wave:
    """Raise the pitch of `[S]` by `semitones` (lower it where negative) at the same speed.

    The wave is made longer at its old pitch, then resampled to its old length (by Fourier's method).
    """
    longer = _vocode(wave, 2 ** (-semitones / 12))
    return _bounded(np.fft.irfft(np.fft.rfft(longer), len(wave)) * (len(wave) / len(longer)))


def _vocode(wave: Wave, speed: float) -> Floats:
    """The phase vocoder (Flanagan and Golden, 1966; Laroche and Dolson, 1999): `[S]` to `[S / speed]`, rounded.

    Magnitudes are interpolated between the input's windows. The phase of each band goes on from the output's window
    before at the pace that it had in the input.
    """
    spectrum = _analyse(wave)
    positions = np.arange(0, len(spectrum) - 1, speed)
    before = positions.astype(np.intp)
    share = (positions - before)[:, None]
    magnitude, phase = np.abs(spectrum), np.angle(spectrum)
    usual = 2 * np.pi * HOP / WINDOW * np.arange(spectrum.shape[1])
    excess = phase[before + 1] - phase[before] - usual
    advance = usual + excess - 2 * np.pi * np.rint(excess / (2 * np.pi))
    phases = np.cumsum(np.vstack([phase[:1], advance[:-1]]), axis=0)
    mixed = (1 - share) * magnitude[before] + share * magnitude[before + 1]
    return _synthesise(mixed * np.exp(1j * phases))[: max(1, round(len(wave) / speed))]


def _analyse(wave: Wave) -> npt.NDArray[np.complex128]:
    """Spectra of windows about samples 0, HOP, 2 HOP … and beyond the end: `[S // HOP + 3, WINDOW // 2 + 1]`."""
    padded = np.pad(wave.astype(np.float64), (WINDOW // 2, WINDOW))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    return np.fft.rfft(windows * _hann())


def _synthesise(spectrum: npt.NDArray[np.complex128]) -> Floats:
    """The wave whose windows have these spectra, by overlapping and adding."""
    sound = _overlap(np.fft.irfft(spectrum, WINDOW) * _hann())
    weight = _overlap(np.broadcast_to(_hann() ** 2, (len(spectrum), WINDOW)))
    return (sound / np.maximum(weight, 1e-6))[WINDOW // 2 :]


def _overlap(windows: Floats) -> Floats:
    count, parts = len(windows), WINDOW // HOP
    total = np.zeros((count + parts - 1, HOP))
    for part, values in enumerate(windows.reshape(count, parts, HOP).swapaxes(0, 1)):
        total[part : part + count] += values
    return total.ravel()


def _hann() -> Floats:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


def _bounded(wave: npt.NDArray[np.floating]) -> Wave:
    return np.asarray(np.clip(wave, -1, 1), dtype=np.float32)
