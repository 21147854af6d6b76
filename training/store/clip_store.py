"""The store of clips that were extracted before, read video by video in any order."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aura_model.config import Config
from aura_model.seeds import derive_seed
from training.data.manifest import Sample
from training.rows import EVALUATION, ClipShape, Row
from training.store.coding import StoredRow, decode_row, stored_schema
from training.store.files import StoreError, StoreFiles
from training.store.index import StoredLocation, read_locations
from training.store.settings import clip_settings

MAX_VIDEO_BYTES = 2 * 1024**3
"""A video that claims more bytes than this in the store is damaged."""
_UNUSED = frozenset({"path", "label", "split", "columns"})
"""Columns that the path row or the index gives."""


class ClipStore:
    """What `training/preextract.py` wrote; a video's rows equal those of extraction but for the coding."""

    def __init__(self, location: str, config: Config) -> None:
        """Read the index of the store at `location`, a folder or a URI.

        Raises:
            ConfigError: the store was made with other clip settings; the text names the keys.
            StoreError: store_missing, store_unreachable, store_damaged, store_mixed.
        """
        self._config = config
        self._shape = ClipShape.of(config)
        self._files = StoreFiles(location)
        locations = read_locations(self._files, config, clip_settings(config))
        self._locations = {one.video.video_id: one for one in locations}
        if not self._locations:
            raise StoreError("store_missing", f"{location} holds no clips; run training/preextract.py first")
        self._columns = [name for name in stored_schema(self._shape).names if name not in _UNUSED]

    def samples(self) -> list[Sample]:
        """The videos of the store, the unusable ones too, by split and video_id."""
        return [one.video.sample for one in self._locations.values()]

    def rows(self, path_row: Mapping[str, Any]) -> list[Row]:
        """The rows of one video (see `training.rows.Row`); an unusable one gives the error row that was stored.

        In evaluation these are all of its clips. In training they are the clips of `clips_per_video.train` windows, all
        where there are fewer: a window is what begins at one time, whatever faces it shows. The draw depends on (seed,
        epoch, video) alone; `clip` stays the clip's place in the store.

        Raises:
            StoreError: store_damaged, video_unknown.
        """
        location = self._location(str(path_row["video_id"]))
        with self._files.reading(location.file) as source:
            return [decode_row(row, path_row, self._shape) for row in self._read(source, location, path_row)]

    def _location(self, video_id: str) -> StoredLocation:
        if video_id not in self._locations:
            raise StoreError("video_unknown", f"the store {self._files.location} does not hold the video {video_id!r}")
        return self._locations[video_id]

    def _read(self, source: pa.NativeFile, location: StoredLocation, path_row: Mapping[str, Any]) -> list[StoredRow]:
        table = self._table(source, location.row_group)
        chosen = self._drawn(table, path_row)
        rows: list[StoredRow] = table.take(pa.array(chosen, pa.int64())).to_pylist()
        if not rows or any(row["video_id"] != location.video.video_id for row in rows):
            raise ValueError(f"the rows are not those of the video {location.video.video_id!r}")
        return rows

    def _table(self, source: pa.NativeFile, row_group: int) -> pa.Table:
        with pq.ParquetFile(source, pre_buffer=True, page_checksum_verification=True) as file:
            if file.metadata.row_group(row_group).total_byte_size > MAX_VIDEO_BYTES:
                raise ValueError("a video claims too many bytes")
            return file.read_row_group(row_group, self._columns, use_threads=False)

    def _drawn(self, table: pa.Table, path_row: Mapping[str, Any]) -> Sequence[int]:
        """The indices of the rows that this pass sees."""
        epoch, video = int(path_row["epoch"]), self._config.dataset.video
        starts = [times[0] if times else None for times in table.column("times").to_pylist()]
        windows = sorted({start for start in starts if start is not None})
        if epoch == EVALUATION or not windows:
            return range(len(starts))
        rng = np.random.default_rng(derive_seed(self._config.seed, epoch, str(path_row["video_id"])))
        picked = rng.choice(len(windows), min(video.clips_per_video.train, len(windows)), replace=False)
        drawn = {windows[number] for number in picked.tolist()}
        return [index for index, start in enumerate(starts) if start in drawn][: video.max_clips]
