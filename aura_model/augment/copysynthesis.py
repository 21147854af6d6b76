"""Speech taken apart and put together again by a vocoder: synthetic sound that says what the genuine one says.

Copy-synthesis (Wang and Yamagishi, 2023) gives a detector the traces of synthesis without any synthetic speech: phases
that were guessed, detail that a mel spectrogram does not hold, pulses that are too regular.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
import torchaudio
from torch import Tensor

from aura_model.augment.audio import Wave
from aura_model.augment.forgery import Forgery, Material
from aura_model.config import SAMPLE_RATE

_LEAST_SAMPLES = 2048
_FLOOR = 1e-5
_SAMPLES_PER_MEL = 8
"""A shorter window would leave the lowest mel filters without a frequency of their own."""


@dataclass(frozen=True)
class VocoderSettings:
    """From what a vocoder is drawn."""

    names: tuple[str, ...] = ("griffin_lim", "mel_griffin_lim", "mel_phase", "noise_phase")
    windows: tuple[int, ...] = (512, 800, 1024)
    """Samples in one window; a quarter of it lies between two."""
    mels: tuple[int, ...] = (64, 80, 128)
    iterations: tuple[int, int] = (8, 33)
    """Of Griffin-Lim, from (included) to (excluded)."""


@dataclass(frozen=True)
class Drawn:
    """One drawn vocoder's numbers; each vocoder uses those that it has."""

    window: int
    mels: int
    iterations: int
    seed: int


def copy_synthesis(
    material: Material, rng: np.random.Generator, settings: VocoderSettings = VocoderSettings()
) -> Forgery:
    """Draw a vocoder and put the speech through it, at its own loudness. Silence, or too short a wave, is left."""
    vocoder = VOCODERS[str(rng.choice(settings.names))]
    window = int(rng.choice(settings.windows))
    drawn = Drawn(
        window=window,
        mels=min(int(rng.choice(settings.mels)), window // _SAMPLES_PER_MEL),
        iterations=int(rng.integers(*settings.iterations)),
        seed=int(rng.integers(2**31)),
    )
    wave = material.wave
    if wave is None or len(wave) < _LEAST_SAMPLES or not wave.any():
        return Forgery.of_audio("copy_synthesis", material, wave)
    with torch.inference_mode():
        made = vocoder(torch.from_numpy(wave.copy()), drawn).numpy()
    return Forgery.of_audio("copy_synthesis", material, _as_loud(made, wave))


def griffin_lim(wave: Tensor, drawn: Drawn) -> Tensor:
    """Phases guessed from magnitudes (Griffin and Lim, 1984; fast: Perraudin et al., 2013)."""
    return _guess_phases(_spectrum(wave, drawn.window).abs(), drawn, len(wave))


def mel_griffin_lim(wave: Tensor, drawn: Drawn) -> Tensor:
    """The same from a mel spectrogram, as of most speech synthesis."""
    return _guess_phases(_through_mel(_spectrum(wave, drawn.window).abs(), drawn.mels), drawn, len(wave))


def mel_phase(wave: Tensor, drawn: Drawn) -> Tensor:
    """Magnitudes by way of a mel spectrogram on the wave's own phases: a very good vocoder."""
    spectrum = _spectrum(wave, drawn.window)
    return _wave(torch.polar(_through_mel(spectrum.abs(), drawn.mels), spectrum.angle()), drawn.window, len(wave))


def noise_phase(wave: Tensor, drawn: Drawn) -> Tensor:
    """Phases blurred by noise that grows with frequency: breathy upper bands, as of source-filter vocoders."""
    spectrum = _spectrum(wave, drawn.window)
    noise = torch.randn(spectrum.shape, generator=torch.Generator().manual_seed(drawn.seed))
    rise = torch.linspace(0.1, 2.0, len(spectrum))[:, None]
    return _wave(torch.polar(spectrum.abs(), spectrum.angle() + noise * rise), drawn.window, len(wave))


VOCODERS: Mapping[str, Callable[[Tensor, Drawn], Tensor]] = MappingProxyType(
    {"griffin_lim": griffin_lim, "mel_griffin_lim": mel_griffin_lim, "mel_phase": mel_phase, "noise_phase": noise_phase}
)


def _spectrum(wave: Tensor, window: int) -> Tensor:
    """[window / 2 + 1, M] complex."""
    return torch.stft(wave, window, window // 4, window=torch.hann_window(window), return_complex=True)


def _wave(spectrum: Tensor, window: int, samples: int) -> Tensor:
    return torch.istft(spectrum, window, window // 4, window=torch.hann_window(window), length=samples)


def _guess_phases(magnitudes: Tensor, drawn: Drawn, samples: int) -> Tensor:
    guess = torchaudio.transforms.GriffinLim(
        drawn.window, drawn.iterations, hop_length=drawn.window // 4, power=1.0, length=samples, rand_init=False
    )
    return torch.as_tensor(guess(magnitudes))


def _through_mel(magnitudes: Tensor, mels: int) -> Tensor:
    """Magnitudes `[F, M]` to a mel spectrogram and back by the pseudo-inverse of its filters, floored at 0."""
    filters = torchaudio.functional.melscale_fbanks(len(magnitudes), 0.0, SAMPLE_RATE / 2, mels, SAMPLE_RATE)
    return torch.as_tensor(torch.linalg.pinv(filters).T @ (filters.T @ magnitudes)).clamp_min(_FLOOR)


def _as_loud(made: Wave, wave: Wave) -> Wave:
    """`made` at the power of `wave`, so that loudness gives nothing away."""
    gain = float(np.sqrt(np.square(wave).mean() / max(float(np.square(made).mean()), 1e-12)))
    return np.asarray(np.clip(made * np.float32(gain), -1, 1), dtype=np.float32)
