"""A run on Ray Train, without Ray: what it is given, what comes out of it, and how it is told that it failed."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ray.exceptions import RayActorError, RayError
from ray.train import Checkpoint, ControllerError, WorkerGroupError

from aura_model.checkpoint import read_checkpoint, save_checkpoint
from aura_model.config import Config
from aura_model.errors import ConfigError
from aura_model.settings import load_config
from training import run
from training.data.manifest import Sample
from training.plan import ExtractorPlan, PlanError, WorkerPlan
from training.run import _cause, _export, _uninterrupted, run_training
from training.snapshot import SNAPSHOT
from training.worker.tally import TrainingError

Kept = tuple[Checkpoint, dict[str, Any]]


def kept(folder: Path, epoch: int, score: float, auc: float | None) -> Kept:
    """A checkpoint as Ray Train keeps it, with what was reported of it."""
    path = folder / f"checkpoint_{epoch}"
    path.mkdir()
    weights = torch.nn.Linear(2, 1)
    file = path / f"multimodal_v1_epoch{epoch}_0.5000.pth"
    save_checkpoint(file, weights, load_config(env={}), epoch, {}, optimizer=torch.optim.AdamW(weights.parameters()))
    return Checkpoint.from_directory(path), {"epoch": epoch, "score": score, "val_auc": auc}


def ended(*checkpoints: Kept, failure: Any = None) -> Any:
    return SimpleNamespace(best_checkpoints=list(checkpoints), return_value=failure)


NONE = -np.inf
"""The score of an epoch whose figure is undefined."""


@pytest.mark.parametrize(
    ("scores", "aucs", "best", "name"),
    [
        ([0.7, 0.91234, 0.8], [0.7, 0.91234, 0.8], 2, "multimodal_best_0.9123.pth"),
        ([0.9, 0.9, 0.8], [0.9, 0.9, 0.8], 2, "multimodal_best_0.9000.pth"),
        ([-0.5, -0.2, -0.4], [0.9, 0.5, 0.8], 2, "multimodal_best_0.5000.pth"),
        ([0.3, NONE], [0.3, None], 1, "multimodal_best_0.3000.pth"),
        ([NONE, NONE], [None, None], 2, "multimodal_best_epoch2.pth"),
    ],
)
def test_the_best_checkpoint_is_written_as_one_file(
    tmp_path: Path, scores: list[float], aucs: list[float | None], best: int, name: str
) -> None:
    """The best by the monitored figure, of equal ones the latest; in whatever order Ray Train hands them over."""
    checkpoints = [kept(tmp_path, place + 1, *told) for place, told in enumerate(zip(scores, aucs, strict=True))]
    for order in (checkpoints, checkpoints[::-1]):
        outcome = _export(ended(*order), tmp_path / "out", None)
        assert outcome.checkpoint == tmp_path / "out" / name
        exported = read_checkpoint(outcome.checkpoint)
        assert (exported.epoch, exported.optimizer_state_dict) == (best, None)
        assert outcome.metrics["epoch"] == best
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_the_file_may_be_named(tmp_path: Path) -> None:
    target = tmp_path / "named" / "debug.pth"
    assert _export(ended(kept(tmp_path, 3, 0.5, 0.5)), tmp_path / "out", target).checkpoint == target
    assert read_checkpoint(target).epoch == 3
    assert not (tmp_path / "out").exists()


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


class Listener:
    def hear(self, event: Any) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def samples(make_sample: Callable[..., Sample]) -> list[Sample]:
    return [make_sample("a", 0), make_sample("b", 1), make_sample("c", 0, "val"), make_sample("d", 0, "test")]


@pytest.fixture
def trainers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was to be fitted; a fit leaves one checkpoint."""
    fitted: list[Any] = []

    @contextmanager
    def told(listeners: Any) -> Iterator[Any]:
        yield ("the board of", *listeners)

    def fit(trainer: Any) -> Any:
        fitted.append(trainer)
        return ended(kept(tmp_path, 1, 0.75, 0.75))

    monkeypatch.setattr(run, "told", told)
    monkeypatch.setattr(run.TorchTrainer, "fit", fit)
    return fitted


