"""What an evaluation was of, so that a report can be traced and made again: checkpoint, data, versions."""

import hashlib
import json
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aura_model.config import Config

if TYPE_CHECKING:
    from aura_model.checkpoint import Checkpoint

RESULTS = "eval_results.json"
DEBUG_NAME = "debug.pth"
"""The file that a debug run writes."""
LIBRARIES = ("ray", "torch", "numpy", "scikit-learn")
MAX_BYTES = 256 * 1024**2

Text = Annotated[str, Field(max_length=4096)]


class CheckpointFacts(BaseModel):
    """The model that gave the scores."""

    model_config = ConfigDict(frozen=True)

    name: Text
    """Of the file."""
    sha256: Text
    epoch: int
    trained: bool
    debug: bool
    """Made by a run that only shows that everything works."""


class Provenance(BaseModel):
    """Where a table of scores comes from; no paths of the machine it was made on."""

    model_config = ConfigDict(frozen=True)

    checkpoint: CheckpointFacts | None = None
    """None where the table came alone."""
    data: Text | None = None
    """The name of the manifest or of the folder."""
    split: Text | None = None
    scored_at: Text | None = None
    """ISO 8601, UTC."""
    versions: dict[Text, Text] = {}
    table_sha256: Text
    """Of the table of scores."""


def describe_checkpoint(checkpoint: "Checkpoint", path: Path) -> CheckpointFacts:
    """The facts of a checkpoint that was read from `path`."""
    debug = path.name == DEBUG_NAME or checkpoint.metrics.get("debug") is True
    trained = checkpoint.epoch > 0
    return CheckpointFacts(
        name=_storable(path.name), sha256=checkpoint.sha256, epoch=checkpoint.epoch, trained=trained, debug=debug
    )


def provenance_of_run(checkpoint: CheckpointFacts, config: Config, split: str, table: Path) -> Provenance:
    """Of a table that was scored just now."""
    return Provenance(
        checkpoint=checkpoint,
        data=_storable((config.dataset.manifest or config.dataset.data_root).name),
        split=split,
        scored_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"aura": version("aura"), "python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
        table_sha256=digest_of(table),
    )


def provenance_of_table(table: Path, folders: Iterable[Path]) -> Provenance:
    """Of a table found on disk: what the results of an earlier evaluation in one of `folders` say of this very table.

    Raises:
        OSError: the table cannot be read.
    """
    digest = digest_of(table)
    for folder in folders:
        found = _stored(folder / RESULTS)
        if found and found.table_sha256 == digest:
            return found
    return Provenance(table_sha256=digest)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _storable(name: str) -> str:
    """The name of a file, with what UTF-8 cannot hold escaped."""
    return name.encode(errors="backslashreplace").decode()


def _stored(path: Path) -> Provenance | None:
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        return Provenance.model_validate(json.loads(path.read_text(encoding="utf-8"))["provenance"])
    except (OSError, ValueError, TypeError, LookupError, RecursionError, ValidationError):
        return None
