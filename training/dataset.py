"""Samples on Ray Data: one path row in, clip rows out, decoded in killable children of an actor pool."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import ray.data
from ray.actor import ActorHandle
from ray.data import ActorPoolStrategy, DataContext, DataIterator, Dataset, ExecutionResources
from ray.train import DataConfig

from aura_model.clips import Clips
from aura_model.config import Config, parse_config
from aura_model.errors import MediaError
from aura_model.logging import setup_logging
from aura_model.sandbox import Sandbox
from aura_model.seeds import derive_seed
from training.clock import get_epoch
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

    A path row holds video_id, path, label and epoch. A file that cannot be used becomes one row with `error` set; no
    file makes it raise.
    """

    def __init__(self, config: Mapping[str, Any], open_source: Callable[[Config], ClipSource] = Sandbox) -> None:
        """Start the decode child; `config` is the plain tree of `Config.plain()`."""
        self._config = parse_config(config)
        setup_logging(self._config.logging)
        self._shape = ClipShape.of(self._config)
        self._source = open_source(self._config)

    def __call__(self, batch: Columns) -> Iterator[Columns]:
        """Yield one clip at a time, so that one video's clips need not fit into memory at once as tensors."""
        for path_row in self._path_rows(batch):
            for row in self._extract(path_row):
                yield to_columns(row)

    def _path_rows(self, batch: Columns) -> list[Row]:
        return to_rows(batch)

    def _extract(self, path_row: Row) -> list[Row]:
        try:
            clips = self._source.load_clips(Path(str(path_row["path"])), seed=self._seed(path_row))
        except MediaError as error:
            return [error_row(error.code, error.detail, path_row, self._shape)]
        except OSError as error:
            return [error_row("unreadable_file", str(error), path_row, self._shape)]
        return rows_of(clips, path_row, self._shape)

    def _seed(self, path_row: Row) -> int | None:
        epoch = int(path_row["epoch"])
        return None if epoch == EVALUATION else derive_seed(self._config.seed, epoch, str(path_row["video_id"]))


class EpochExtractor(ClipExtractor):
    """Slots to the clips of one training epoch: slot i is the i-th video in the order of that epoch.

    Ray Data starts its actors anew for each epoch, so each asks the clock once.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        samples: Sequence[Sample],
        clock: str,
        open_source: Callable[[Config], ClipSource] = Sandbox,
    ) -> None:
        """Draw the order of `samples` for the epoch that the clock of this name shows; else as in `ClipExtractor`."""
        super().__init__(config, open_source)
        self._epoch = get_epoch(clock)
        self._order = epoch_order(samples, self._config.seed, self._epoch)

    def _path_rows(self, batch: Columns) -> list[Row]:
        return [path_row(self._order[slot], self._epoch) for slot in batch["slot"].tolist()]


def path_row(sample: Sample, epoch: int = EVALUATION) -> Row:
    """What `ClipExtractor` takes."""
    return {"video_id": sample.video_id, "path": str(sample.path), "label": sample.label, "epoch": epoch}


def clip_dataset(samples: Sequence[Sample], config: Config, extractors: ExtractorPlan) -> Dataset:
    """The clips of `samples` for evaluation, in the order of the samples, as rows (see `training.rows.Row`)."""
    rows = [path_row(sample) for sample in samples]
    return _extracted(rows, ClipExtractor, {"config": config.plain()}, extractors)


def training_dataset(samples: Sequence[Sample], config: Config, extractors: ExtractorPlan, clock: str) -> Dataset:
    """The clips of `samples` for training, anew each time it is run: order and clip starts follow (seed, epoch)."""
    slots: list[Row] = [{"slot": slot} for slot in range(len(samples))]
    settings = {"config": config.plain(), "samples": tuple(samples), "clock": clock}
    return _extracted(slots, EpochExtractor, settings, extractors)


def _extracted(
    rows: list[Row], extractor: type[ClipExtractor], settings: Mapping[str, Any], plan: ExtractorPlan
) -> Dataset:
    return ray.data.from_items(rows, override_num_blocks=min(len(rows), MAX_BLOCKS)).map_batches(
        extractor,
        fn_constructor_kwargs=dict(settings),
        batch_size=1,
        compute=ActorPoolStrategy(min_size=1, max_size=plan.actors, initial_size=plan.actors),
        num_cpus=plan.cpus,
        memory=plan.memory,
    )


class UnequalShares(DataConfig):
    """Gives each row to exactly one worker. Ray Train's own way gives all the same number, and drops the remainder."""

    def configure(
        self,
        datasets: dict[str, Dataset],
        world_size: int,
        worker_handles: list[ActorHandle[Any]] | None,  # noqa: ARG002
        worker_node_ids: list[str] | None,  # noqa: ARG002
        **_: Any,
    ) -> list[dict[str, DataIterator]]:
        """One mapping of data set names to shares for each worker; Ray Train calls this."""
        shares = {name: data.streaming_split(world_size, equal=False) for name, data in datasets.items()}
        return [{name: parts[rank] for name, parts in shares.items()} for rank in range(world_size)]


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
