"""From one worker's stream of rows to what a forward pass takes, prepared while the model is busy."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import cast

import cv2
import numpy as np
import torch
from ray.data import DataIterator

from aura_model.ahead import ahead
from aura_model.augment.clip import augment_clip
from aura_model.batch import Batch, to_batch
from aura_model.clips import Clip
from aura_model.config import AugmentationConfig, Config
from aura_model.restoration import seen
from aura_model.seeds import derive_seed
from training.data.splits import Split
from training.rows import Columns, Row, clip_from_row, to_rows
from training.stream import BALANCE
from training.targets import Targets
from training.worker.tally import Skip

LIGHT = ("video_id", "variant", "track_id", "label", "split", "turn", "slot", "has_video", "has_audio")
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
    targets: Targets
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
    """The part of these rows: clips of the split train are augmented, the others are as they will be scored."""
    usable = tuple(row for row in rows if not row["error"])
    training = rows[0]["split"] == "train"
    side = training_side(int(rows[0]["turn"]), config)
    clips = [training_clip(row, config, side) if training else scored_clip(row, config) for row in usable]
    return Part(
        turn=int(rows[0]["turn"]),
        split=cast("Split", str(rows[0]["split"])),
        slot=int(rows[-1]["slot"]),
        rows=tuple({name: row[name] for name in LIGHT} for row in usable),
        batch=to_batch(clips, config) if clips else None,
        targets=targets_of(usable),
        skips=tuple(Skip.of(row) for row in rows if row["error"]),
    )


def targets_of(rows: Sequence[Row]) -> Targets:
    """What the model is to say of these rows' clips."""
    labels = torch.tensor([int(row["label"]) for row in rows], dtype=torch.int64)
    known = torch.tensor([bool(row["has_places"]) for row in rows], dtype=torch.bool)
    if not known.any():
        return Targets(labels)
    return Targets(labels, torch.from_numpy(np.stack([row["places"] for row in rows])).float() / 255, known)


def training_side(epoch: int, config: Config) -> int | None:
    """The side of the pictures of an epoch of training where it is not that of the crops."""
    low = config.training.low_resolution
    return low.size if epoch <= low.epochs else None


def scored_clip(row: Row, config: Config) -> Clip:
    """The clip of a row as it is scored, in serving as well."""
    return seen(clip_from_row(row), config.inference.restoration)


def training_clip(row: Row, config: Config, side: int | None = None) -> Clip:
    """The augmented clip of a row: a function of the row and the seed, whichever worker asks.

    Both clips of a pair are changed alike. Where the forged places are known, none is moved.

    Args:
        row: of the split train.
        config: of the run.
        side: of the pictures, pixels; None leaves them.
    """
    seed = derive_seed(config.seed, int(row["epoch"]), str(row["video_id"]), int(row["clip"]))
    augmentation = in_place(config.dataset.augmentation) if row["has_places"] else config.dataset.augmentation
    clip = augment_clip(clip_from_row(row), augmentation, np.random.default_rng(seed))
    if side is None or clip.frames is None or clip.landmarks is None:
        return clip
    smaller = np.stack([cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in clip.frames])
    share = np.float32(side / clip.frames.shape[1])
    return replace(clip, frames=smaller.astype(np.uint8, copy=False), landmarks=clip.landmarks * share)


def in_place(config: AugmentationConfig) -> AugmentationConfig:
    """The same without what moves places of the picture."""
    crop = config.crop.model_copy(update={"probability": 0.0})
    return config.model_copy(update={"horizontal_flip": 0.0, "crop": crop})


def _rows(stream: DataIterator) -> Iterator[Row]:
    # whole blocks, as they come: nothing is copied to make them of one length
    for columns in stream.iter_batches(batch_size=None, batch_format="numpy"):  # type: ignore[arg-type]
        yield from (row for row in to_rows(cast("Columns", columns)) if row["turn"] != BALANCE)
