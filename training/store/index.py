"""Which videos a store holds, and where: read from the files' footers, without their clips."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aura_model.config import Config
from training.data.manifest import Sample
from training.data.splits import SPLITS, Split
from training.rows import ClipShape
from training.store.coding import stored_schema
from training.store.files import StoreError, StoreFiles
from training.store.settings import Settings, refuse_other_settings

ENDING = ".parquet"
INDEX_KEY = b"aura_store"
"""Key of a Parquet file's own metadata that holds its `FileIndex` as JSON."""
READERS = 16
"""Footers read at once: each is a request or two where the store is remote."""


class StoredVideo(BaseModel):
    """A video of the store; its rows are one row group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    video_id: str
    label: Literal[0, 1]
    split: Split
    path: str
    columns: dict[str, str]
    clips: Annotated[int, Field(ge=0)]
    """Usable clips; 0 where `code` says why there is none."""
    code: str
    detail: str
    sha256: str
    """Of the media file; empty where it could not be opened."""

    @property
    def sample(self) -> Sample:
        """What the data set said of it."""
        return Sample(self.video_id, self.label, self.split, self.path, self.columns)


class FileIndex(BaseModel):
    """What a file of the store says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    settings: Mapping[str, Any]
    videos: tuple[StoredVideo, ...]
    """In the order of the row groups."""


@dataclass(frozen=True)
class StoredLocation:
    """Where a video of the store is."""

    file: str
    row_group: int
    video: StoredVideo


def read_locations(files: StoreFiles, config: Config, settings: Settings) -> list[StoredLocation]:
    """Every video of the store by split and video_id, whatever files they are in; none where there is no store.

    Args:
        files: the store's.
        config: gives the shapes of the clips.
        settings: what the store must have been made with.

    Raises:
        ConfigError: other settings.
        StoreError: store_unreachable, store_damaged, store_mixed.
    """
    names, schema = files.names(ENDING), stored_schema(ClipShape.of(config))
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(lambda name: _read_file(files, name, schema, settings), names))
    locations = [location for of_file in found for location in of_file]
    _refuse_duplicates(locations, files.location)
    return sorted(locations, key=lambda location: (SPLITS.index(location.video.split), location.video.video_id))


def _read_file(files: StoreFiles, name: str, schema: pa.Schema, settings: Settings) -> list[StoredLocation]:
    with files.reading(name) as source, pq.ParquetFile(source) as file:
        index = _index(file)
        refuse_other_settings(index.settings, settings, files.location)
        if not file.schema_arrow.equals(schema) or file.num_row_groups != len(index.videos):
            raise ValueError("its columns or its number of videos are not as they should be")
    return [StoredLocation(name, number, video) for number, video in enumerate(index.videos)]


def _index(file: pq.ParquetFile) -> FileIndex:
    try:
        return FileIndex.model_validate_json((file.metadata.metadata or {}).get(INDEX_KEY, b""))
    except ValidationError:
        raise ValueError("it does not say what it holds, as a file of a store does") from None


def _refuse_duplicates(locations: Sequence[StoredLocation], store: str) -> None:
    counts = Counter(location.video.video_id for location in locations)
    twice = [video_id for video_id, count in counts.items() if count > 1]
    if twice:
        holders = " and ".join(location.file for location in locations if location.video.video_id == twice[0])
        raise StoreError("store_mixed", f"{store} holds the video {twice[0]!r} twice, in {holders}; delete one")
