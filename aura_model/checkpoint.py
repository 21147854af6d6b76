"""Checkpoints: one file of plain types that rebuilds the model, written whole, read without running code."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from aura_model.atomic import replacing
from aura_model.calibration import Calibration, OperatingPoints
from aura_model.config import PACKAGED_CHECKPOINT, Config
from aura_model.errors import CheckpointError
from aura_model.plain import to_plain
from aura_model.torch_archive import load_archive

Fitted = TypeVar("Fitted", Calibration, OperatingPoints)

FORMAT = "aura-checkpoint"
FORMAT_VERSION = 1
TEMPORARY = ".ckpt-"
"""How the temporary file of a checkpoint that is being written begins."""
DIGEST = ".sha256"
"""Ending of a file that may lie beside a checkpoint, with the digest that it must have, as `sha256sum` writes it."""
REQUIRED = (
    "model_state_dict",
    "config",
    "epoch",
    "metrics",
    "optimizer_state_dict",
    "scheduler_state_dict",
)
"""Keys that every checkpoint has; the last two may hold None."""
OPTIONAL = ("training_state_dict",)
"""Keys that may be missing or hold None, besides the calibration and the operating points."""
NOT_PACKAGED = (
    "; this copy of the package holds no weights: set inference.checkpoint to a file of yours, "
    "or to null for an untrained model"
)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint file holds, all tensors on the CPU."""

    path: Path
    model_state_dict: Mapping[str, Tensor]
    config: Mapping[str, Any]
    """`Config.plain()` of the run that wrote it."""
    epoch: int
    metrics: Mapping[str, Any]
    optimizer_state_dict: Mapping[str, Any] | None
    scheduler_state_dict: Mapping[str, Any] | None
    operating_points: OperatingPoints | None
    """None unless it is calibrated."""
    calibration: Calibration | None
    training_state_dict: Mapping[str, Any] | None
    """What an exact resume needs besides, see `training.optim.learner`; None in a file that is only served."""
    sha256: str
    """Of the file, hexadecimal."""


def checkpoint_name(epoch: int, auc: float | None, best: bool = False) -> str:
    """The file name of a checkpoint: `multimodal_v1_epoch{N}_{AUC:.4f}.pth`, or `multimodal_best_{AUC:.4f}.pth`.

    Where the AUC is None, undefined, they are `multimodal_v1_epoch{N}.pth` and `multimodal_best_epoch{N}.pth`.
    """
    number, figure = f"epoch{epoch}", None if auc is None else f"{auc:.4f}"
    parts = ("best", figure or number) if best else ("v1", number, figure)
    return f"{'_'.join(filter(None, ('multimodal', *parts)))}.pth"


def save_checkpoint(
    path: Path,
    model: nn.Module,
    config: Config,
    epoch: int,
    metrics: Mapping[str, Any],
    *,
    optimizer: Optimizer | None = None,
    scheduler: LRScheduler | None = None,
    operating_points: OperatingPoints | None = None,
    calibration: Calibration | None = None,
    training_state: Mapping[str, Any] | None = None,
) -> None:
    """Write one file that is whole or not there, after reading it back as `read_checkpoint` would.

    Raises:
        TypeError: something in there is not plain data; the text names its key.
    """
    plain_model = model.module if isinstance(model, DistributedDataParallel) else model
    content = {
        "model_state_dict": plain_model.state_dict(),
        "config": config.plain(),
        "epoch": epoch,
        "metrics": metrics,
        "optimizer_state_dict": optimizer.state_dict() if optimizer else None,
        "scheduler_state_dict": scheduler.state_dict() if scheduler else None,
        **_plain(calibration, operating_points),
        "training_state_dict": training_state,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
    }
    write_content(path, to_plain(content, keep=(Tensor,)))


def strip_training(source: Path, target: Path) -> None:
    """Write the checkpoint `source` to `target` without what only a resume needs: a third of the size or less.

    Raises:
        CheckpointError: see `read_checkpoint`.
    """
    write_content(target, served_content(read_checkpoint(source)))


def served_content(checkpoint: Checkpoint) -> dict[str, Any]:
    """All that a file of this checkpoint holds, without what only a resume needs."""
    without = {"optimizer_state_dict": None, "scheduler_state_dict": None, "training_state_dict": None}
    return _content(checkpoint) | without


def save_calibrated(
    path: Path, checkpoint: Checkpoint, calibration: Calibration, operating_points: OperatingPoints
) -> None:
    """Write the checkpoint with this calibration and these operating points in place of its own; all else stays."""
    write_content(path, _content(checkpoint) | _plain(calibration, operating_points))


