"""From clips to scores: the forward pass, in batches."""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aura_model.batch import to_batch
from aura_model.clips import Clip
from aura_model.config import Config
from aura_model.device import resolve_device
from aura_model.model_loading import LoadedModel
from aura_model.restoration import seen
from aura_model.scores import ClipScore

CPU_FRAMES = 16
"""Of one pass on a CPU. More are no faster there, and take memory: eight clips of eight frames four times as much."""
LOWEST_PRIORITY = 19
"""As `nice` counts."""


class Scorer:
    """A loaded model that scores clips, `inference.batch_clips` at a time; on a CPU a few of them, see `CPU_FRAMES`.

    On CUDA the network runs in bfloat16 where that is safe, elsewhere in float32. The score of a clip does not depend
    on the clips beside it.

    On a CPU, with several `passes`, the clips are shared out to as many forward passes side by side. On busy cores
    passes of one thread each (`torch.set_num_threads(1)`) are faster than one of many threads, which wait for each
    other in each layer. They give way to all else on the machine, such as the decoding of what they will score next.
    """

    def __init__(self, loaded: LoadedModel, device: str, passes: int = 1) -> None:
        self.loaded = loaded
        self.device = resolve_device(device)
        self.model = loaded.model.to(self.device)
        self.passes = passes if self.device == "cpu" else 1
        """Forward passes side by side."""
        self.pass_clips = _pass_clips(loaded.config, self.device)
        """Clips of one pass, at the most."""
        self._map = map if self.passes == 1 else _giving_way(self.passes).map

    def score(self, clips: Sequence[Clip]) -> list[ClipScore]:
        """One score a clip, in order.

        Raises:
            ValueError: a clip has neither frames nor sound, or see `to_batch`.
        """
        size = max(1, min(self.pass_clips, ceil(len(clips) / self.passes)))
        parts = [clips[start : start + size] for start in range(0, len(clips), size)]
        return [score for part in self._map(self._score, parts) for score in part]

    @torch.inference_mode()
    def _score(self, clips: Sequence[Clip]) -> list[ClipScore]:
        config = self.loaded.config
        given = [seen(clip, config.inference.restoration) for clip in clips]
        batch = to_batch(given, config).to(self.device)
        with torch.autocast(
            torch.device(self.device).type, dtype=torch.bfloat16, enabled=self.device.startswith("cuda")
        ):
            output = self.model.forward_full(
                batch.video, batch.audio, video_mask=batch.video_mask, audio_mask=batch.audio_mask
            )
        return [
            ClipScore(
                fake=fake,
                video=_alone(fake, video, audio),
                audio=_alone(fake, audio, video),
                heatmap=heatmap,
                restored=changed,
            )
            for fake, video, audio, heatmap, changed in zip(
                map(self._calibrated, log_odds(output.logits)),
                _known(output.video_logits, batch.video_mask),
                _known(output.audio_logits, batch.audio_mask),
                _heatmaps(output.heatmap, clips),
                (shown is not clip for shown, clip in zip(given, clips, strict=True)),
                strict=True,
            )
        ]

    def _calibrated(self, odds: float) -> float:
        calibration = self.loaded.calibration
        return odds if calibration is None else calibration.apply(odds)


def log_odds(logits: Tensor) -> list[float]:
    """Logits [B, 2] of real and fake to the log-odds of fake, one a sample."""
    values = logits.float()
    odds: list[float] = (values[:, 1] - values[:, 0]).tolist()
    return odds


def _pass_clips(config: Config, device: str) -> int:
    most, frames = config.inference.batch_clips, config.dataset.video.temporal_window
    return most if device != "cpu" else max(1, min(most, CPU_FRAMES // frames))


def _giving_way(threads: int) -> ThreadPoolExecutor:
    """A pool whose threads have the lowest priority. Only Linux gives threads priorities of their own."""
    lower: Callable[[], None] | None = _lower_priority if sys.platform == "linux" else None
    return ThreadPoolExecutor(threads, thread_name_prefix="pass", initializer=lower)


def _lower_priority() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)


def _known(logits: Tensor | None, mask: Tensor) -> list[float | None]:
    if logits is None:
        return [None] * len(mask)
    return [odds if known else None for odds, known in zip(log_odds(logits), mask.tolist(), strict=True)]


def _alone(fake: float, own: float | None, other: float | None) -> float | None:
    """By one modality: by all that there is where there is no other, so that the two never contradict each other."""
    return fake if own is not None and other is None else own


def _heatmaps(odds: Tensor | None, clips: Sequence[Clip]) -> list[npt.NDArray[np.float32] | None]:
    """Log-odds [B, T, h, w] to the probabilities of each clip's own frames; those that only fill the window go."""
    if odds is None:
        return [None] * len(clips)
    maps = odds.float().sigmoid().cpu().numpy()
    frames = [clip.frames for clip in clips]
    return [None if own is None else one[: len(own)].copy() for one, own in zip(maps, frames, strict=True)]
