"""The account of a pass over a split: clips, loss, waiting, and the videos that were skipped."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aura_model.errors import AuraError
from training.rows import Row

REMEDY = "lower training.learning_rate in a new run (training.start_from): a resumed one keeps its optimiser"
"""What to do where a run diverges."""


class TrainingError(AuraError):
    """The run cannot go on; `code` is no_clips, too_many_skipped, diverged or failed."""


@dataclass(frozen=True)
class Skip:
    """A video that gave no clip, and why."""

    video_id: str
    path: str
    split: str
    code: str
    detail: str

    @classmethod
    def of(cls, row: Row) -> "Skip":
        """The skip that an error row tells of."""
        return cls(*(str(row[name]) for name in ("video_id", "path", "split", "error", "detail")))


@dataclass
class Tally:
    """One worker's account of one pass over its part of a split."""

    clips: int = 0
    with_video: int = 0
    with_audio: int = 0
    skipped: int = 0
    loss_sum: float = 0.0
    """Over clips."""
    waited: float = 0.0
    """Seconds without anything to work on; the start of the stream is left out."""
    seconds: float = 0.0
    """The whole pass, likewise."""
    start_seconds: float = 0.0
    """How long the stream took to start, where it started in this pass."""
    memory: int = 0
    """Bytes that the worker holds at the end of the pass, see `private_bytes`."""

    def count(self, rows: Sequence[Row], skipped: int) -> None:
        """Add clips, given by their rows, and videos without any."""
        self.clips += len(rows)
        self.with_video += sum(bool(row["has_video"]) for row in rows)
        self.with_audio += sum(bool(row["has_audio"]) for row in rows)
        self.skipped += skipped

    @property
    def rates(self) -> dict[str, float]:
        """`clips_per_second` and `data_wait_share` so far."""
        seconds = max(self.seconds, 1e-9)
        return {"clips_per_second": self.clips / seconds, "data_wait_share": self.waited / seconds}


def joined(tallies: Sequence[Tally]) -> Tally:
    """What all workers did together; they work at the same time, so the longest pass counts for all."""
    return Tally(
        clips=sum(one.clips for one in tallies),
        with_video=sum(one.with_video for one in tallies),
        with_audio=sum(one.with_audio for one in tallies),
        skipped=sum(one.skipped for one in tallies),
        loss_sum=sum(one.loss_sum for one in tallies),
        waited=sum(one.waited for one in tallies) / len(tallies),
        seconds=max(one.seconds for one in tallies),
        start_seconds=max(one.start_seconds for one in tallies),
        memory=max(one.memory for one in tallies),
    )


def training_metrics(tally: Tally) -> dict[str, Any]:
    """The figures of one training epoch, of all workers.

    Raises:
        TrainingError: no clip was seen, or the loss is not a number.
    """
    if not tally.clips:
        raise TrainingError("no_clips", f"no training video could be used; {tally.skipped} were skipped")
    loss = tally.loss_sum / tally.clips
    if not math.isfinite(loss):
        raise TrainingError("diverged", f"the training loss is {loss}; {REMEDY}")
    return {
        "loss": loss,
        "clips": tally.clips,
        "clips_with_video": tally.with_video,
        "clips_with_audio": tally.with_audio,
        "skipped": tally.skipped,
        "start_seconds": tally.start_seconds,
        "memory": tally.memory,
        **tally.rates,
    }


def check_skipped(split: str, skipped: int, videos: int, share: float) -> None:
    """Raise `TrainingError` (too_many_skipped) where more than `share` of the `videos` of a split were skipped."""
    if skipped > share * videos:
        raise TrainingError(
            "too_many_skipped",
            f"{skipped} of {videos} videos of the split {split} could not be used, more than the share of {share:g} "
            "that dataset.max_skipped allows; they are listed in skipped.csv",
        )


def private_bytes() -> int:
    """The memory that this process holds for itself alone, without Ray's object store (Linux: /proc/self/statm)."""
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")
