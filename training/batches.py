"""From one worker's stream of rows to batches of clips."""

import time
from collections.abc import Iterator
from typing import cast

import numpy as np
from ray.data import DataIterator

from aura_model.augment.clip import augment_clip
from aura_model.clips import Clip
from aura_model.config import Config
from aura_model.seeds import derive_seed
from training.rows import Columns, Row, clip_from_row, to_rows
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