def plan(use_gpu: bool = False) -> WorkerPlan:
    resources = {"CPU": 0.187} | ({"GPU": 1.0} if use_gpu else {})
    return WorkerPlan(8, use_gpu, resources, ExtractorPlan(2, 0.5, 2**30), ())


def test_a_run_is_given_to_ray_train_and_its_checkpoint_exported(
    make_config: Callable[..., Config], samples: list[Sample], trainers: list[Any], tmp_path: Path
) -> None:
    config, listener = make_config("training.max_failures=5", "training.keep_checkpoints=2"), Listener()
    target = tmp_path / "debug.pth"
    outcome = run_training(
        config, samples, plan(), storage="/storage", name="tuesday", target=target, listeners=[listener]
    )
    assert read_checkpoint(outcome.checkpoint).epoch == 1
    assert outcome.metrics["val_auc"] == 0.75
    (trainer,) = trainers
    assert (trainer.scaling_config.num_workers, trainer.scaling_config.use_gpu) == (8, False)
    assert trainer.scaling_config.resources_per_worker == {"CPU": 0.187}
    assert trainer.backend_config.backend == "gloo"
    job = trainer.train_loop_config["job"]
    assert (job.config, job.extractors, job.board) == (config, plan().extractors, ("the board of", listener))
    assert (job.train, job.val) == (tuple(samples[:2]), (samples[2],))
    kept_by = trainer.run_config
    assert (kept_by.name, kept_by.storage_path) == ("tuesday", "/storage")
    assert (kept_by.failure_config.max_failures, kept_by.failure_config.controller_failure_limit) == (
        5,
        run.START_ATTEMPTS,
    )
    checkpoints = kept_by.checkpoint_config
    assert (checkpoints.num_to_keep, checkpoints.checkpoint_score_attribute, checkpoints.checkpoint_score_order) == (
        2,
        "score",
        "max",
    )


def test_gpu_workers_talk_over_nccl_and_agree_over_gloo(
    config: Config, samples: list[Sample], trainers: list[Any], tmp_path: Path
) -> None:
    run_training(config, samples, plan(True), storage="/s", name="n", target=tmp_path / "a.pth", listeners=[])
    (trainer,) = trainers
    assert trainer.scaling_config.use_gpu
    assert trainer.backend_config.backend == "cpu:gloo,cuda:nccl"
    assert trainer.scaling_config.resources_per_worker == {"CPU": 0.187, "GPU": 1.0}


def test_what_the_workers_returned_is_the_reason_of_a_failed_run() -> None:
    trainer: Any = SimpleNamespace(fit=lambda: ended(failure=("too_many_skipped", "3 of 4 videos")))
    with pytest.raises(TrainingError, match="3 of 4 videos") as caught:
        run._fit(trainer)
    assert caught.value.code == "too_many_skipped"


def test_a_torn_list_of_checkpoints_is_mended_before_the_run_goes_on(
    config: Config, samples: list[Sample], trainers: list[Any], tmp_path: Path
) -> None:
    torn = tmp_path / "n" / SNAPSHOT
    torn.parent.mkdir()
    torn.touch()
    run_training(config, samples, plan(), storage=str(tmp_path), name="n", target=tmp_path / "a.pth", listeners=[])
    assert json.loads(torn.read_text())["checkpoint_results"] == []


def test_what_ray_raises_is_told_in_a_sentence() -> None:
    def fit() -> Any:
        raise RayError("The actor died:\n  File x.py\nBadListError: no list\n")

    trainer: Any = SimpleNamespace(fit=fit)
    with pytest.raises(TrainingError, match=r"Ray could not run it: BadListError: no list$"):
        run._fit(trainer)


@pytest.mark.parametrize("use_gpu", [True, False])
def test_a_plan_is_made_of_the_running_cluster(
    make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, use_gpu: bool
) -> None:
    resources = {"CPU": 8.0, "memory": 2.0**40} | ({"GPU": 3.0} if use_gpu else {})
    monkeypatch.setattr(run.ray, "cluster_resources", lambda: resources)
    made = run.cluster_plan(make_config("training.num_workers=3"))
    assert (made.workers, made.use_gpu) == (3, use_gpu)
    assert not run.cluster_plan(make_config("training.num_workers=3", "training.device=cpu")).use_gpu


