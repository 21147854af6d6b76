import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray.train import Checkpoint, ControllerError, Result, WorkerGroupError

from aura_model.config import Config
from aura_model.errors import ConfigError
from training import run
from training.dataset import UnequalShares
from training.manifest import Sample
from training.plan import ExtractorPlan
from training.run import _cause, _export, _uninterrupted
from training.tally import TrainingError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")  # Ray Data's own settings

METRICS: dict[str, Any] = {
    "loss": 0.5,
    "clips_per_second": 1.0,
    "data_wait_share": 0.1,
    "skipped": [{"video_id": "a", "path": "a.mp4", "code": "empty_file", "detail": "no bytes"}],
    "val_skipped": [],
}


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


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> list[ExtractorPlan]:
    """What Ray Data was configured with; its context would outlive the test."""
    plans: list[ExtractorPlan] = []
    monkeypatch.setattr(run, "configure_ray_data", plans.append)
    return plans


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def no_clock(name: str) -> Iterator[str]:
        yield name

    monkeypatch.setattr(run, "epoch_clock", no_clock)
    monkeypatch.setattr(
        run, "training_dataset", lambda samples, config, extractors, clock: Dataset(samples, extractors, clock)
    )
    monkeypatch.setattr(run, "clip_dataset", lambda samples, config, extractors: Dataset(samples, extractors))


@dataclass
class Dataset:
    """Stands for a Ray data set, which would start a cluster."""

    samples: Sequence[Sample]
    extractors: ExtractorPlan
    clock: str = ""


@pytest.fixture
def samples(make_sample: Callable[..., Sample]) -> list[Sample]:
    return [make_sample("a", 0), make_sample("b", 1), make_sample("c", 0, "val")]


def test_a_run_is_planned_told_and_exported(
    make_config: Callable[..., Config],
    samples: list[Sample],
    configured: list[ExtractorPlan],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainers: list[Any] = []
    told: list[str] = []

    def fit(trainer: Any) -> Result:
        trainers.append(trainer)
        metrics = METRICS | {"epoch": 1, "val_auc": 0.75}
        for callback in trainer.run_config.callbacks:
            callback.after_report(None, [metrics], None)
        return Result(metrics={}, checkpoint=None, error=None, path="", best_checkpoints=[kept(tmp_path, 1, 0.75)])  # type: ignore[call-arg]

    monkeypatch.setattr(run, "_fit", fit)
    monkeypatch.setattr(run.ray, "cluster_resources", lambda: {"CPU": 2.0, "memory": 2.0**33})
    config = make_config("training.num_workers=8")
    outcome = run.run_training(config, samples, tmp_path / "runs", tmp_path / "debug.pth", told.append)

    assert outcome.checkpoint.read_bytes() == b"weights of epoch 1"
    assert [line.split()[0] for line in told] == ["[yellow]8", "epoch", "[yellow]skipped[/]"]
    (trainer,) = trainers
    assert (trainer.scaling_config.num_workers, trainer.scaling_config.use_gpu) == (8, False)
    assert trainer.scaling_config.resources_per_worker == {"CPU": 0.187}
    assert trainer.backend_config.backend == "gloo"
    failures = trainer.run_config.failure_config
    assert (failures.max_failures, failures.controller_failure_limit) == (0, run.START_ATTEMPTS)
    job, train, val = trainer.train_loop_config["job"], trainer.datasets["train"], trainer.datasets["val"]
    assert job.config == config
    assert (train.samples, train.clock, val.samples) == (samples[:2], job.clock, samples[2:])
    assert configured == [train.extractors] == [val.extractors]
    assert isinstance(trainer.data_config, UnequalShares)
    (log,) = (tmp_path / "runs").glob("*/epochs.jsonl")
    assert json.loads(log.read_text())["val_auc"] == 0.75


def test_gpu_workers_talk_over_nccl_and_agree_over_gloo(
    make_config: Callable[..., Config], samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers: list[Any] = []

    def fit(trainer: Any) -> None:
        trainers.append(trainer)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_fit", fit)
    monkeypatch.setattr(run.ray, "cluster_resources", lambda: {"CPU": 64.0, "GPU": 8.0, "memory": 2.0**40})
    with pytest.raises(KeyboardInterrupt):
        run.run_training(make_config("training.num_workers=8"), samples, tmp_path / "runs", None, lambda line: None)
    (trainer,) = trainers
    assert trainer.scaling_config.use_gpu
    assert trainer.backend_config.backend == "cpu:gloo,cuda:nccl"
    assert trainer.scaling_config.resources_per_worker == {"CPU": 1.0, "GPU": 1.0}


class Trainer:
    def __init__(self, ending: BaseException | None) -> None:
        self.ending = ending

    def fit(self) -> str:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as Ray Train sets a handler of its own
        if self.ending:
            raise self.ending
        return "result"


@pytest.mark.parametrize(
    ("ending", "error"),
    [(SystemExit(0), KeyboardInterrupt), (WorkerGroupError("", {0: ValueError("boom")}), TrainingError), (None, None)],
)
def test_however_a_run_ends_ctrl_c_is_as_before(
    ending: BaseException | None, error: type[BaseException] | None
) -> None:
    trainer: Any = Trainer(ending)
    handler = signal.getsignal(signal.SIGINT)
    if error is None:
        assert run._fit(trainer) == "result"
    else:
        with pytest.raises(error):
            run._fit(trainer)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_cluster_is_left_also_when_its_start_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def start(**options: Any) -> None:
        calls.append((options["address"], options["include_dashboard"]))
        raise ConnectionError("no cluster")

    monkeypatch.setattr(run.ray, "init", start)
    monkeypatch.setattr(run.ray, "shutdown", lambda: calls.append("shutdown"))
    for local in (True, False):
        with pytest.raises(ConnectionError), run.ray_cluster(local):
            pass
    assert calls == [("local", False), "shutdown", (None, None), "shutdown"]


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
