"""Scores of clips as lines of JSON: a run that was interrupted goes on from them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Record:
    """One clip under one condition."""

    person: str
    """Whom it shows: samples of one person are alike."""
    pair: str
    """Of which pair, or which video."""
    family: str
    view: str
    """The condition, such as `clean` or `blur:3`."""
    label: int
    """1 is fake, or the edited one of two real clips."""
    log_odds: float | None = None
    """Of fake, calibrated; None where only statistics were taken."""
    iou: float | None = None
    """Overlap of the heat-map with the true mask."""
    statistics: tuple[float, ...] = ()


class RecordFile:
    """A file of records: a first line that says how they were made, then one line a person."""

    def __init__(self, path: Path, made: Mapping[str, Any]) -> None:
        """Open or begin `path`.

        Raises:
            ValueError: the file holds records that were made otherwise.
        """
        self._path = path
        self.done: dict[str, list[Record]] = {}
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(made) + "\n")
            return
        first, *rest = path.read_text().split("\n")
        if json.loads(first) != json.loads(json.dumps(made)):
            raise ValueError(f"{path} holds scores that were made otherwise; remove it, or name another file")
        for line in rest[:-1]:  # what was not written to its end has no line end
            task, records = json.loads(line)
            self.done[task] = [_record(one) for one in records]
        whole = "\n".join([first, *rest[:-1], ""])
        if whole != path.read_text():
            path.write_text(whole)

    def add(self, task: str, records: Iterable[Record]) -> None:
        """Keep the records of a task."""
        kept = list(records)
        with self._path.open("a") as file:
            file.write(json.dumps([task, [asdict(one) for one in kept]]) + "\n")
        self.done[task] = kept

    @property
    def records(self) -> list[Record]:
        """Of all tasks, in an order that does not depend on which one came first."""
        return [record for task in sorted(self.done) for record in self.done[task]]


def _record(values: Mapping[str, Any]) -> Record:
    return Record(**{**values, "statistics": tuple(values["statistics"])})