class Trainer:
    def __init__(self, ending: BaseException | None) -> None:
        self.ending = ending

    def fit(self) -> Any:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as Ray Train sets a handler of its own
        if self.ending:
            raise self.ending
        return ended()


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        (SystemExit(0), KeyboardInterrupt),
        (WorkerGroupError("", {0: ValueError("boom")}), TrainingError),
        (RayActorError(), TrainingError),
        (None, None),
    ],
)
def test_however_a_run_ends_ctrl_c_is_as_before(
    ending: BaseException | None, error: type[BaseException] | None
) -> None:
    trainer: Any = Trainer(ending)
    handler = signal.getsignal(signal.SIGINT)
    if error is None:
        assert run._fit(trainer) == ended()
    else:
        with pytest.raises(error):
            run._fit(trainer)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_cluster_is_left_also_when_its_start_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def start(**options: Any) -> None:
        calls.append((options["address"], options["include_dashboard"], options["num_cpus"]))
        raise ConnectionError("no cluster")

    monkeypatch.setattr(run.ray, "init", start)
    monkeypatch.setattr(run.ray, "shutdown", lambda: calls.append("shutdown"))
    for local in (True, False):
        with pytest.raises(ConnectionError), run.ray_cluster(local):
            pass
    with pytest.raises(ConnectionError), run.ray_cluster(local=True, cpus=2):
        pass
    assert calls == [
        ("local", False, None),
        "shutdown",
        (None, None, None),
        "shutdown",
        ("local", False, 2),
        "shutdown",
    ]


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "localhost:{}"])
def test_a_cluster_that_cannot_be_reached_is_told_at_once(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(run.ray, "init", lambda **_: pytest.fail("Ray would try for minutes"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = form.format(server.getsockname()[1])  # where nothing listens once it is closed
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(PlanError, match="unset it") as refused, run.ray_cluster(local=False):
        pass
    assert refused.value.code == "cluster_unreachable"
    assert address in refused.value.detail


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "no.such.host.invalid:6379", "[::1]:1"])
def test_an_address_that_can_be_none_is_told_like_one_that_is_silent(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(PlanError, match="RAY_ADDRESS"), run.ray_cluster(local=False):
        pass


@pytest.mark.parametrize("address", ["auto", "local", "", None])
def test_addresses_without_a_port_are_left_to_ray(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    started: list[Any] = []
    monkeypatch.setattr(run.ray, "init", lambda **options: started.append(options["address"]))
    monkeypatch.setattr(run.ray, "shutdown", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with run.ray_cluster(local=False):
        assert started == [None]


def test_a_cluster_that_listens_is_joined_and_a_local_one_asks_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(run.ray, "init", lambda **options: started.append(options["address"]))
    monkeypatch.setattr(run.ray, "shutdown", lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        with run.ray_cluster(local=False):
            pass
    with run.ray_cluster(local=True):
        pass
    assert started == [None, "local"]


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


@pytest.fixture
def signals() -> Iterator[None]:
    """The handlers of signals are afterwards as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("interrupt", [signal.default_int_handler, signal.SIG_IGN])
def test_termination_ends_a_cluster_as_ctrl_c_does(
    monkeypatch: pytest.MonkeyPatch, signals: None, interrupt: Any
) -> None:
    """Whether Ctrl-C is ignored, as in what a script starts in the background, or not."""
    monkeypatch.setattr(run.ray, "init", lambda **_: signal.signal(signal.SIGTERM, lambda *_: os._exit(15)))
    monkeypatch.setattr(run.ray, "shutdown", lambda: None)
    signal.signal(signal.SIGINT, interrupt)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), run.ray_cluster(local=True):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is handler


def test_termination_of_a_run_is_left_to_the_handler_of_ray_train(
    monkeypatch: pytest.MonkeyPatch, signals: None
) -> None:
    received: list[int] = []
    monkeypatch.setattr(run.ray, "init", lambda **_: None)
    monkeypatch.setattr(run.ray, "shutdown", lambda: None)
    with run.ray_cluster(local=True):
        signal.signal(signal.SIGINT, lambda number, _: received.append(number))
        signal.raise_signal(signal.SIGTERM)
    assert received == [signal.SIGINT]
