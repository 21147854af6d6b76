"""Videos to scores on Ray Data: clips from an actor pool, scored by another pool that holds the model."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import ray
import torch
from ray.data import Dataset
from ray.exceptions import RayError

from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.errors import AuraError
from aura_model.logging import setup_logging
from aura_model.predictor import load_scorer
from aura_model.scores import ClipScore
from aura_model.settings import parse_config
from training.data.manifest import Sample
from training.dataset import clip_dataset
from training.prediction.model_facts import ModelFacts
from training.prediction.plan import ScorerPlan, ScoringPlan, plan_scoring
from training.ray_data import actor_pool, configure, failure
from training.rows import Columns, Row, clip_from_row, rows_to_clips, to_rows

THUMBNAIL_SIDE = 96
SCORING_BLOCK_BYTES = 16 * 1024**2
"""Clips are handed to the scorers in blocks of at most about this size."""
SCORING_FAILED = "scoring_failed"
"""`error` of a video with a clip that the model cannot score."""
KEPT = (
    "video_id",
    "path",
    "slot",
    "clip",
    "has_video",
    "has_audio",
    "times",
    "seconds",
    "boxes",
    "landmarks",
    "track_id",
    "media",
    "notes",
    "error",
    "detail",
)
"""The columns of a clip's row that go with its score; pixels and sound stay behind."""


class ScoringError(AuraError):
    """The run failed, and not because of a video."""


@dataclass(frozen=True, eq=False)
class ScoredClip:
    """One clip and what the model says of it."""

    clip: Clip
    """Without pixels and sound."""
    score: ClipScore
    thumbnail: bytes
    """JPEG of the middle crop, 96 pixels a side; empty without a face."""

    @property
    def start(self) -> float:
        """Seconds from the start of the media."""
        return float(self.clip.times[0])

    @property
    def end(self) -> float:
        """Seconds from the start of the media."""
        return self.start + self.clip.seconds

    @property
    def track_id(self) -> int | None:
        """The face; None where only the sound was judged."""
        return self.clip.track_id


@dataclass(frozen=True, eq=False)
class ScoredVideo:
    """What became of one sample."""

    sample: Sample
    clips: Clips | None
    """Without pixels and sound; None where the file could not be decoded."""
    scored: tuple[ScoredClip, ...]
    """One for each of `clips`, in their order; empty where `error` is set."""
    error: str
    """Why there are no scores: a code of `MEDIA_ERRORS`, unreadable_file, no_clips or scoring_failed; else empty."""
    detail: str
    seconds: float
    """The time that the model took."""

    @property
    def scores(self) -> tuple[ClipScore, ...]:
        """The score of each clip."""
        return tuple(clip.score for clip in self.scored)


class ScoresClips(Protocol):
    """What `ClipScorer` needs of an `aura_model.scoring.Scorer`."""

    def score(self, clips: Sequence[Clip]) -> Sequence[ClipScore]:
        """See `aura_model.scoring.Scorer.score`."""
        ...


class ClipScorer:
    """An actor of the scoring pool: clip rows to rows without pixels and sound, but with scores.

    The further columns are fake, video and audio (log-odds; not a number where unknown), restored, score_seconds and
    thumbnail.
    A clip that the model refuses gives a row with `error` set; a broken device makes it raise.
    """

    def __init__(self, config: Mapping[str, Any], load: Callable[[Config], ScoresClips] = load_scorer) -> None:
        """Load the model that `config.inference` names; `config` is the plain tree of `Config.plain()`."""
        parsed = parse_config(config)
        setup_logging(parsed.logging)
        torch.set_num_threads(1)  # an actor has one CPU; there is an actor for each CPU that scores
        self._model = load(parsed)

    def __call__(self, batch: Columns) -> Columns:
        """Score the rows of one batch, in order."""
        rows = to_rows(batch)
        began = time.perf_counter()
        results = iter(score_each(self._model, [clip_from_row(row) for row in rows if not row["error"]]))
        seconds = (time.perf_counter() - began) / len(rows)
        return _columns([_scored_row(row, None if row["error"] else next(results), seconds) for row in rows])


def score_each(model: ScoresClips, clips: Sequence[Clip]) -> list[ClipScore | ValueError]:
    """Score the clips in one go; where one of them makes the model raise ValueError, one by one."""
    try:
        return [_known(score) for score in model.score(clips)]
    except ValueError as error:
        return [error] if len(clips) == 1 else [result for clip in clips for result in score_each(model, [clip])]


