"""Writing a file of the store: one row group a video, so that no more than one video is in memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aura_model.config import Config
from aura_model.media import MediaInfo
from training.data.manifest import Sample
from training.rows import ClipShape, Row
from training.store.coding import encode_row, stored_schema
from training.store.files import StoreFiles
from training.store.index import ENDING, INDEX_KEY, FileIndex, StoredVideo
from training.store.settings import store_settings

_REPEATED = ["video_id", "path", "split", "media", "notes", "error", "detail"]
"""Columns that hold the same text in each row of a video."""


def file_name(samples: Sequence[Sample], settings: Mapping[str, Any]) -> str:
    """`{split}-{hash}.parquet`: the same videos with the same settings are one file, whoever writes it."""
    digest = blake2b(digest_size=12)
    for part in (*sorted(f"{key}={value!r}" for key, value in settings.items()), *(one.video_id for one in samples)):
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    return f"{samples[0].split}-{digest.hexdigest()}{ENDING}"


def write_videos(
    files: StoreFiles, config: Config, samples: Sequence[Sample], rows: Iterable[Sequence[Row]]
) -> Iterator[StoredVideo]:
    """Write one file with the `rows` of each of `samples`, yielding what each became; whole or not there.

    The file is there once the iterator has ended. One that is left early leaves nothing.
    """
    shape, settings = ClipShape.of(config), store_settings(config)
    videos: list[StoredVideo] = []
    with files.writing(file_name(samples, settings)) as target, _writer(target, shape) as writer:
        for sample, of_video in zip(samples, rows, strict=True):
            quality = config.dataset.preprocessing.jpeg_quality
            stored = [encode_row(row, sample.columns, quality) for row in of_video]
            writer.write_table(pa.Table.from_pylist(stored, schema=stored_schema(shape)))
            videos.append(_describe(sample, of_video))
            yield videos[-1]
        index = FileIndex(settings=settings, videos=tuple(videos))
        writer.add_key_value_metadata({INDEX_KEY: index.model_dump_json().encode()})


def _writer(target: Any, shape: ClipShape) -> pq.ParquetWriter:
    """Without compression, which gains nothing on JPEG; with checksums, as JPEG has none."""
    return pq.ParquetWriter(
        target,
        stored_schema(shape),
        compression="none",
        use_dictionary=_REPEATED,
        write_statistics=False,
        write_page_checksum=True,
    )


def _describe(sample: Sample, rows: Sequence[Row]) -> StoredVideo:
    first = rows[0]
    return StoredVideo(
        video_id=sample.video_id,
        label=1 if sample.label else 0,
        split=sample.split,
        path=sample.path,
        columns=dict(sample.columns),
        clips=sum(not row["error"] for row in rows),
        code=first["error"],
        detail=first["detail"],
        sha256=MediaInfo.model_validate_json(first["media"]).sha256 if first["media"] else "",
    )
