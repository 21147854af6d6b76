"""The table of scores that an evaluation leaves: a CSV with one row a clip, written whole and read with suspicion."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aura_model.atomic import replacing
from aura_model.config import Finite, NonNegative
from aura_model.errors import AuraError
from training.data.splits import Split

COLUMNS = (
    "video_id",
    "label",
    "split",
    "path",
    "clip",
    "track_id",
    "start",
    "end",
    "logit",
    "video_logit",
    "audio_logit",
    "error",
    "detail",
)
PREFIX = "column:"
"""In front of the names of the manifest's own columns."""
TEMPORARY = ".scores-"
MAX_BYTES = 2 * 1024**3
MAX_ROWS = 5_000_000
MAX_COLUMNS = 500


class ScoreTableError(AuraError):
    """The table cannot be used; `code` is table_missing or table_invalid, `detail` names the line."""


class ClipLine(BaseModel):
    """The scores of one clip, as log-odds of fake."""

    model_config = ConfigDict(frozen=True)

    clip: Annotated[int, Field(ge=0)]
    """Its index in the video."""
    track_id: Annotated[int, Field(ge=0)] | None = None
    """The face; None where only the sound was judged."""
    start: NonNegative
    """Seconds from the start of the media."""
    end: NonNegative
    logit: Finite
    video_logit: Finite | None = None
    """By the pictures alone."""
    audio_logit: Finite | None = None
    """By the sound alone."""


@dataclass(frozen=True)
class VideoLines:
    """One labelled video: its clips, or why there are none."""

    video_id: str
    label: int
    """0 = real, 1 = fake."""
    split: str
    path: str
    columns: Mapping[str, str] = field(default_factory=dict)
    """What else the manifest says of it; no entry is empty."""
    clips: tuple[ClipLine, ...] = ()
    error: str = ""
    """Why the video has no scores; empty where it has."""
    detail: str = ""

    @property
    def cluster(self) -> tuple[str, str]:
        """What the video is an independent sample of: its identity where that is known, else itself."""
        identity = self.columns.get("identity")
        return ("identity", identity) if identity else ("video", self.video_id)


def write_scores(path: Path, videos: Sequence[VideoLines]) -> None:
    """Write the table whole or not at all; what UTF-8 cannot hold is escaped.

    Raises:
        OSError: it cannot be written.
    """
    names = list(dict.fromkeys(name for video in videos for name in video.columns))
    header = [*COLUMNS, *(f"{PREFIX}{name}" for name in names)]
    with replacing(path, TEMPORARY) as binary:
        text = io.TextIOWrapper(binary, "utf-8", errors="backslashreplace", newline="", write_through=True)
        writer = csv.writer(text)
        writer.writerow(header)
        writer.writerows(row for video in videos for row in _rows(video, names))
        text.detach()


def read_scores(path: Path) -> list[VideoLines]:
    """The videos of a table, in the order of their first rows.

    Raises:
        ScoreTableError: the file is missing, too large, or not such a table.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.stat().st_size > MAX_BYTES:
                raise ScoreTableError("table_invalid", f"{path} is larger than {MAX_BYTES} bytes")
            return _gather(path, csv.DictReader(file, strict=True))
    except OSError as error:
        raise ScoreTableError("table_missing", f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ScoreTableError("table_invalid", f"{path} is not UTF-8 text") from None


class _Line(BaseModel):
    """What a row says of its video, and that it is either scored or says why not."""

    model_config = ConfigDict(extra="allow")

    video_id: Annotated[str, Field(min_length=1)]
    label: Annotated[int, Field(ge=0, le=1)]
    split: Split
    path: str = ""
    error: str = ""
    detail: str = ""
    clip: ClipLine | None = None

    @model_validator(mode="before")
    @classmethod
    def _nested(cls, row: Any) -> Any:
        """Empty cells are missing; those of the clip go together."""
        if None in row or None in row.values():
            raise ValueError("not as many cells as the header has")
        given = {name: value for name, value in row.items() if value}
        numbers = {name: given.pop(name) for name in ClipLine.model_fields if name in given}
        return given | {"clip": numbers} if numbers or "error" not in given else given

    @model_validator(mode="after")
    def _consistent(self) -> "_Line":
        if self.error and self.clip:
            raise ValueError("a row has either numbers or an error")
        if self.clip and self.clip.end < self.clip.start:
            raise ValueError("a clip ends before it starts")
        return self

    @property
    def video(self) -> VideoLines:
        """The video without its clips."""
        columns = {name.removeprefix(PREFIX): str(value) for name, value in (self.model_extra or {}).items()}
        return VideoLines(self.video_id, self.label, self.split, self.path, columns, (), self.error, self.detail)


def _rows(video: VideoLines, names: Sequence[str]) -> Iterator[list[object]]:
    first = [video.video_id, video.label, video.split, video.path]
    last = [video.error, video.detail, *(video.columns.get(name, "") for name in names)]
    for clip in video.clips:
        yield [*first, *clip.model_dump().values(), *last]
    if not video.clips:
        yield [*first, *[""] * len(ClipLine.model_fields), *last]


def _gather(path: Path, reader: "csv.DictReader[str]") -> list[VideoLines]:
    videos: dict[str, VideoLines] = {}
    clips: dict[str, dict[int, ClipLine]] = {}
    try:
        _check_header(path, reader.fieldnames or ())
        for number, row in enumerate(reader):
            if number == MAX_ROWS:
                raise ScoreTableError("table_invalid", f"{path} has more than {MAX_ROWS} rows")
            _add(_Line.model_validate(row), videos, clips)
    except ValidationError as error:
        first = error.errors()[0]
        cell = ".".join(str(part) for part in first["loc"])
        raise _fault(path, reader, f"{cell}: {first['msg']}".removeprefix(": Value error, ")) from None
    except UnicodeDecodeError:
        raise
    except (csv.Error, ValueError) as error:
        raise _fault(path, reader, str(error)) from None
    return [_joined(video, clips[video_id]) for video_id, video in videos.items()]


def _check_header(path: Path, header: Sequence[str]) -> None:
    missing = [name for name in COLUMNS if name not in header]
    strange = [name for name in header if name not in COLUMNS and not name.startswith(PREFIX)]
    if missing or strange or len(header) > MAX_COLUMNS or len(set(header)) < len(header):
        what = (
            f"lacks {', '.join(missing)}"
            if missing
            else f"has strange, double or too many columns {strange[:5]!r:.200}"
        )
        raise ScoreTableError("table_invalid", f"{path} is no table of scores: its header {what}")


def _add(line: _Line, videos: dict[str, VideoLines], clips: dict[str, dict[int, ClipLine]]) -> None:
    video = line.video
    if videos.setdefault(video.video_id, video) != video:
        raise ValueError(f"the rows of {video.video_id!r:.80} differ in more than the clip")
    found = clips.setdefault(video.video_id, {})
    if line.clip is None:
        return
    if line.clip.clip in found:
        raise ValueError(f"{video.video_id!r:.80} has clip {line.clip.clip} twice")
    found[line.clip.clip] = line.clip


def _joined(video: VideoLines, clips: Mapping[int, ClipLine]) -> VideoLines:
    ordered = tuple(clips[number] for number in sorted(clips))
    return VideoLines(
        video.video_id, video.label, video.split, video.path, video.columns, ordered, video.error, video.detail
    )


def _fault(path: Path, reader: "csv.DictReader[str]", what: str) -> ScoreTableError:
    return ScoreTableError("table_invalid", f"{path}, line {reader.line_num}: {what}")
