import os
import signal
from pathlib import Path
from typing import Any

import pytest
from ray.train import Checkpoint, ControllerError, Result, WorkerGroupError

from aura_model.errors import ConfigError
from training.run import _cause, _export, _uninterrupted
from training.tally import TrainingError


def kept(folder: Path, epoch: int, auc: float | None) -> tuple[Checkpoint, dict[str, Any]]:
    path = folder / f"checkpoint_{epoch}"
    path.mkdir()
    (path / f"multimodal_v1_epoch{epoch}.pth").write_bytes(f"weights of epoch {epoch}".encode())
    return Checkpoint.from_directory(path), {"epoch": epoch, "val_auc": auc}


@pytest.mark.parametrize(
    ("aucs", "best", "name"),
    [
        ([0.7, 0.91234, 0.8], 2, "multimodal_best_0.9123.pth"),
        ([0.9, 0.9, 0.8], 2, "multimodal_best_0.9000.pth"),
        ([None, 0.1], 2, "multimodal_best_0.1000.pth"),
        ([None, None], 2, "multimodal_best_nan.pth"),
    ],
)
def test_the_best_checkpoint_is_written_as_one_file(
    tmp_path: Path, aucs: list[float | None], best: int, name: str
) -> None:
    checkpoints = [kept(tmp_path, epoch, auc) for epoch, auc in enumerate(aucs, start=1)]
    result = Result(metrics={}, checkpoint=None, error=None, path="", best_checkpoints=checkpoints)  # type: ignore[call-arg]
    outcome = _export(result, tmp_path / "out", None)
    assert outcome.checkpoint == tmp_path / "out" / name
    assert outcome.checkpoint.read_bytes() == f"weights of epoch {best}".encode()
    assert outcome.metrics["epoch"] == best
    named = _export(result, tmp_path / "out", tmp_path / "out" / "debug.pth")
    assert named.checkpoint.read_bytes() == f"weights of epoch {best}".encode()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (WorkerGroupError("", {1: TrainingError("no_clips", "no step")}), "no_clips", "no step"),
        (WorkerGroupError("", {2: ConfigError("no such backbone")}), "invalid_config", "no such backbone"),
        (WorkerGroupError("", {1: ValueError("boom"), 0: KeyError("x")}), "failed", "worker 0: KeyError: 'x'"),
        (WorkerGroupError("all gone", {}), "failed", "all gone"),
        (ControllerError(TimeoutError("no room")), "failed", "could not run the workers: no room"),
    ],
)
def test_a_failed_run_is_told_in_a_sentence(error: Any, code: str, said: str) -> None:
    cause = _cause(error)
    assert cause.code == code
    assert said in cause.detail


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    handler, reached = signal.getsignal(signal.SIGINT), []

    def interrupted() -> None:
        with _uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("end")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached == ["end"]
    assert signal.getsignal(signal.SIGINT) is handler
