"""From clips to the tensors a model takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aura_model.audio import LogMel
from aura_model.clips import Clip
from aura_model.config import Config


@dataclass(frozen=True, eq=False)
class Batch:
    """`B` clips as tensors. A row whose modality is missing holds zeros and is False in the mask."""

    video: Tensor | None
    """uint8 [B, T, 3, H, W] RGB; None where no clip has frames."""
    audio: Tensor | None
    """float32 [B, n_mels, M] log-mel; None where no clip has sound."""
    video_mask: Tensor
    """bool [B]"""
    audio_mask: Tensor
    """bool [B]"""

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on `device`."""
        return Batch(
            video=None if self.video is None else self.video.to(device, non_blocking=True),
            audio=None if self.audio is None else self.audio.to(device, non_blocking=True),
            video_mask=self.video_mask.to(device),
            audio_mask=self.audio_mask.to(device),
        )


def to_batch(clips: Sequence[Clip], config: Config) -> Batch:
    """Stack clips; the log-mel is computed here, from the wave.

    A clip with fewer than `temporal_window` frames repeats its last one; a wave is cut, or padded with silence, to
    the span of a clip. With `dataset.audio.enabled` off, sound is left out.

    Raises:
        ValueError: no clips, crops of different sizes, or a clip with more frames than the temporal window.
    """
    if not clips:
        raise ValueError("a batch needs at least one clip")
    waves = [clip.wave if config.dataset.audio.enabled else None for clip in clips]
    return Batch(
        video=_video([clip.frames for clip in clips], config.dataset.video.temporal_window),
        audio=_audio(waves, config),
        video_mask=torch.tensor([clip.frames is not None for clip in clips]),
        audio_mask=torch.tensor([wave is not None for wave in waves]),
    )


def _video(rows: Sequence[npt.NDArray[np.uint8] | None], window: int) -> Tensor | None:
    present = [frames for frames in rows if frames is not None]
    if not present:
        return None
    sizes = {frames.shape[1:] for frames in present}
    if len(sizes) > 1:
        raise ValueError(f"the crops of one batch must be of one size, got {sorted(sizes)}")
    stacked = np.zeros((len(rows), window, *sizes.pop()), dtype=np.uint8)
    for row, frames in zip(stacked, rows, strict=True):
        if frames is not None:
            row[:] = _fit_frames(frames, window)
    return torch.from_numpy(stacked).permute(0, 1, 4, 2, 3)


def _fit_frames(frames: npt.NDArray[np.uint8], window: int) -> npt.NDArray[np.uint8]:
    if not 1 <= len(frames) <= window:
        raise ValueError(f"a clip holds 1 to {window} frames (dataset.video.temporal_window), got {len(frames)}")
    return frames[np.minimum(np.arange(window), len(frames) - 1)]


def _audio(rows: Sequence[npt.NDArray[np.float32] | None], config: Config) -> Tensor | None:
    present = [index for index, wave in enumerate(rows) if wave is not None]
    if not present:
        return None
    settings = config.model.audio
    samples = config.dataset.video.clip_samples
    waves = torch.from_numpy(np.stack([_fit_wave(wave, samples) for wave in rows if wave is not None]))
    mel = _log_mel(settings.n_mels, settings.sample_rate)(waves)
    stacked: Tensor = mel.new_zeros((len(rows), *mel.shape[1:]))
    stacked[present] = mel
    return stacked


def _fit_wave(wave: npt.NDArray[np.float32], samples: int) -> npt.NDArray[np.float32]:
    return np.pad(wave[:samples], (0, max(0, samples - len(wave)))).astype(np.float32, copy=False)


@cache
def _log_mel(n_mels: int, sample_rate: int) -> LogMel:
    return LogMel(n_mels, sample_rate)
