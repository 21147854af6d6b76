"""The account of an epoch: steps, clips, loss, waiting, and the videos that were skipped."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from aura_model.errors import AuraError
from training.rows import Row


class TrainingError(AuraError):
    """The run cannot go on; `code` is no_clips, diverged or failed."""


@dataclass(frozen=True)
class Skip:
    """A video that gave no clip, and why."""

    video_id: str
    path: str
    code: str
    detail: str

    @classmethod
    def of(cls, row: Row) -> "Skip":
        """The skip that an error row tells of."""
        return cls(str(row["video_id"]), str(row["path"]), str(row["error"]), str(row["detail"]))


@dataclass
class Tally:
    """One worker's account of one pass over its part of the data."""

    steps: int = 0
    clips: int = 0
    loss_sum: float = 0.0
    """Over clips."""
    waited: float = 0.0
    """Seconds without a batch to work on."""
    seconds: float = 0.0
    """The whole pass."""
    skipped: list[Skip] = field(default_factory=list)


def training_metrics(tallies: Sequence[Tally]) -> dict[str, Any]:
    """What all workers did in one training epoch.

    Raises:
        TrainingError: no step was taken, or the loss is not a number.
    """
    clips, steps, skipped = sum(tally.clips for tally in tallies), tallies[0].steps, all_skips(tallies)
    if not steps:
        causes = ", ".join(sorted({skip.code for skip in skipped}))
        raise TrainingError("no_clips", f"no training video could be used; {len(skipped)} were skipped ({causes})")
    loss = sum(tally.loss_sum for tally in tallies) / clips
    if not math.isfinite(loss):
        raise TrainingError("diverged", f"the training loss is {loss}; lower training.learning_rate")
    return {
        "loss": loss,
        "steps": steps,
        "clips": clips,
        "clips_per_second": clips / max(tally.seconds for tally in tallies),
        "data_wait_share": sum(tally.waited for tally in tallies) / sum(tally.seconds for tally in tallies),
        "skipped": [asdict(skip) for skip in skipped],
    }


def all_skips(tallies: Iterable[Tally]) -> list[Skip]:
    """Each skipped video once, by video_id."""
    skips = {skip.video_id: skip for tally in tallies for skip in tally.skipped}
    return [skips[video_id] for video_id in sorted(skips)]
