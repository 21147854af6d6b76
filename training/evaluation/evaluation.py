"""From a table of scores to results: figures per video and per clip, their intervals, groups and worst errors."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any, Literal

import numpy as np

from aura_model.analysis import Aggregation, aggregate_tracks, probability
from aura_model.errors import ConfigError
from aura_model.intervals import RESAMPLES, Interval, bootstrap_intervals
from aura_model.metrics import Labels, Scores, compute_metrics
from aura_model.selective import CoverageRisk, coverage_risk
from training.evaluation.score_table import VideoLines

THRESHOLD = 0.5
COVERAGES = (1.0, 0.9, 0.8, 0.5)
"""Shares of the surest samples whose errors are told."""
WORST = 24
"""Errors that are shown."""
MOST_GROUPS = 100
"""Values that a column may have for a breakdown by it."""
BLANK = "(blank)"
"""The group of the videos that have no value in the column."""
Reals = Literal["own", "all", "none"]


@dataclass(frozen=True)
class VideoScore:
    """One video's score: over its clips and its faces."""

    video: VideoLines
    logit: float

    @property
    def fake_probability(self) -> float:
        """0 = real, 1 = fake."""
        return probability(self.logit)

    @property
    def wrong(self) -> bool:
        """Whether the threshold puts it on the wrong side."""
        return (self.fake_probability >= THRESHOLD) != bool(self.video.label)


@dataclass(frozen=True, eq=False)
class Level:
    """How well one set of scores tells fake from real."""

    labels: Labels
    probabilities: Scores
    figures: Mapping[str, Any]
    """See `compute_metrics`."""
    intervals: Mapping[str, Interval]
    clusters: int
    """Independent samples: identities or videos."""

    def plain(self) -> dict[str, Any]:
        """As plain types, without the scores."""
        intervals = {name: asdict(interval) for name, interval in self.intervals.items()}
        curve = self.selective
        risks = None if curve is None else {str(share): curve.risk_at(share) for share in COVERAGES}
        selective = None if curve is None else {"area": curve.area, "risk_at": risks}
        return {**self.figures, "clusters": self.clusters, "intervals": intervals, "selective": selective}

    @property
    def selective(self) -> CoverageRisk | None:
        """What leaving out the least sure ones would buy; None without samples."""
        return coverage_risk(self.labels, self.probabilities, THRESHOLD)


@dataclass(frozen=True, eq=False)
class Group:
    """The videos with one value in a column."""

    value: str
    level: Level
    reals: Reals
    """Which real videos the figures are over: the group's own; all of the set, where it has fakes only; or none."""
    own_real: int
    own_fake: int

    def plain(self) -> dict[str, Any]:
        """As plain types."""
        counts = {"own_real": self.own_real, "own_fake": self.own_fake}
        return {"value": self.value, "reals": self.reals, **counts, **self.level.plain()}


