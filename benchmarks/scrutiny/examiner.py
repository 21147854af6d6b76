"""One person's pairs under every condition: made, changed and scored in one process, so that only numbers travel."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from aura_model.augment.perturbations import perturb
from aura_model.augment.rendering import RenderedClip
from aura_model.augment.video import Frames
from aura_model.clips import Clip
from aura_model.config import Config
from aura_model.heatmap import iou
from aura_model.scores import ClipScore
from aura_model.seeds import derive_seed
from scrutiny.probes import (
    EDITS,
    LEAST_VISIBLE,
    coded,
    file_facts,
    hidden_places,
    picture_statistics,
    silence,
    without,
)
from scrutiny.records import Record
from scrutiny.studio import Studio, person_of
from training.data.manifest import Sample
from training.pairing.pairs import Pair

CLEAN = "clean"
NULL = "null_blend"
NULL_DRAWS = 1_000_000
"""The null blends' draws lie so far from the pairs' own."""
Grid = Sequence[tuple[str, int]]


class Scores(Protocol):
    """What an examiner needs of `aura_model.scoring.Scorer`."""

    def score(self, clips: Sequence[Clip]) -> list[ClipScore]:
        """One score a clip, in order."""
        ...


@dataclass(frozen=True)
class Job:
    """One pair that is to be made of a person."""

    family: str
    draw: int
    deep: bool
    """Under every condition, not just clean."""


@dataclass(frozen=True)
class Task:
    """All jobs on one person."""

    sample: Sample
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class View:
    """One clip to be scored."""

    name: str
    label: int
    frames: Frames
    wave: npt.NDArray[np.float32] | None = None
    statistics: tuple[float, ...] = ()
    mask: npt.NDArray[np.float32] | None = None


class Examiner:
    """Turns tasks into records."""

    def __init__(self, config: Config, studio: Studio, scorer: Scores, grid: Grid) -> None:
        self._config, self.studio, self._scorer, self._grid = config, studio, scorer, grid

    def examine(self, task: Task) -> list[Record]:
        """The records of all jobs on one person; none for what could not be made."""
        rows = self.studio.open(task.sample)
        return [record for job in task.jobs for record in self._job(rows, task.sample, job)]

    def _job(self, rows: Sequence[Mapping[str, Any]], sample: Sample, job: Job) -> list[Record]:
        opened = [dict(row) for row in rows]
        pair = self.studio.pair(opened, sample, job.family, job.draw)
        if pair is None:
            return []
        name = f"{sample.video_id}#{job.draw}"
        if not pair.fake.video:  # the family found nothing to change
            return []
        views = list(self._views(pair)) if job.deep else clean_views(pair)
        records = self._scored(views, sample, name, job.family)
        blended = self.studio.pair(opened, sample, NULL, NULL_DRAWS + job.draw) if job.deep else None
        return records + (self._scored([View(NULL, 1, blended.fake.frames)], sample, name, NULL) if blended else [])

    def _views(self, pair: Pair) -> Iterator[View]:
        yield from clean_views(pair)
        yield from grid_views(pair, self._grid)
        yield from background_views(pair)
        yield from real_views(pair.real, self._config.dataset.video.clip_seconds)

    def _scored(self, views: Sequence[View], sample: Sample, pair: str, family: str) -> list[Record]:
        scores = self._scorer.score([self._clip(view) for view in views])
        return [
            Record(
                person=person_of(sample),
                pair=pair,
                family=family,
                view=view.name,
                label=view.label,
                log_odds=score.fake,
                iou=None if view.mask is None or score.heatmap is None else iou(score.heatmap, view.mask),
                statistics=view.statistics,
            )
            for view, score in zip(views, scores, strict=True)
        ]

    def _clip(self, view: View) -> Clip:
        video = self._config.dataset.video
        times = np.arange(len(view.frames)) / video.frame_rate
        return Clip(times, video.clip_seconds, view.frames, None, None, 0, view.wave)


def clean_views(pair: Pair) -> list[View]:
    """Both clips as they are, with the facts of their files."""
    return [
        View(CLEAN, 0, pair.real.frames, statistics=file_facts(pair.real.frames)),
        View(CLEAN, 1, pair.fake.frames, statistics=file_facts(pair.fake.frames), mask=pair.fake.mask),
    ]


def grid_views(pair: Pair, grid: Grid) -> Iterator[View]:
    """Both clips under each perturbation, which draws the same for both."""
    for name, level in grid:
        seed = derive_seed(pair.video_id, pair.index, name, level)
        for label, sample in enumerate((pair.real, pair.fake)):
            yield View(f"{name}:{level}", label, perturb(sample.frames, name, level, np.random.default_rng(seed)))


def background_views(pair: Pair) -> list[View]:
    """Both clips without face and forgery; none where that leaves next to nothing."""
    hidden = hidden_places(pair.fake.landmarks, pair.fake.mask)
    if hidden.mean() > 1 - LEAST_VISIBLE:
        return []
    return [
        View("background", label, without(sample.frames, hidden), statistics=picture_statistics(sample.frames, hidden))
        for label, sample in enumerate((pair.real, pair.fake))
    ]


def real_views(real: RenderedClip, seconds: float) -> list[View]:
    """The genuine clip as it is and changed in ways that make no fake of it; the changed one has the label 1."""
    once = coded(real.frames)
    return [
        View("silence", 1, real.frames, silence(seconds)),
        View("coded", 0, once),
        View("coded", 1, coded(once)),
        *(View(f"edit:{name}", 1, edit(real.frames)) for name, edit in EDITS.items()),
    ]


def deal(people: Sequence[Sample], pairs: Mapping[str, int], deep: Mapping[str, int]) -> list[Task]:
    """Deal out pairs around the circle of people, one family after the other, so that all people are used alike.

    Args:
        people: samples, in the order in which they are taken.
        pairs: how many of each family.
        deep: how many of these are examined under every condition.
    """
    numbered = [(family, number) for family, count in pairs.items() for number in range(count)]
    jobs: dict[int, list[Job]] = {}
    for place, (family, number) in enumerate(numbered):
        jobs.setdefault(place % len(people), []).append(Job(family, place + 1, number < deep.get(family, 0)))
    return [Task(people[person], tuple(jobs[person])) for person in sorted(jobs)]
