"""Lists of odd media files with what a service is expected to answer, in the forms in which people keep them."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("manifest.csv", "manifest.tsv", "manifest.json", "manifest.jsonl")
FILE_COLUMNS = ("file", "path", "filename", "name", "video")
EXPECTED_COLUMNS = ("expected", "expect", "expected_outcome", "outcome", "expected_status", "status")
CODE_COLUMNS = ("expected_code", "code")


@dataclass(frozen=True)
class Expected:
    """One acceptable answer."""

    status: str | None
    """Three digits, of which any may be an x; None: any status."""
    word: str | None
    """A code of a problem, a verdict or a reason; None: any."""

    def matches(self, status: int, words: set[str]) -> bool:
        """Whether an answer with this status and these words is the expected one."""
        fits = self.status is None or bool(re.fullmatch(self.status.replace("x", "[0-9]"), str(status)))
        return fits and (self.word is None or self.word in words)


@dataclass(frozen=True)
class Entry:
    """One file of a manifest."""

    file: str
    """As the manifest names it: relative to its folder."""
    path: Path
    text: str
    """What is expected, as the manifest says it; empty: nothing is known."""

    def agrees(self, status: int, words: set[str]) -> bool | None:
        """Whether an answer is among the expected ones; None where nothing is known."""
        expected = parse_expected(self.text)
        return any(one.matches(status, words) for one in expected) if expected else None


def read_manifest(folder: Path, manifest: Path | None = None) -> list[Entry]:
    """The entries of a folder's manifest, each file once; all files where it has none.

    Raises:
        ValueError: a row names no file.
    """
    found = manifest or next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if found is None:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return [Entry(str(path.relative_to(folder)), path, "") for path in files]
    entries = {file: Entry(file, folder / file, text) for file, text in map(_read_row, _rows(found))}
    return list(entries.values())


def parse_expected(text: str) -> list[Expected]:
    """What `200`, `422 corrupt_video`, `200|422 no_video_stream`, `4xx`, `ok` or `no_video_stream` means."""
    return [_parse_one(part) for part in re.split(r"\||/|,|;|\bor\b", text.lower()) if part.strip()]


def _parse_one(text: str) -> Expected:
    status = re.search(r"\b[1-5][0-9x]{2}\b", text) or re.search(r"\bok\b", text)
    word = re.search(r"\b[a-z][a-z_]{2,}\b", text.replace("ok", "") if status else text)
    digits = status.group() if status else None
    return Expected("200" if digits == "ok" else digits, word.group() if word else None)


def _rows(manifest: Path) -> Iterator[Mapping[str, Any]]:
    text = manifest.read_text(encoding="utf-8-sig", errors="surrogateescape")
    match manifest.suffix:
        case ".json":
            yield from _json_rows(json.loads(text))
        case ".jsonl":
            yield from (json.loads(line) for line in text.splitlines() if line.strip())
        case ".tsv":
            yield from csv.DictReader(io.StringIO(text, newline=""), delimiter="\t")
        case _:
            yield from csv.DictReader(io.StringIO(text, newline=""))


def _json_rows(content: Any) -> Iterator[Mapping[str, Any]]:
    """A list of rows, the same below a key, or a mapping from file to row or to what is expected."""
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        if len(lists) == 1 and all(isinstance(row, dict) for row in lists[0]):
            yield from lists[0]
            return
        for file, value in content.items():
            yield {"file": file, **value} if isinstance(value, dict) else {"file": file, "expected": value}
        return
    yield from content


def _read_row(row: Mapping[str, Any]) -> tuple[str, str]:
    fields = {str(name).strip().lower(): value for name, value in row.items() if value is not None}
    file = next((str(fields[name]) for name in FILE_COLUMNS if fields.get(name)), None)
    if file is None:
        raise ValueError(f"a row of the manifest names no file: {dict(row)}")
    expected = next((_text(fields[name]) for name in EXPECTED_COLUMNS if name in fields), "")
    code = next((str(fields[name]) for name in CODE_COLUMNS if name in fields), "")
    return file, f"{expected} {code}".strip()


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "|".join(map(_text, value))
    if isinstance(value, dict):
        return " ".join(str(part) for part in (value.get("status"), value.get("code")) if part is not None)
    return str(value)
