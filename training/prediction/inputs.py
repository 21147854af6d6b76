"""What batch prediction works on: a file, a folder or a manifest becomes a list of samples without labels."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from training.data.errors import DatasetError
from training.data.manifest import FRAMES, PREPROCESSED, Sample, is_uri, refuse_duplicates
from training.data.tables import cell_of, csv_rows, json_rows, text_of

NO_LABEL = -1
TEXTS = (".csv", ".html", ".json", ".jsonl", ".log", ".md", ".srt", ".tsv", ".txt", ".vtt", ".xml", ".yaml", ".yml")
SIDECARS = frozenset((*TEXTS, ".db", ".ini", ".md5", ".parquet", ".partial", ".sha256"))
"""Endings of files that lie beside videos and are none."""


def find_inputs(source: str) -> list[Sample]:
    """The samples that `source` names, in a fixed order.

    Args:
        source: a folder, of which each file is a video unless it is hidden or a sidecar; a manifest, that is a CSV or
            a JSON list with the column `path`, and `video_id` and others where wanted; or one file, or a URI.

    Raises:
        DatasetError: there is no such source, no video in it, or the manifest is not in the expected form.
    """
    samples = list(_samples(source))
    if not samples:
        raise DatasetError("dataset_missing", f"{source} holds no video")
    refuse_duplicates(samples)
    return samples


def _samples(source: str) -> Iterable[Sample]:
    path = Path(source)
    if is_uri(source):
        return [_sample(source, source)]
    if path.is_dir():
        return (_sample(_readable(str(file.relative_to(path))), str(file.absolute())) for file in _videos_below(path))
    if not path.is_file():
        raise DatasetError("dataset_missing", f"there is no file or folder {source}")
    if path.suffix.lower() in (".csv", ".json"):
        return _manifest(path)
    return [_sample(_readable(path.name), str(path.absolute()))]


def _videos_below(root: Path) -> Iterator[Path]:
    """The files that may be videos, in order of their paths; a folder with nothing but extracted frames is one too."""
    found, seen = list[Path](), set[tuple[int, int]]()
    for folder, inner, files in os.walk(root, onerror=_refuse, followlinks=True):
        if _is_known(Path(folder), seen):  # a link to a folder above, or a second one
            inner.clear()
            continue
        videos = [Path(folder, name) for name in files if _may_be_video(Path(folder, name))]
        if not videos and Path(folder, FRAMES).is_dir():
            videos = [Path(folder)]
        inner[:] = [name for name in inner if not name.startswith(".") and name not in (PREPROCESSED, "__MACOSX")]
        found += videos
    return iter(sorted(found))


def _is_known(folder: Path, seen: set[tuple[int, int]]) -> bool:
    """Whether a folder was seen before, by whatever name; it is from now on."""
    status = folder.stat()
    known = (status.st_dev, status.st_ino) in seen
    seen.add((status.st_dev, status.st_ino))
    return known


def _refuse(error: OSError) -> None:
    raise DatasetError("dataset_missing", f"cannot read {error.filename}: {error.strerror}") from None


def _may_be_video(file: Path) -> bool:
    return not file.name.startswith(".") and file.suffix.lower() not in SIDECARS and file.is_file()


def _manifest(path: Path) -> Iterator[Sample]:
    read = csv_rows if path.suffix.lower() == ".csv" else json_rows
    for where, row in read(path, ["path"]):
        yield _manifest_sample(where, row, path.absolute().parent)


def _manifest_sample(where: str, row: Mapping[str, Any], beside: Path) -> Sample:
    path = cell_of(row, "path", where)
    others = {name: text_of(value, name, where) for name, value in row.items() if name}
    video_id = others.pop("video_id", "") or path
    del others["path"]
    return _sample(video_id, path if is_uri(path) else str(beside / path), others)


def _sample(video_id: str, path: str, columns: Mapping[str, str] | None = None) -> Sample:
    kept = {_readable(name): _readable(text) for name, text in (columns or {}).items() if text}
    return Sample(_readable(video_id), NO_LABEL, "test", _readable(path), kept)


def _readable(text: str) -> str:
    """Text that UTF-8 can hold: a name in another code becomes one that no file has, which the result then says."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
