"""From waveform to log-mel: the one function behind training, evaluation and serving."""

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

WINDOW = 400
"""Samples in one analysis window: 25 ms at 16 kHz."""
HOP = 160
"""Samples between windows: 10 ms at 16 kHz."""
FLOOR = 1e-6
"""Added to the mel energies before the logarithm."""


class LogMel(nn.Module):
    """Log-mel of each clip, with the clip's mean taken off and its spread scaled down to 1.

    The level of a recording says nothing about who made it, so each clip is standardised over all of its bands and
    windows. The divisor is at least 1: a silent wave gives zeros, and what is close to silent is not blown up.

    The bands follow Slaney's scale, as in Whisper (Radford et al., 2022): up to 128 of them, none is empty at this
    window. The wave is padded with zeros, so that any length above zero works.
    """

    def __init__(self, n_mels: int, sample_rate: int) -> None:
        super().__init__()
        self.mel = MelSpectrogram(
            sample_rate=sample_rate,
            n_fft=WINDOW,
            hop_length=HOP,
            n_mels=n_mels,
            mel_scale="slaney",
            pad_mode="constant",
        )

    def forward(self, wave: Tensor) -> Tensor:
        """Wave `[..., S]`, float32 in -1..1, to log-mel `[..., n_mels, M]` with `M = S // HOP + 1`."""
        energies: Tensor = self.mel(wave)
        log_mel = torch.log(energies + FLOOR)
        centred = log_mel - log_mel.mean(dim=(-2, -1), keepdim=True)
        spread = centred.square().mean(dim=(-2, -1), keepdim=True).sqrt()
        return centred / spread.clamp_min(1.0)
