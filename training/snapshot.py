"""Ray Train's list of a run's checkpoints, which it rewrites in place: made anew where a kill left it torn."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from pyarrow.fs import FileSelector, FileSystem, FileType
from ray.train import Checkpoint

from aura_model.checkpoint import read_checkpoint
from aura_model.errors import CheckpointError
from aura_model.logging import get_logger
from training.data.locations import locate
from training.optim.monitor import Monitor
from training.worker.loop import SCORE

SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Its name in the run's folder, as `ray.train.v2._internal.constants` has it."""

Entry = dict[str, Any]
"""A checkpoint in that list: `checkpoint_dir_name` and the `metrics` that were reported with it."""


def mend_snapshot(storage: str, name: str, monitor: Monitor) -> None:
    """Make a torn list anew from the checkpoints that are whole; leave any other as it is.

    Args:
        storage: folder or URI under which Ray Train keeps the run `name`.
        name: of the run; one that is not there yet has no list.
        monitor: scores the checkpoints.

    Raises:
        OSError: the folder cannot be read or written.
    """
    system, root = locate(storage)
    place = f"{root.rstrip('/')}/{name}"
    if not _torn(system, f"{place}/{SNAPSHOT}"):
        return
    entries = list(_entries(system, place, monitor))
    with system.open_output_stream(f"{place}/{SNAPSHOT}") as file:
        file.write(json.dumps(_snapshot(entries)).encode())
    told = f"{SNAPSHOT} was torn; it is made anew of {len(entries)} checkpoints"
    get_logger(__name__).warning(told)


def _torn(system: FileSystem, path: str) -> bool:
    if system.get_file_info(path).type == FileType.NotFound:
        return False
    with system.open_input_stream(path) as file:
        try:
            json.loads(file.read())
        except ValueError:
            return True
    return False


def _entries(system: FileSystem, place: str, monitor: Monitor) -> Iterator[Entry]:
    """Each whole checkpoint; one that was being copied when the run was killed is passed over."""
    for info in system.get_file_info(FileSelector(place)):
        if info.base_name.startswith("checkpoint_") and info.type == FileType.Directory:
            with Checkpoint(info.path, system).as_directory() as folder, suppress(CheckpointError):
                for file in Path(folder).glob("*.pth"):
                    metrics = dict(read_checkpoint(file).metrics)
                    score = {SCORE: monitor.score(metrics)}
                    yield {"checkpoint_dir_name": info.base_name, "metrics": metrics | score}


def _snapshot(entries: list[Entry]) -> dict[str, Any]:
    """What Ray Train would have written: worst first, each with its place in the order of reports, one an epoch."""
    ranked = sorted(entries, key=lambda entry: (entry["metrics"][SCORE], entry["metrics"]["epoch"]))
    latest = max(ranked, key=lambda entry: entry["metrics"]["epoch"], default=None)
    nothing = ("pending_training_results", "pending_validation_specs", "validated_checkpoint_dir_names")
    failed = ("timed_out_validation_checkpoint_dir_names", "failed_validation_checkpoint_dir_names")
    return {
        "ray_version": ray.__version__,
        "checkpoint_results": ranked,
        "checkpoint_report_indices": [entry["metrics"]["epoch"] - 1 for entry in ranked],
        "latest_checkpoint_result": latest,
        "current_report_index": latest["metrics"]["epoch"] if latest else 0,
        **{key: [] for key in (*nothing, *failed)},
    }
