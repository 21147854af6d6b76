"""From one worker's stream of rows to batches of clips."""

import time
from collections.abc import Iterator
from typing import cast

import numpy as np
from ray.data import DataIterator

from aura_model.augment.clip import augment_clip
from aura_model.augment.seeds import derive_seed
from aura_model.clips import Clip
from aura_model.config import Config
from training.rows import ClipShape, Columns, Row, clip_from_row, to_rows
from training.tally import Skip, Tally


def usable_batches(stream: DataIterator, size: int, tally: Tally) -> Iterator[list[Row]]:
    """Batches of 1 to `size` rows that hold a clip; the other rows and the waiting go to `tally`."""
    started = time.perf_counter()
    for columns in stream.iter_batches(batch_size=size, batch_format="numpy"):
        tally.waited += time.perf_counter() - started
        rows = to_rows(cast("Columns", columns))
        tally.skipped += [Skip.of(row) for row in rows if row["error"]]
        if usable := [row for row in rows if not row["error"]]:
            yield usable
        started = time.perf_counter()


def training_clip(row: Row, config: Config) -> Clip:
    """The augmented clip of a row: a function of the row and the seed, whichever worker asks."""
    seed = derive_seed(config.seed, int(row["epoch"]), str(row["video_id"]), int(row["clip"]))
    return augment_clip(clip_from_row(row), config.dataset.augmentation, np.random.default_rng(seed))


def blank_clip(config: Config) -> Clip:
    """A black and silent clip: what a worker that never had a clip steps on, at no weight, while others still have."""
    shape = ClipShape.of(config)
    return Clip(
        times=np.zeros(shape.frames),
        seconds=config.dataset.video.clip_seconds,
        frames=np.zeros((shape.frames, shape.size, shape.size, 3), np.uint8),
        boxes=np.zeros((shape.frames, 4), np.float32),
        landmarks=np.zeros((shape.frames, 5, 2), np.float32),
        track_id=0,
        wave=np.zeros(shape.samples, np.float32),
    )
