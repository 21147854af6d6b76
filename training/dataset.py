"""Samples on Ray Data: one path row in, clip rows out, made by an actor pool."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray.data
from ray.data import Dataset

from aura_model.config import Config
from aura_model.logging import setup_logging
from aura_model.settings import parse_config
from training.data.manifest import Sample
from training.extraction import clip_source
from training.plan import ExtractorPlan
from training.ray_data import MAX_BLOCKS, actor_pool
from training.rows import Columns, RowSource, path_row, to_columns, to_rows


class ClipExtractor:
    """An actor of the extraction pool: path rows to clip rows.

    A file that cannot be used becomes one row with `error` set; no file makes it raise.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Start what the rows come from; `config` is the plain tree of `Config.plain()`."""
        parsed = parse_config(config)
        setup_logging(parsed.logging)
        self.rows = self.source(parsed)

    def source(self, config: Config) -> RowSource:
        """Where the rows come from: the media as they are."""
        return clip_source(config)

    def __call__(self, batch: Columns) -> Iterator[Columns]:
        """Yield one clip at a time, so that one video's clips need not fit into memory at once as tensors."""
        for source in to_rows(batch):
            for row in self.rows(source):
                yield to_columns(row)


def clip_dataset(samples: Sequence[Sample], config: Config, extractors: ExtractorPlan) -> Dataset:
    """The clips of `samples` for evaluation, in the order of the samples, as rows (see `training.rows.Row`)."""
    rows = [path_row(sample, slot) for slot, sample in enumerate(samples)]
    sources = ray.data.from_items(rows, override_num_blocks=min(len(rows), MAX_BLOCKS))
    return extracted(sources, ClipExtractor, {"config": config.plain()}, extractors)


def extracted(
    sources: Dataset, extractor: type[ClipExtractor], settings: Mapping[str, Any], plan: ExtractorPlan
) -> Dataset:
    """What a pool of `extractor(**settings)` makes of `sources`, one row at a time."""
    return sources.map_batches(
        extractor,
        fn_constructor_kwargs=dict(settings),
        batch_size=1,
        compute=actor_pool(plan.actors),
        num_cpus=plan.cpus,
        memory=plan.memory,
    )