def score_samples(samples: Sequence[Sample], model: ModelFacts, extractors: int | None = None) -> Iterator[ScoredVideo]:
    """Score `samples` on the running Ray cluster; yields one result a sample, in their order, as they come.

    Args:
        samples: in any split; the label is not looked at.
        model: in its configuration `inference` names model and device, `dataset.preprocessing` where clips come from.
        extractors: how many actors cut clips out; None leaves that to the plan.

    Raises:
        PlanError: the cluster cannot hold the run.
        ScoringError: an actor failed.
    """
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    plan = plan_scoring(resources, model.config.inference.device, extractors)
    return group_videos(samples, _rows(samples, model.config, plan))


def group_videos(samples: Sequence[Sample], rows: Iterator[Row]) -> Iterator[ScoredVideo]:
    """Gather the rows of each video, which follow each other in the order of `samples`.

    Raises:
        RuntimeError: the rows are in another order, or a sample has none.
    """
    groups = groupby(rows, key=itemgetter("slot"))
    for slot, sample in enumerate(samples):
        found, group = next(groups, (None, iter(())))
        if found != slot:
            raise RuntimeError(f"rows out of order: expected those of video {slot}, got those of {found}")
        yield scored_video(sample, list(group))


def scored_video(sample: Sample, rows: Sequence[Row]) -> ScoredVideo:
    """The result for one video from all of its scored rows, which are in order; its first error counts for it."""
    bare = [{**row, "frames": None, "wave": None} for row in rows]
    clips = rows_to_clips(bare) if rows[0]["media"] else None
    failed = next((row for row in rows if row["error"]), None)
    seconds = math.fsum(row["score_seconds"] for row in rows)
    if failed:
        return ScoredVideo(sample, clips, (), str(failed["error"]), str(failed["detail"]), seconds)
    return ScoredVideo(sample, clips, tuple(_scored_clip(row) for row in bare), "", "", seconds)


def thumbnail(frames: npt.NDArray[np.uint8]) -> bytes:
    """The middle one of `frames` [T, H, W, 3] RGB as a small JPEG."""
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    small = cv2.resize(frames[len(frames) // 2], side, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    return data.tobytes()


def _rows(samples: Sequence[Sample], config: Config, plan: ScoringPlan) -> Iterator[Row]:
    if not samples:
        return
    data = _scored(clip_dataset(samples, config, plan.extractors), config, plan.scorers)
    cpus = plan.extractors.actors * plan.extractors.cpus + plan.scorers.actors * plan.scorers.cpus
    configure(data.context, cpus=cpus, block_bytes=SCORING_BLOCK_BYTES, preserve_order=True)
    try:
        yield from data.iter_rows()
    except RayError as error:
        raise ScoringError("failed", failure(error)) from error


def _scored(clips: Dataset, config: Config, plan: ScorerPlan) -> Dataset:
    inference = config.inference.model_copy(update={"device": plan.device})
    return clips.map_batches(
        ClipScorer,
        fn_constructor_kwargs={"config": config.model_copy(update={"inference": inference}).plain()},
        batch_size=inference.batch_clips,
        compute=actor_pool(plan.actors),
        num_cpus=plan.cpus,
        num_gpus=plan.gpus,
        memory=plan.memory,
    )


def _known(score: ClipScore) -> ClipScore:
    if any(odds is not None and math.isnan(odds) for odds in (score.fake, score.video, score.audio)):
        raise ValueError("the model gives no number for a clip")
    return score


def _scored_row(row: Row, result: ClipScore | ValueError | None, seconds: float) -> Row:
    kept = {name: row[name] for name in KEPT}
    unscored = {"fake": math.nan, "video": math.nan, "audio": math.nan, "restored": False}
    kept |= unscored | {"score_seconds": 0.0, "thumbnail": b""}
    if isinstance(result, ValueError):
        return kept | {"error": SCORING_FAILED, "detail": str(result)}
    if result is None:
        return kept
    odds = {"fake": result.fake, "video": _or_nan(result.video), "audio": _or_nan(result.audio)}
    picture = thumbnail(row["frames"]) if row["has_video"] else b""
    return kept | odds | {"restored": result.restored, "score_seconds": seconds, "thumbnail": picture}


def _scored_clip(row: Row) -> ScoredClip:
    odds = float(row["fake"]), _or_none(row["video"]), _or_none(row["audio"])
    score = ClipScore(*odds, restored=bool(row["restored"]))
    return ScoredClip(clip_from_row(row), score, bytes(row["thumbnail"]))


def _columns(rows: Sequence[Row]) -> Columns:
    columns = {name: np.asarray([row[name] for row in rows]) for name in rows[0] if name != "thumbnail"}
    pictures = np.empty(len(rows), dtype=object)  # numpy's own type of bytes drops zeros at their end
    pictures[:] = [row["thumbnail"] for row in rows]
    return columns | {"thumbnail": pictures}


def _or_nan(odds: float | None) -> float:
    return math.nan if odds is None else odds


def _or_none(odds: float) -> float | None:
    return None if math.isnan(odds) else float(odds)
