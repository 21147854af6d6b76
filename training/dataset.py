"""Samples on Ray Data: one path row in, clip rows out, decoded in killable children of an actor pool."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Dataset, ExecutionResources

from aura_model.augment.seeds import derive_seed
from aura_model.clips import Clips
from aura_model.config import Config, parse_config
from aura_model.errors import MediaError
from aura_model.logging import setup_logging
from aura_model.sandbox import Sandbox
from training.manifest import Sample
from training.plan import ExtractorPlan
from training.rows import ClipShape, Columns, Row, error_row, rows_of, to_columns, to_rows

EVALUATION = -1
"""The `epoch` of a path row whose clips are drawn as in evaluation."""
MAX_BLOCKS = 4096
"""One path row is one block up to this many; above it, blocks hold several rows each."""


class ClipSource(Protocol):
    """What `ClipExtractor` needs of a `Sandbox`."""

    def load_clips(self, source: Path, *, seed: int | None = None) -> Clips:
        """See `aura_model.sandbox.Sandbox.load_clips`."""
        ...


class ClipExtractor:
    """An actor of the extraction pool: path rows to clip rows, through a decode child of its own.

    A file that cannot be used becomes one row with `error` set; no file makes it raise.
    """

    def __init__(self, config: Mapping[str, Any], open_source: Callable[[Config], ClipSource] = Sandbox) -> None:
        """Start the decode child; `config` is the plain tree of `Config.plain()`."""
        self._config = parse_config(config)
        setup_logging(self._config.logging)
        self._shape = ClipShape.of(self._config)
        self._source = open_source(self._config)

    def __call__(self, batch: Columns) -> Iterator[Columns]:
        """Yield one clip at a time, so that one video's clips need not fit into memory at once as tensors."""
        for path_row in to_rows(batch):
            for row in self._extract(path_row):
                yield to_columns(row)

    def _extract(self, path_row: Mapping[str, Any]) -> list[Row]:
        try:
            clips = self._source.load_clips(Path(str(path_row["path"])), seed=self._seed(path_row))
        except MediaError as error:
            return [error_row(error.code, error.detail, path_row, self._shape)]
        except OSError as error:
            return [error_row("unreadable_file", str(error), path_row, self._shape)]
        return rows_of(clips, path_row, self._shape)

    def _seed(self, path_row: Mapping[str, Any]) -> int | None:
        epoch = int(path_row["epoch"])
        return None if epoch == EVALUATION else derive_seed(self._config.seed, epoch, str(path_row["video_id"]))


def clip_dataset(
    samples: Sequence[Sample], config: Config, extractors: ExtractorPlan, epoch: int = EVALUATION
) -> Dataset:
    """The clips of `samples`, in their order, as rows (see `training.rows.Row`).

    Args:
        samples: at least one.
        config: `dataset` and `limits` say what is cut out; `seed` and `epoch` which clips training draws.
        extractors: the size of the actor pool.
        epoch: the training epoch, or `EVALUATION`.
    """
    paths = [
        {"video_id": sample.video_id, "path": str(sample.path), "label": sample.label, "epoch": epoch}
        for sample in samples
    ]
    return ray.data.from_items(paths, override_num_blocks=min(len(paths), MAX_BLOCKS)).map_batches(
        ClipExtractor,
        fn_constructor_kwargs={"config": config.plain()},
        batch_size=1,
        compute=ActorPoolStrategy(min_size=1, max_size=extractors.actors, initial_size=extractors.actors),
        num_cpus=extractors.cpus,
        memory=extractors.memory,
    )


def configure_ray_data(extractors: ExtractorPlan) -> None:
    """Set this process's Ray Data context, which Ray Train hands on to its workers.

    Rows keep the order of their samples, so that a run can be repeated; Ray Data takes no more CPUs than planned.
    """
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ExecutionResources(cpu=extractors.actors * extractors.cpus)


def epoch_order(samples: Sequence[Sample], seed: int, epoch: int) -> list[Sample]:
    """The order of a training epoch: a permutation that depends on (seed, epoch) alone."""
    order = np.random.default_rng(derive_seed(seed, epoch, "order")).permutation(len(samples))
    return [samples[index] for index in order.tolist()]
