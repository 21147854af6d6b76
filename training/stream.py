"""Everything that a run still has to see, as one stream: each epoch's training videos, then its validation videos.

One stream for the whole run, and not one for each epoch: Ray Data starts its actors anew whenever a pipeline starts,
and makes clips ahead only within one. Order and clip starts follow from (seed, epoch, video) alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby, pairwise
from math import ceil
from typing import Any

import numpy as np
import ray.data
from ray.data import DataContext, DataIterator

from aura_model.ahead import ahead
from aura_model.config import Config
from aura_model.seeds import derive_seed
from aura_model.settings import parse_config
from training.data.manifest import Sample
from training.dataset import ClipExtractor, extracted
from training.extraction import training_source
from training.plan import ExtractorPlan
from training.ray_data import MAX_BLOCKS, configure
from training.rows import ClipShape, Columns, Row, RowSource, error_row, path_row, to_columns

BALANCE = 0
"""The `turn` of rows that belong to no epoch, see `balances`."""
BLOCK_BYTES = 10 * 1024**2
"""Clips are handed on in blocks of about this size."""
LEAST_CLIPS = 6
"""Of a block, however large they are: Ray cuts blocks of 1.5 times the target, and one clip more may be in them."""
LONGEST_SPAN = 8
"""Videos of one task at the most: a task costs Ray about as much as a short video costs to decode."""
SPANS_PER_WORKER = 16
"""Shorter spans where a pass would have fewer for each worker: they could not be shared out evenly."""


@dataclass(frozen=True)
class Visit:
    """A video's turn in a run."""

    turn: int
    """The epoch of training that it belongs to, from 1."""
    path_row: Row


@dataclass(frozen=True)
class Course:
    """The order of a run from the epoch `first` to the epoch `last`, both included; a sequence of visits."""

    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    seed: int
    first: int
    last: int

    def __len__(self) -> int:
        return (self.last - self.first + 1) * (len(self.train) + len(self.val))

    def at(self, index: int) -> Visit:
        """The visit at `index`, from 0."""
        turns, slot = divmod(index, len(self.train) + len(self.val))
        epoch = self.first + turns
        if slot < len(self.train):
            sample = self.train[epoch_order(len(self.train), self.seed, epoch)[slot]]
            return Visit(epoch, path_row(sample, slot, epoch))
        slot -= len(self.train)
        return Visit(epoch, path_row(self.val[slot], slot))


@lru_cache(maxsize=2)
def epoch_order(count: int, seed: int, epoch: int) -> Sequence[int]:
    """The order of a training epoch: a permutation of range(`count`) that depends on (seed, epoch) alone."""
    order: list[int] = np.random.default_rng(derive_seed(seed, epoch, "order")).permutation(count).tolist()
    return order


class CourseExtractor(ClipExtractor):
    """An actor of the extraction pool of a run: spans of a course to clip rows with a further column `turn`."""

    def __init__(self, config: Mapping[str, Any], course: Course) -> None:
        """Extract the visits of `course`; else as in `ClipExtractor`."""
        super().__init__(config)
        self._course = course
        shape = ClipShape.of(parse_config(config))
        self._enough = clips_per_block(shape)
        blank = error_row("balance", "", course.at(0).path_row, shape)
        self._blank = to_columns(blank | {"turn": BALANCE})

    def source(self, config: Config) -> RowSource:
        """The media as they are, or pairs made of them."""
        return training_source(config)

    def __call__(self, batch: Columns) -> Iterator[Columns]:
        """Yield a few clips at a time: a block costs Ray about as much as a stored clip costs to read.

        A worker gets whole blocks, so both clips of a pair are in one.
        """
        for begin, end, balance in zip(*(batch[name].tolist() for name in ("begin", "end", "balance")), strict=True):
            if balance:
                yield {name: np.repeat(values, balance, axis=0) for name, values in self._blank.items()}
            videos = ahead(self._rows_at, range(begin, end), 1)  # the next one, while these rows are handed on
            for rows in lists_of(self._enough, chain.from_iterable(map(kept_together, videos))):
                yield to_columns(*rows)

    def _rows_at(self, index: int) -> list[Row]:
        visit = self._course.at(index)
        return [row | {"turn": visit.turn} for row in self.rows(visit.path_row)]


def clips_per_block(shape: ClipShape) -> int:
    """How many clips make a block, which may be one larger for the sake of a pair."""
    return max(BLOCK_BYTES // shape.bytes, LEAST_CLIPS)


def block_target(shape: ClipShape) -> int:
    """Ray's target size for blocks, bytes: a little less than a block, so that none is joined with another or cut."""
    return int(0.9 * clips_per_block(shape) * shape.bytes)


def kept_together(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows of one video in their order, those of a pair together and others by themselves."""
    for _, pair in groupby(rows, key=lambda row: int(row["clip"])):
        yield list(pair)


def lists_of(enough: int, groups: Iterable[Sequence[Row]]) -> Iterator[list[Row]]:
    """The rows of whole groups in their order, in lists that are handed on once they hold `enough`."""
    held: list[Row] = []
    for group in groups:
        held += group
        if len(held) >= enough:
            yield held
            held = []
    if held:
        yield held


def clip_stream(
    course: Course, config: Config, extractors: ExtractorPlan, workers: int, dealt: Sequence[int] = ()
) -> list[DataIterator]:
    """One share of the stream for each worker; every row goes to exactly one, always to the same.

    A worker may get more rows than another: Ray Train's own way of sharing drops the remainder instead.

    Args:
        course: what is still to be seen.
        config: of the run.
        extractors: the actor pool.
        workers: how many shares.
        dealt: rows that each worker had of the epochs before, so that the sharing goes on as it would have.
    """
    cpus, target = extractors.actors * extractors.cpus, block_target(ClipShape.of(config))
    configure(DataContext.get_current(), cpus=cpus, block_bytes=target, preserve_order=True)
    spans = [*balances(dealt), *spans_of(course, workers, MAX_BLOCKS)]
    sources = ray.data.from_items(spans, override_num_blocks=len(spans))
    rows = extracted(sources, CourseExtractor, {"config": config.plain(), "course": course}, extractors)
    return rows.streaming_split(workers, equal=False)


def balances(dealt: Sequence[int]) -> list[dict[str, int]]:
    """Spans without a visit that bring Ray's sharing to where it stood after `dealt` rows.

    Ray gives each block to the worker with the fewest rows so far, the first of equal ones: with one block for each, of
    one row more than it is ahead, the workers are as far apart as they were.
    """
    least = min(dealt, default=0)
    return [{"begin": 0, "end": 0, "balance": rows - least + 1} for rows in dealt]


def spans_of(course: Course, workers: int, most: int) -> list[dict[str, int]]:
    """`begin` and `end` of spans of a few visits each; of more where the whole run would have more than `most` spans.

    Each is of one pass, and they are alike wherever the course begins, so that a resumed run has the very same.
    """
    bounds = [0]
    whole = course.last * (len(course.train) + len(course.val))
    for count in (len(course.train), len(course.val)):
        length = min(max(count // (SPANS_PER_WORKER * workers), 1), LONGEST_SPAN)
        spans = ceil(count / max(length, ceil(whole / most)))
        bounds += (bounds[-1] + np.linspace(0, count, spans + 1).astype(int)[1:]).tolist()
    starts = range(0, len(course), bounds[-1])
    return [{"begin": at + begin, "end": at + end, "balance": 0} for at in starts for begin, end in pairwise(bounds)]