@dataclass(frozen=True)
class Unusable:
    """Videos without a score, for one reason."""

    code: str
    real: int
    fake: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All that a table of scores tells."""

    aggregation: Aggregation
    seed: int
    videos: Level
    clips: Level
    groups: Mapping[str, Sequence[Group]]
    """By column, the worst AUC first."""
    unusable: Sequence[Unusable]
    """The most frequent first."""
    worst: Sequence[VideoScore]
    """Videos on the wrong side of the threshold, the surest first, at most `WORST`."""
    wrong: int
    """How many there are."""
    by_identity: int
    """Videos whose identity is known; the others are independent samples of their own."""

    @property
    def unusable_count(self) -> int:
        """Videos without a score."""
        return sum(one.real + one.fake for one in self.unusable)

    def plain(self) -> dict[str, Any]:
        """As plain types."""
        return {
            "aggregation": self.aggregation,
            "seed": self.seed,
            "resamples": RESAMPLES,
            "videos": self.videos.plain(),
            "clips": self.clips.plain(),
            "groups": {column: [group.plain() for group in groups] for column, groups in self.groups.items()},
            "unusable": [asdict(one) for one in self.unusable],
            "wrong": self.wrong,
            "worst": [_plain_error(one) for one in self.worst],
        }


def evaluate(
    videos: Sequence[VideoLines], aggregation: Aggregation = "mean", group_by: Sequence[str] = (), seed: int = 0
) -> Evaluation:
    """Judge the scores of `videos`.

    Args:
        videos: with scores or with the reason why there are none.
        aggregation: how the clips of a face are joined, see `aura_model.analysis.aggregate_tracks`.
        group_by: columns of the manifest to break the figures down by.
        seed: of the bootstrap.

    Raises:
        ConfigError: see `check_columns`.
    """
    check_columns([video.columns for video in videos], group_by)
    scored = score_videos(videos, aggregation)
    wrong = sorted((one for one in scored if one.wrong), key=surety)
    return Evaluation(
        aggregation=aggregation,
        seed=seed,
        videos=_video_level(scored, seed),
        clips=_clip_level(scored, seed),
        groups={column: groups_of(scored, column, seed) for column in group_by},
        unusable=_count_unusable(videos),
        worst=wrong[:WORST],
        wrong=len(wrong),
        by_identity=sum(one.video.cluster[0] == "identity" for one in scored),
    )


def check_columns(columns: Sequence[Mapping[str, str]], group_by: Iterable[str]) -> None:
    """Refuse a breakdown that cannot be made, from the further columns of each video.

    Raises:
        ConfigError: no video has a value in such a column, or there are more than `MOST_GROUPS` values.
    """
    known = sorted({name for one in columns for name in one})
    for name in group_by:
        if name not in known:
            raise ConfigError(f"--group-by {name}: there is no such column; there are: {', '.join(known) or 'none'}")
        values = len({one.get(name) for one in columns})
        if values > MOST_GROUPS:
            raise ConfigError(f"--group-by {name}: the column has {values} values; at most {MOST_GROUPS} make sense")


def score_videos(videos: Iterable[VideoLines], aggregation: Aggregation) -> list[VideoScore]:
    """The score of each video that has clips."""
    return [VideoScore(video, video_logit(video, aggregation)) for video in videos if video.clips]


def video_logit(video: VideoLines, aggregation: Aggregation) -> float:
    """One logit for a video with clips."""
    return aggregate_tracks([clip.track_id for clip in video.clips], [clip.logit for clip in video.clips], aggregation)


def surety(score: VideoScore) -> tuple[float, str]:
    """Sorts the surest first, then by name."""
    return -abs(score.logit), score.video.video_id


def groups_of(scored: Sequence[VideoScore], column: str, seed: int) -> list[Group]:
    """The figures for each value of a column, the worst AUC first, then what has none, the least accurate first.

    A group of fakes alone, such as one method of forgery, is judged against all real videos there are.
    """
    members: dict[str, list[VideoScore]] = {}
    for one in scored:
        members.setdefault(one.video.columns.get(column, BLANK), []).append(one)
    reals = [one for one in scored if not one.video.label]
    return sorted((_group(value, own, reals, seed) for value, own in members.items()), key=_badness)


def _group(value: str, own: Sequence[VideoScore], reals: Sequence[VideoScore], seed: int) -> Group:
    fake = sum(one.video.label for one in own)
    borrowed = reals if fake == len(own) else ()
    kind: Reals = "own" if fake < len(own) else "all" if reals else "none"
    return Group(value, _video_level([*own, *borrowed], seed), kind, len(own) - fake, fake)


def _badness(group: Group) -> tuple[float, float, str]:
    auc, accuracy = group.level.figures["auc"], group.level.figures["accuracy"]
    return inf if auc is None else auc, accuracy, group.value


def _video_level(scored: Sequence[VideoScore], seed: int) -> Level:
    labels = [one.video.label for one in scored]
    return _level(labels, [one.fake_probability for one in scored], [one.video.cluster for one in scored], seed)


def _clip_level(scored: Sequence[VideoScore], seed: int) -> Level:
    clips = [(one.video, clip.logit) for one in scored for clip in one.video.clips]
    labels = [video.label for video, _ in clips]
    return _level(labels, [probability(logit) for _, logit in clips], [video.cluster for video, _ in clips], seed)


def _level(labels: list[int], probabilities: list[float], clusters: list[tuple[str, str]], seed: int) -> Level:
    figures = compute_metrics(labels, probabilities, THRESHOLD)
    intervals = bootstrap_intervals(labels, probabilities, clusters, threshold=THRESHOLD, seed=seed)
    undefined = {name: Interval(None, None, reason=reason) for name, reason in figures["undefined"].items()}
    truth, values = np.asarray(labels, np.int64), np.asarray(probabilities, np.float64)
    return Level(truth, values, figures, intervals | undefined, len(set(clusters)))


def _count_unusable(videos: Iterable[VideoLines]) -> list[Unusable]:
    counts = Counter((video.error, video.label) for video in videos if not video.clips)
    codes = [Unusable(code, counts[code, 0], counts[code, 1]) for code in {code for code, _ in counts}]
    return sorted(codes, key=lambda one: (-one.real - one.fake, one.code))


def _plain_error(one: VideoScore) -> dict[str, Any]:
    return {"video_id": one.video.video_id, "label": one.video.label, "fake_probability": one.fake_probability}
