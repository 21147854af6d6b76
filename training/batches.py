"""From one worker's stream of rows to what a forward pass takes, prepared while the model is busy."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import cast

import numpy as np
import torch
from ray.data import DataIterator
from torch import Tensor

from aura_model.ahead import ahead
from aura_model.augment.clip import augment_clip
from aura_model.batch import Batch, to_batch
from aura_model.clips import Clip
from aura_model.config import Config
from aura_model.seeds import derive_seed
from training.data.splits import Split
from training.rows import Columns, Row, clip_from_row, to_rows
from training.stream import BALANCE
from training.tally import Skip

LIGHT = ("video_id", "track_id", "label", "split", "turn", "slot", "has_video", "has_audio")
"""The columns of a row that are kept once its clip is a tensor."""


@dataclass(frozen=True, eq=False)
class Part:
    """The clips of one forward pass, all of one turn and split, and the videos among them that gave no clip."""

    turn: int
    split: Split
    slot: int
    """The last video's place in the pass over its split, from 0."""
    rows: tuple[Row, ...]
    """One for each clip, without arrays; none where all of the videos were unusable."""
    batch: Batch | None
    labels: Tensor
    """int64 [B]"""
    skips: tuple[Skip, ...]


class Parts:
    """A worker's parts in the order of the run, taken one pass at a time; knows how long it was waited for."""

    def __init__(self, parts: Iterator[Part]) -> None:
        self._parts = parts
        self._next: Part | None = None
        self._begun = False
        self.waited = 0.0
        """Seconds without a part to work on, the first one left out."""
        self.start_seconds = 0.0
        """How long the first part took to come."""

    def of(self, turn: int, split: Split) -> Iterator[Part]:
        """The parts of one pass, which must be asked for in the order of the run."""
        while (part := self._peek()) is not None and (part.turn, part.split) == (turn, split):
            self._next = None
            yield part

    def _peek(self) -> Part | None:
        if self._next is None:
            began = time.perf_counter()
            self._next = next(self._parts, None)
            self._count(time.perf_counter() - began)
        return self._next

    def _count(self, seconds: float) -> None:
        if self._begun:
            self.waited += seconds
        else:
            self._begun, self.start_seconds = True, seconds


def worker_parts(stream: DataIterator, config: Config) -> Iterator[Part]:
    """The parts of a worker's share of the stream, `training.prefetch` of them prepared ahead."""
    sizes: dict[Split, int] = {"train": config.training.batch_size, "val": config.inference.batch_clips}
    return ahead(partial(prepare, config=config), grouped(_rows(stream), sizes), config.training.prefetch)


def grouped(rows: Iterable[Row], sizes: Mapping[Split, int]) -> Iterator[list[Row]]:
    """Rows in their order, in lists of one turn and split with at most as many usable rows as `sizes` says."""
    for (_, split), run in groupby(rows, key=lambda row: (int(row["turn"]), str(row["split"]))):
        held: list[Row] = []
        for row in run:
            held.append(row)
            if sum(not one["error"] for one in held) == sizes[cast("Split", split)]:
                yield held
                held = []
        if held:
            yield held


def prepare(rows: list[Row], config: Config) -> Part:
    """The part of these rows: clips of the split train are augmented."""
    usable = tuple(row for row in rows if not row["error"])
    training = rows[0]["split"] == "train"
    clips = [training_clip(row, config) if training else clip_from_row(row) for row in usable]
    return Part(
        turn=int(rows[0]["turn"]),
        split=cast("Split", str(rows[0]["split"])),
        slot=int(rows[-1]["slot"]),
        rows=tuple({name: row[name] for name in LIGHT} for row in usable),
        batch=to_batch(clips, config) if clips else None,
        labels=torch.tensor([int(row["label"]) for row in usable], dtype=torch.int64),
        skips=tuple(Skip.of(row) for row in rows if row["error"]),
    )


def training_clip(row: Row, config: Config) -> Clip:
    """The augmented clip of a row: a function of the row and the seed, whichever worker asks."""
    seed = derive_seed(config.seed, int(row["epoch"]), str(row["video_id"]), int(row["clip"]))
    return augment_clip(clip_from_row(row), config.dataset.augmentation, np.random.default_rng(seed))


def _rows(stream: DataIterator) -> Iterator[Row]:
    # whole blocks, as they come: nothing is copied to make them of one length
    for columns in stream.iter_batches(batch_size=None, batch_format="numpy"):  # type: ignore[arg-type]
        yield from (row for row in to_rows(cast("Columns", columns)) if row["turn"] != BALANCE)
