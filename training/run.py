"""One training run on a Ray cluster: plan, fit, and the one file that comes out of it."""

import logging
import os
import signal
import socket
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    ControllerError,
    FailureConfig,
    Result,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    WorkerGroupError,
)
from ray.train.torch import TorchConfig, TorchTrainer

from aura_model.allocator import KEEP_MEMORY
from aura_model.checkpoint import checkpoint_name, strip_training
from aura_model.config import Config
from aura_model.errors import AuraError
from training.data.manifest import Sample
from training.optim.monitor import Monitor
from training.plan import PlanError, WorkerPlan, plan_workers
from training.ray_data import failure
from training.snapshot import mend_snapshot
from training.watch.board import told
from training.watch.listeners import Listener
from training.worker.loop import SCORE, Failure, Job, train_worker
from training.worker.tally import TrainingError

START_ATTEMPTS = 3
"""How often Ray Train may fail to start the workers; without this bound it tries for ever."""
CONNECT_SECONDS = 10.0
"""How long the cluster's head may take to accept a connection."""
RAY_ENVIRONMENT = {"RAY_TRAIN_ENABLE_PRINT_PATCH": "0", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", **KEEP_MEMORY}
"""Ray Train collects reports at the health-check interval, in seconds. A Ray that is started here hands all on."""


CHATTERING = MappingProxyType(
    {
        "ray.data._internal.progress": logging.ERROR,
        "ray.data._internal.execution.streaming_executor": logging.WARNING,
    }
)
"""Loggers of Ray Data that tell users what Aura tells them in its own way, and what they may say."""


@dataclass(frozen=True)
class Outcome:
    """What a run left."""

    checkpoint: Path
    metrics: Mapping[str, Any]
    """Of the epoch whose checkpoint it is."""


def run_training(
    config: Config,
    samples: Sequence[Sample],
    plan: WorkerPlan,
    *,
    storage: str,
    name: str,
    target: Path | None,
    listeners: Sequence[Listener],
) -> Outcome:
    """Train on the running Ray cluster and write the best checkpoint as one file.

    Args:
        config: the run's configuration.
        samples: checked samples, train and val among them.
        plan: of the cluster.
        storage: folder or URI under which Ray Train keeps the run `name`; a run that is there already goes on.
        name: of the run.
        target: the file to write; None means `multimodal_best_{AUC}.pth` in `training.output`, see `checkpoint_name`.
        listeners: are told how the run goes.

    Raises:
        TrainingError: the run failed.
        KeyboardInterrupt: after Ctrl-C.
    """
    train, val = (tuple(sample for sample in samples if sample.split == split) for split in ("train", "val"))
    mend_snapshot(storage, name, Monitor(config.training.monitor))
    with told(listeners) as board:
        job = Job(config, train, val, plan.extractors, board)
        result = _fit(_trainer(job, plan, storage, name))
    return _export(result, config.training.output, target)


def cluster_plan(config: Config) -> WorkerPlan:
    """How the running cluster is shared.

    Raises:
        PlanError: it cannot hold the workers.
    """
    return plan_workers(config.training.num_workers, config.training.device, ray.cluster_resources())  # type: ignore[no-untyped-call]


@contextmanager
def ray_cluster(local: bool, cpus: int | None = None) -> Iterator[None]:
    """Connect to the cluster that RAY_ADDRESS names, or start one on this machine; always the latter where `local`.

    SIGTERM ends the block as Ctrl-C does.

    Args:
        local: start one.
        cpus: how many CPUs the one that is started counts; None: those of the machine.

    Raises:
        PlanError: nothing listens at RAY_ADDRESS.
    """
    if not local:
        _check_address(os.environ.get("RAY_ADDRESS", ""))
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name, level in CHATTERING.items():
        logging.getLogger(name).setLevel(level)
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        with _uninterrupted():
            ray.init(
                address="local" if local else None,
                num_cpus=cpus,
                include_dashboard=False if local else None,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
        signal.signal(signal.SIGTERM, _interrupt)  # Ray's own handler aborts the process
        yield
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, terminated)


def _check_address(address: str) -> None:
    """Ray itself tries for minutes, and then ends the process."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if host and port.isdecimal():
        try:
            place = host.strip("[]"), int(port)
            socket.create_connection(place, CONNECT_SECONDS).close()  # noqa: TID251 - the operator's own cluster
        except (OSError, OverflowError) as error:
            detail = (
                f"RAY_ADDRESS is {address}, where nothing answers: {error}; correct it, or unset it to use this machine"
            )
            raise PlanError("cluster_unreachable", detail) from None


def _interrupt(_: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does at this moment, also where the shell has this process ignore it."""
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block has ended: breaking off Ray's start crashes the process."""
    held: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if held:
        raise KeyboardInterrupt


def _trainer(job: Job, plan: WorkerPlan, storage: str, name: str) -> TorchTrainer:
    return TorchTrainer(
        train_worker,  # type: ignore[arg-type]  # what it returns is `Result.return_value`
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if plan.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=plan.workers, use_gpu=plan.use_gpu, resources_per_worker=dict(plan.resources_per_worker)
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage,
            failure_config=FailureConfig(  # type: ignore[call-arg]  # Ray shows its older class to type checkers
                max_failures=job.config.training.max_failures, controller_failure_limit=START_ATTEMPTS
            ),
            checkpoint_config=CheckpointConfig(
                num_to_keep=job.config.training.keep_checkpoints,
                checkpoint_score_attribute=SCORE,
                checkpoint_score_order="max",
            ),
        ),
    )


def _fit(trainer: TorchTrainer) -> Result:
    handler = signal.getsignal(signal.SIGINT)
    try:
        result = trainer.fit()
    except SystemExit:  # how Ray Train ends a run after Ctrl-C
        raise KeyboardInterrupt from None
    except TrainingFailedError as error:
        raise _cause(error) from error
    except RayError as error:
        raise TrainingError("failed", f"Ray could not run it: {failure(error)}") from error
    finally:
        signal.signal(signal.SIGINT, handler)
    refused: Failure | None = result.return_value  # type: ignore[attr-defined]  # again Ray's older class
    if refused is not None:
        raise TrainingError(*refused)
    return result


def _cause(error: TrainingFailedError) -> TrainingError:
    """The first failure in a sentence; a traceback where it is not one of Aura's own errors."""
    if isinstance(error, ControllerError):
        return TrainingError("failed", f"Ray Train could not run the workers: {error.controller_failure}")
    failures = error.worker_failures if isinstance(error, WorkerGroupError) else {}
    for rank, raised in sorted(failures.items()):
        if isinstance(raised, AuraError):
            return TrainingError(raised.code, raised.detail)
        return TrainingError("failed", f"worker {rank}: {''.join(traceback.format_exception_only(raised)).strip()}")
    return TrainingError("failed", str(error))


def _export(result: Result, output: Path, target: Path | None) -> Outcome:
    checkpoint, metrics = max(result.best_checkpoints or [], key=_rank)
    path = target or output / checkpoint_name(metrics["epoch"], metrics["val_auc"], best=True)
    with checkpoint.as_directory() as folder:
        strip_training(next(Path(folder).glob("*.pth")), path)
    return Outcome(path, metrics)


def _rank(kept: tuple[Checkpoint, Mapping[str, Any]]) -> tuple[float, int]:
    """Higher is better: the score, then the later epoch."""
    return kept[1][SCORE], kept[1]["epoch"]
