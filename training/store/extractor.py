"""Extraction into a store on Ray Data: groups of videos become files of the store, and each video a small report."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from math import ceil
from typing import Any

import ray.data
from ray.exceptions import RayError

from aura_model.config import Config
from aura_model.errors import AuraError
from aura_model.logging import setup_logging
from aura_model.settings import parse_config
from training.data.manifest import Sample
from training.data.splits import Split
from training.extraction import MediaRows
from training.plan import ExtractorPlan
from training.ray_data import MAX_BLOCKS, actor_pool, configure
from training.rows import Columns, RowSource, path_row, to_columns
from training.store.files import StoreFiles
from training.store.work import Group
from training.store.writer import write_videos

REPORT_BYTES = 1
"""A block for each report, so that it is told at once."""
MOST_CLIPS = 256
"""The most clips of one video that a configuration may ask for."""

Report = dict[str, Any]
"""What became of a video: video_id, split, path, clips, code and detail."""


class ExtractionError(AuraError):
    """The run could not be finished; what is in the store stays there."""


def extraction_config(config: Config, split: Split) -> Config:
    """The configuration whose evaluation clips are what the store keeps of a video of `split`.

    Of val and test these are the very clips of evaluation. Of train there are `train_clips` windows, spread evenly, and
    the bound on clips grows with them: it holds again for what an epoch draws.
    """
    if split != "train":
        return config
    per_video = config.dataset.video.clips_per_video
    windows = config.dataset.preprocessing.train_clips
    most = min(MOST_CLIPS, config.dataset.video.max_clips * ceil(windows / per_video.train))
    counts = {"train": per_video.train, "eval": windows}
    return parse_config(config.plain(), {"dataset": {"video": {"clips_per_video": counts, "max_clips": most}}})


class GroupExtractor:
    """An actor of the pool: writes each group of videos into a file of its own.

    A video that cannot be used is in the file with its error; no media file makes it raise.
    """

    def __init__(
        self, config: Mapping[str, Any], location: str, open_rows: Callable[[Config], RowSource] = MediaRows
    ) -> None:
        """Write to the store at `location`; `config` is the plain tree of `Config.plain()`."""
        self._config = parse_config(config)
        setup_logging(self._config.logging)
        self._files = StoreFiles(location)
        self._open_rows = open_rows
        self._opened: tuple[Config, RowSource] | None = None

    def __call__(self, batch: Columns) -> Iterator[Columns]:
        """Yield a report as each video is extracted; the group's file is there when all are."""
        for text in batch["group"]:
            group = [Sample(**fields) for fields in json.loads(str(text))]
            source = self._source(group[0].split)
            rows = (source(path_row(sample)) for sample in group)
            for video in write_videos(self._files, self._config, group, rows):
                yield to_columns(video.model_dump(include={"video_id", "split", "path", "clips", "code", "detail"}))

    def _source(self, split: Split) -> RowSource:
        """One decode child at a time: groups of one split follow each other."""
        wanted = extraction_config(self._config, split)
        if self._opened is None or self._opened[0] != wanted:
            self._opened = None
            self._opened = wanted, self._open_rows(wanted)
        return self._opened[1]


def extract(config: Config, location: str, groups: Sequence[Group], plan: ExtractorPlan) -> Iterator[Report]:
    """Extract the groups on the running Ray cluster, and yield a report on each video, in no order.

    Raises:
        ExtractionError: the store cannot be written, or the actors die again and again.
    """
    texts = [{"group": json.dumps([asdict(sample) for sample in group])} for group in groups]
    reports = ray.data.from_items(texts, override_num_blocks=min(len(texts), MAX_BLOCKS)).map_batches(
        GroupExtractor,
        fn_constructor_kwargs={"config": config.plain(), "location": location},
        batch_size=1,
        compute=actor_pool(plan.actors),
        num_cpus=plan.cpus,
        memory=plan.memory,
    )
    configure(reports.context, cpus=plan.actors * plan.cpus, block_bytes=REPORT_BYTES, preserve_order=False)
    told = set[str]()  # a report comes again where an actor died and its group was done anew
    try:
        for report in reports.iter_rows():
            if report["video_id"] not in told:
                told.add(report["video_id"])
                yield report
    except RayError as error:
        raise ExtractionError("extraction_failed", str(error).strip().splitlines()[-1].strip()) from error
