"""How good the model is on the validation videos, whichever worker scored them."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aura_model.analysis import aggregate_tracks, probability
from aura_model.metrics import compute_metrics
from training.rows import Row
from training.worker.tally import REMEDY, TrainingError


@dataclass(frozen=True)
class ValidationScore:
    """One validation clip with its score."""

    video_id: str
    """With the variant, where it was made of the video."""
    track_id: int | None
    label: int
    logit: float
    """Log-odds of fake."""

    @classmethod
    def of(cls, row: Row, logit: float) -> "ValidationScore":
        """The clip of `row` with its score."""
        track_id = int(row["track_id"])
        return cls(f"{row['video_id']}{row['variant']}", track_id if track_id >= 0 else None, int(row["label"]), logit)


def validation_metrics(scored: Sequence[ValidationScore]) -> dict[str, Any]:
    """`val`: every figure over videos, `val_auc`: the AUC among them, `clip`: every figure over clips.

    Raises:
        TrainingError: a score is not a number.
    """
    if not all(math.isfinite(clip.logit) for clip in scored):
        raise TrainingError("diverged", f"a validation score is not a number; {REMEDY}")
    figures = compute_metrics(*video_scores(scored))
    by_clip = compute_metrics([clip.label for clip in scored], [probability(clip.logit) for clip in scored])
    return {"val_auc": figures["auc"], "val": figures, "clip": by_clip}


def video_scores(scored: Sequence[ValidationScore]) -> tuple[list[int], list[float]]:
    """Labels and fake probabilities by video, in order of video_id, joined over clips as `analyse` does it."""
    videos: dict[str, list[ValidationScore]] = defaultdict(list)
    for clip in scored:
        videos[clip.video_id].append(clip)
    ordered = [videos[video_id] for video_id in sorted(videos)]
    logits = [aggregate_tracks([one.track_id for one in video], [one.logit for one in video]) for video in ordered]
    return [video[0].label for video in ordered], [probability(logit) for logit in logits]