def _content(checkpoint: Checkpoint) -> dict[str, Any]:
    content = {key: getattr(checkpoint, key) for key in (*REQUIRED, *OPTIONAL)}
    content |= _plain(checkpoint.calibration, checkpoint.operating_points)
    return content | {"format": FORMAT, "format_version": FORMAT_VERSION}


def write_content(path: Path, content: Mapping[str, Any], most_bytes: int | None = None) -> None:
    """Write the content of a checkpoint file, whole or not at all, after reading it back as `read_checkpoint` would.

    Raises:
        CheckpointError: checkpoint_too_large: the file would have more than `most_bytes`.
    """
    with replacing(path, TEMPORARY) as file:
        torch.save(content, file)
        if most_bytes is not None and (size := file.tell()) > most_bytes:
            detail = f"{path} would have {size:,} bytes; at most {most_bytes:,} are allowed"
            raise CheckpointError("checkpoint_too_large", detail)
        file.seek(0)
        torch.load(file, map_location="cpu", weights_only=True)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in the file is executed. Weights that were stored as float16 come as float32.

    Raises:
        CheckpointError: checkpoint_missing: no such file, or not readable; checkpoint_damaged: empty, cut short,
            overwritten, not what it says, or not what a `.sha256` file beside it says; checkpoint_foreign: a sound
            file that is not Aura's, or one that asks for code to be run.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            _compare_digest(path, digest)
            content = load_archive(file)
        return _checked(path, content, digest)
    except OSError as error:
        advice = NOT_PACKAGED if path == PACKAGED_CHECKPOINT else ""
        raise CheckpointError("checkpoint_missing", f"cannot read {path}: {error.strerror}{advice}") from None
    except CheckpointError as error:
        raise CheckpointError(error.code, f"{path}: {error.detail}") from error.__cause__


def _compare_digest(path: Path, digest: str) -> None:
    beside = path.with_name(path.name + DIGEST)
    if not beside.exists():
        return
    with beside.open("rb") as file:
        expected = file.read(len(digest)).decode("ascii", "replace").lower()
    if expected != digest:
        raise CheckpointError("checkpoint_damaged", f"its SHA-256 is {digest}, and not what {beside.name} says")


def _checked(path: Path, content: object, digest: str) -> Checkpoint:
    if not isinstance(content, Mapping) or any(key not in content for key in REQUIRED):
        raise CheckpointError("checkpoint_foreign", f"a torch file without the keys {', '.join(REQUIRED)}")
    if content.get("format", FORMAT) != FORMAT or content.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        raise CheckpointError("checkpoint_foreign", "made by another program or a newer version of Aura")
    if not _is_well_formed(content):
        raise CheckpointError("checkpoint_foreign", "its keys do not hold what a checkpoint of Aura holds")
    fault = "calibration is not a scale above zero and a bias"
    calibration = _fitted(Calibration, content.get("calibration"), fault)
    fault = "operating points are not three bands, ever more careful, with the rates measured at them"
    points = _fitted(OperatingPoints, content.get("operating_points"), fault)
    if points and not calibration:
        raise CheckpointError("checkpoint_foreign", "its operating points go with no calibration")
    fields = {key: content[key] for key in REQUIRED}
    fields["model_state_dict"] = {name: _widened(value) for name, value in fields["model_state_dict"].items()}
    fields |= {key: content.get(key) for key in OPTIONAL}
    return Checkpoint(path, **fields, calibration=calibration, operating_points=points, sha256=digest)


def _plain(calibration: Calibration | None, points: OperatingPoints | None) -> dict[str, Any]:
    return {
        "calibration": calibration.model_dump() if calibration else None,
        "operating_points": points.model_dump(mode="json") if points else None,
    }


def _fitted(kind: type[Fitted], stored: object, fault: str) -> Fitted | None:
    """A part that is fitted after the training; None where the checkpoint has none."""
    try:
        return None if stored is None else kind.model_validate(stored)
    except ValidationError:
        raise CheckpointError("checkpoint_foreign", f"its {fault}") from None


def _widened(value: Tensor) -> Tensor:
    return value.float() if value.dtype == torch.float16 else value


def _is_well_formed(content: Mapping[str, Any]) -> bool:
    weights = content["model_state_dict"]
    optional = [content.get(key) for key in ("optimizer_state_dict", "scheduler_state_dict", *OPTIONAL)]
    return (
        isinstance(weights, Mapping)
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items())
        and isinstance(content["config"], Mapping)
        and isinstance(content["metrics"], Mapping)
        and type(content["epoch"]) is int
        and all(state is None or isinstance(state, Mapping) for state in optional)
    )
