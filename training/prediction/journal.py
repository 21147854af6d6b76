"""What a run of batch prediction has so far: a file that survives a kill, from which the next run goes on."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from aura_model.config import Config
from aura_model.errors import AuraError
from training.data.manifest import Sample
from training.locking import hold_alone
from training.prediction.model_facts import ModelFacts
from training.prediction.rows import PredictionRow

SUFFIX = ".partial"
MARK = b'{"format":"aura-predictions-'
"""How every journal begins."""
RESTART = "use --restart to begin anew"


class JournalError(AuraError):
    """The journal cannot be gone on with; `code` is journal_foreign, journal_locked or journal_unwritable."""


class JournalHeader(BaseModel):
    """The first line: predictions made by another model or with other settings do not go into one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["aura-predictions-1"] = "aura-predictions-1"
    model: str
    """`ModelInfo.version`"""
    settings: str
    """A hash of the settings that the predictions depend on."""

    @classmethod
    def of(cls, model: ModelFacts) -> "JournalHeader":
        """The header of a run with this model."""
        settings = json.dumps(_settings(model.config), sort_keys=True)
        return cls(model=model.info.version, settings=hashlib.sha256(settings.encode()).hexdigest())


class Journal:
    """The rows that are done, in a file; made by `open_journal`."""

    def __init__(self, file: BinaryIO, header: JournalHeader) -> None:
        self._file = file
        self._places: dict[str, tuple[int, str]] = {}
        if not self._resume(header):
            self._begin(header)

    def __len__(self) -> int:
        return len(self._places)

    def missing(self, samples: Iterable[Sample]) -> list[Sample]:
        """Those samples that have no row yet, or one of another path."""
        return [sample for sample in samples if not self._has(sample)]

    def add(self, row: PredictionRow) -> None:
        """Append a row; once this returns, a kill of the process does not lose it."""
        self._places[row.video_id] = (self._file.seek(0, 2), row.path)
        self._file.write(row.model_dump_json().encode() + b"\n")
        self._file.flush()

    def rows(self, samples: Sequence[Sample]) -> Iterator[PredictionRow]:
        """The rows of `samples`, in their order; the columns are those that a sample has now.

        Raises:
            KeyError: a sample has no row.
        """
        for sample in samples:
            self._file.seek(self._places[sample.video_id][0])
            row = PredictionRow.model_validate_json(self._file.readline())
            yield row.model_copy(update={"columns": sample.columns})

    def _has(self, sample: Sample) -> bool:
        return sample.video_id in self._places and self._places[sample.video_id][1] == sample.path

    def _resume(self, header: JournalHeader) -> bool:
        """Take in the file as far as it is whole, and cut off the rest; False where there is nothing to go on with."""
        self._file.seek(0)
        first = self._file.readline()
        if not (first.startswith(MARK) or MARK.startswith(first)):  # the latter: a torn first line, or none
            raise JournalError("journal_foreign", f"{self._file.name} is no journal of predictions; {RESTART}")
        end = self._file.tell()
        for line in self._file:
            row = _row(line)
            if row is None:
                break
            self._places[row.video_id] = (end, row.path)
            end += len(line)
        self._file.truncate(end)
        if self._places:
            _compare(first, header, str(self._file.name))
        return bool(self._places)

    def _begin(self, header: JournalHeader) -> None:
        self._file.truncate(0)
        self._file.seek(0)
        self._file.write(header.model_dump_json().encode() + b"\n")
        self._file.flush()


@contextmanager
def open_journal(output: Path, header: JournalHeader, *, restart: bool) -> Iterator[Journal]:
    """The journal of the file `output`, `{output}.partial`, which only one process may have open.

    A journal without rows is removed in the end.

    Args:
        output: the file that the journal becomes.
        header: of this run.
        restart: forget what is there.

    Raises:
        JournalError: it cannot be written, another process has it, or another model or other settings made it.
    """
    path = journal_path(output)
    with _opened(path) as file:
        hold_alone(file, JournalError("journal_locked", f"another run is writing {path}"))
        if restart:
            file.truncate(0)
        journal = Journal(file, header)
        try:
            yield journal
        finally:
            if not len(journal):
                path.unlink(missing_ok=True)


def journal_path(output: Path) -> Path:
    """Where the journal of the file `output` lies."""
    return output.with_name(output.name + SUFFIX)


def _opened(path: Path) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+b")
    except OSError as error:
        raise JournalError("journal_unwritable", f"cannot write {path}: {error.strerror}") from None


def _row(line: bytes) -> PredictionRow | None:
    """The row of a whole line; None for a torn one."""
    if not line.endswith(b"\n"):
        return None
    try:
        return PredictionRow.model_validate_json(line)
    except ValidationError:
        return None


def _compare(line: bytes, header: JournalHeader, path: str) -> None:
    try:
        found = JournalHeader.model_validate_json(line)
    except ValidationError:
        raise JournalError("journal_foreign", f"{path} is of another release; {RESTART}") from None
    if found.model != header.model:
        said = f"{path} holds predictions of the model {found.model}, and this one is {header.model}"
    elif found.settings != header.settings:
        said = f"{path} holds predictions that were made with other settings"
    else:
        return
    raise JournalError("journal_foreign", f"{said}; {RESTART}")


def _settings(config: Config) -> dict[str, object]:
    """What the analysis of a file depends on, beside the weights."""
    plain = config.plain()
    dataset = {name: plain["dataset"][name] for name in ("video", "face", "audio")}
    inference = {name: plain["inference"][name] for name in ("operating_point", "uncertain_band", "restoration")}
    return {"dataset": dataset, "limits": plain["limits"], "model": plain["model"], **inference}
