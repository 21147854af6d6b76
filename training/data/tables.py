"""Tables of outside data, CSV and JSON: read within bounds, with errors that name the row."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from training.data.errors import DatasetError

MAX_MANIFEST_BYTES = 1024**3


def cell_of(row: Mapping[str, Any], column: str, where: str) -> str:
    """A column that must be there, as text.

    Raises:
        DatasetError: manifest_invalid, at `where`.
    """
    value = row.get(column)
    if isinstance(value, bool | list | dict) or (isinstance(value, float) and not value.is_integer()):
        raise DatasetError("manifest_invalid", f"{where}: the column {column} is neither a text nor a whole number")
    text = "" if value is None else str(int(value) if isinstance(value, float) else value).strip()
    if not text:
        raise DatasetError("manifest_invalid", f"{where}: the column {column} is missing or empty")
    return text


def text_of(value: object, column: str, where: str) -> str:
    """A further column as text; empty where there is nothing.

    Raises:
        DatasetError: manifest_invalid, at `where`: a list or an object.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list | dict):
        raise DatasetError("manifest_invalid", f"{where}: the column {column} is neither a text nor a number")
    return "" if value is None else json.dumps(value)


@contextmanager
def _opened(path: Path, limit: int, code: str = "dataset_missing") -> Iterator[TextIO]:
    """A text file of at most `limit` bytes."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.stat().st_size > limit:
                raise DatasetError("manifest_invalid", f"{path} is larger than {limit} bytes")
            yield file
    except OSError as error:
        raise DatasetError(code, f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DatasetError("manifest_invalid", f"{path} is not UTF-8 text") from None


def read_text(path: Path, limit: int, code: str = "dataset_missing") -> str:
    """A whole text file of at most `limit` bytes.

    Raises:
        DatasetError: `code` where it cannot be read, else manifest_invalid.
    """
    with _opened(path, limit, code) as file:
        return file.read()


def csv_rows(path: Path, required: Iterable[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a CSV by the names in its header, each with the place where it stands; read as they are asked for.

    Raises:
        DatasetError: dataset_missing, manifest_invalid.
    """
    with _opened(path, MAX_MANIFEST_BYTES) as file:
        reader = csv.reader(file, strict=True)
        try:
            header = _header(path, next(reader, []), required)
            for cells in reader:
                where = f"{path}, line {reader.line_num}"
                if any(cells[len(header) :]):
                    raise DatasetError("manifest_invalid", f"{where} has {len(cells)} cells, the header {len(header)}")
                if any(cell.strip() for cell in cells):  # spreadsheets leave rows of nothing but commas
                    yield where, dict(zip(header, cells, strict=False))
        except csv.Error as error:
            raise DatasetError("manifest_invalid", f"{path}, line {reader.line_num}: {error}") from None


def _header(path: Path, cells: Iterable[str], required: Iterable[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    missing = [column for column in required if column not in names]
    if missing:
        raise DatasetError("manifest_invalid", f"{path}: the header lacks {', '.join(missing)}")
    twice = [name for name, count in Counter(filter(None, names)).items() if count > 1]
    if twice:
        raise DatasetError("manifest_invalid", f"{path}: the header names {twice[0]} twice")
    return names


def json_rows(path: Path, _required: Iterable[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of a JSON list, each with the place where it stands; see `csv_rows`."""
    content = parse_json(path, read_text(path, MAX_MANIFEST_BYTES))
    if not isinstance(content, list):
        raise DatasetError("manifest_invalid", f"{path} must hold a list of objects")
    for number, row in enumerate(content, start=1):
        if not isinstance(row, dict):
            raise DatasetError("manifest_invalid", f"{path}, entry {number} is not an object")
        yield f"{path}, entry {number}", row


def parse_json(path: Path, text: str) -> object:
    """What the JSON `text` of the file at `path` holds.

    Raises:
        DatasetError: manifest_invalid.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError("manifest_invalid", f"{path} is not JSON: {error}") from None
