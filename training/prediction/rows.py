"""The rows of batch prediction: what is said of each input, and the files that hold them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from aura_model.analysis import analyse
from aura_model.atomic import replacing
from aura_model.errors import MEDIA_ERRORS, ConfigError
from aura_model.reply import Analysis
from training.prediction.model_facts import ModelFacts
from training.rows import NO_CLIPS

if TYPE_CHECKING:
    from training.prediction.scoring import ScoredVideo

TEMPORARY = ".predictions-"
"""How the temporary file of predictions that are being written begins."""
ROW_GROUP = 1000
TITLES = MappingProxyType(
    {
        **MEDIA_ERRORS,
        "unreadable_file": "The file cannot be opened.",
        "scoring_failed": "The model cannot score a clip of this video.",
    }
)
"""Every error code of a prediction, with its title."""
SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("verdict", pa.string()),
        pa.field("fake_probability", pa.float64()),
        pa.field("reasons", pa.list_(pa.string())),
        pa.field("video_probability", pa.float64()),
        pa.field("audio_probability", pa.float64()),
        pa.field("duration", pa.float64()),
        pa.field("sha256", pa.string()),
        pa.field("model_version", pa.string()),
        pa.field("error_code", pa.string()),
        pa.field("error_detail", pa.string()),
        pa.field("analysis", pa.string()),
        pa.field("columns", pa.map_(pa.string(), pa.string())),
    ]
)
"""The columns of the Parquet file; `analysis` is JSON text."""


class VideoError(BaseModel):
    """Why there is no analysis."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str
    """A key of `TITLES`."""
    title: str
    detail: str


class PredictionRow(BaseModel):
    """What became of one input: an analysis or an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    video_id: str
    path: str
    columns: Mapping[str, str]
    """What else the manifest says of the video."""
    analysis: Analysis | None
    """The same as the service's reply; its timings are those of the model alone."""
    error: VideoError | None


def prediction_row(video: "ScoredVideo", model: ModelFacts) -> PredictionRow:
    """The row of one video. No face and no speech is an answer, as it is in the service: not_applicable."""
    sample = video.sample
    analysis, error = None, None
    if video.clips is not None and video.error in ("", NO_CLIPS):
        analysis = analyse(video.clips, video.scores, model.info, model.config, {"score": video.seconds})
    else:
        title = TITLES.get(video.error, "The video cannot be used.")
        error = VideoError(code=video.error, title=title, detail=video.detail)
    return PredictionRow(
        video_id=sample.video_id, path=sample.path, columns=sample.columns, analysis=analysis, error=error
    )


def check_output(path: Path) -> None:
    """Refuse a file that `write_predictions` cannot write.

    Raises:
        ConfigError: it ends in neither .jsonl nor .parquet.
    """
    if path.suffix.lower() not in _WRITERS:
        raise ConfigError(f"--output {path}: the file must end in {' or '.join(_WRITERS)}")


def write_predictions(path: Path, rows: Iterable[PredictionRow]) -> None:
    """Write a JSON lines or a Parquet file, as the ending says; the file is whole or not there.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path, TEMPORARY) as file:
        _WRITERS[path.suffix.lower()](file, rows)


def _write_json_lines(file: BinaryIO, rows: Iterable[PredictionRow]) -> None:
    file.writelines(row.model_dump_json().encode() + b"\n" for row in rows)


def _write_parquet(file: BinaryIO, rows: Iterable[PredictionRow]) -> None:
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for group in _groups(map(_flat, rows)):
            writer.write_table(pa.Table.from_pylist(group, SCHEMA))


_WRITERS: Mapping[str, Callable[[BinaryIO, Iterable[PredictionRow]], None]] = MappingProxyType(
    {".jsonl": _write_json_lines, ".parquet": _write_parquet}
)


def _groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while group := list(islice(rows, ROW_GROUP)):
        yield group


def _flat(row: PredictionRow) -> dict[str, Any]:
    """The row as values of `SCHEMA`; what is left out is null."""
    flat: dict[str, Any] = {"video_id": row.video_id, "path": row.path, "columns": list(row.columns.items())}
    if row.error:
        flat |= {"error_code": row.error.code, "error_detail": row.error.detail}
    if row.analysis:
        flat |= {
            "verdict": row.analysis.verdict,
            "fake_probability": row.analysis.fake_probability,
            "reasons": list(row.analysis.reasons),
            "video_probability": row.analysis.modalities.video,
            "audio_probability": row.analysis.modalities.audio,
            "duration": row.analysis.media.duration,
            "sha256": row.analysis.media.sha256,
            "model_version": row.analysis.model.version,
            "analysis": row.analysis.model_dump_json(),
        }
    return flat
