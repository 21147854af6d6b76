"""What a run leaves on disk as it goes: a JSON line an epoch, and a table of the videos it could not use."""

import csv
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aura_model.atomic import replacing
from aura_model.plain import finite, to_plain
from training.watch.listeners import Event

SKIP_FIELDS = ("video_id", "path", "split", "code", "detail")
SKIPS_PERIOD = 5.0
"""Seconds between two writes of the table of skipped videos, at least."""

_FORMULA = tuple("=+-@\t\r")

Epoch = dict[str, Any]


class EpochsFile:
    """`epochs.jsonl`: the figures of each epoch, one JSON object a line, in order.

    An epoch that comes again, after a failure or a resume, replaces its line and drops the later ones. The file is
    replaced as a whole, so that a killed process leaves no torn line; a line that is not an epoch's is dropped.
    """

    def __init__(self, path: Path) -> None:
        """Go on from the file at `path`, where there is one.

        Raises:
            OSError: it cannot be read.
        """
        self._path = path
        self._epochs = list(_read_epochs(path))

    @property
    def epochs(self) -> tuple[Mapping[str, Any], ...]:
        """The epochs so far, in order."""
        return tuple(self._epochs)

    def hear(self, event: Event) -> None:
        """Write an epoch down."""
        if event["kind"] != "epoch":
            return
        figures = {name: value for name, value in event.items() if name != "kind"}
        self._epochs = [one for one in self._epochs if one["epoch"] < event["epoch"]] + [finite(to_plain(figures))]
        with replacing(self._path, ".epochs-") as file:
            file.writelines(json.dumps(one, allow_nan=False).encode() + b"\n" for one in self._epochs)

    def close(self) -> None:
        """All is written already."""


def _read_epochs(path: Path) -> Iterator[Epoch]:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    for line in lines:
        try:
            epoch = json.loads(line)
        except ValueError:
            continue
        if isinstance(epoch, dict) and isinstance(epoch.get("epoch"), int):
            yield epoch


class SkipsFile:
    r"""`skipped.csv`: each video that a run could not use, once a split, sorted by split and video.

    Columns: video_id, path, split, code, detail. A video that is skipped again keeps one row, with the later reason;
    one that is read well later keeps its row too. The file is UTF-8; what that cannot hold is written as a `\x` escape.

    Spreadsheets run cells that begin like a formula. A cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage
    return, or with apostrophes before one of these, gets an apostrophe in front: take one off to have the text back.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Go on from the file at `path`, where there is one; `clock` gives seconds.

        Raises:
            OSError: it cannot be read.
        """
        self._path, self._clock = path, clock
        self._rows = {(row["split"], row["video_id"]): row for row in _read_skips(path)}
        self._changed, self._written = not path.exists(), float("-inf")

    def hear(self, event: Event) -> None:
        """Take note of a skipped video; any event lets the file be written, where that is due."""
        if event["kind"] == "skip":
            row = {name: _storable(event[name]) for name in SKIP_FIELDS}
            key = row["split"], row["video_id"]
            self._changed |= self._rows.get(key) != row
            self._rows[key] = row
        if self._clock() - self._written >= SKIPS_PERIOD:
            self._write()

    def close(self) -> None:
        """Write what is not written yet; a run that skipped nothing leaves the header."""
        self._write()

    def _write(self) -> None:
        if not self._changed:
            return
        with replacing(self._path, ".skipped-") as file:
            file.write(_table(row for _, row in sorted(self._rows.items())).encode())
        self._changed, self._written = False, self._clock()


def _read_skips(path: Path) -> Iterator[dict[str, str]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="backslashreplace", newline="") as file:
        for row in csv.DictReader(file):
            if all(row.get(name) is not None for name in SKIP_FIELDS):
                yield {name: _bare(row[name]) for name in SKIP_FIELDS}


def _table(rows: Iterable[Mapping[str, str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, SKIP_FIELDS)
    writer.writeheader()
    writer.writerows({name: _guarded(cell) for name, cell in row.items()} for row in rows)
    return text.getvalue()


def _storable(value: object) -> str:
    """Text that UTF-8 can hold: names of files may hold any bytes."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _guarded(cell: str) -> str:
    return f"'{cell}" if cell.lstrip("'").startswith(_FORMULA) else cell


def _bare(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell
