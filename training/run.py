"""One training run on a Ray cluster: plan, fit, and the one file that comes out of it."""

import logging
import math
import os
import secrets
import shutil
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
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

from aura_model.atomic import replacing
from aura_model.checkpoint import TEMPORARY, checkpoint_name
from aura_model.config import Config
from aura_model.errors import AuraError
from training.clock import epoch_clock
from training.dataset import UnequalShares, clip_dataset, configure_ray_data, training_dataset
from training.loop import Job, train_worker
from training.manifest import Sample
from training.plan import WorkerPlan, plan_workers
from training.progress import EpochLog, epoch_line, follow, skip_lines
from training.tally import TrainingError
from training.validation import auc_of

Say = Callable[[str], None]

KEPT_CHECKPOINTS = 3
START_ATTEMPTS = 3
"""How often Ray Train may fail to start the workers; without this bound it tries for ever."""
RAY_ENVIRONMENT = {"RAY_TRAIN_ENABLE_PRINT_PATCH": "0", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}
"""Ray Train collects reports at the health-check interval, in seconds."""


@dataclass(frozen=True)
class Outcome:
    """What a run left."""

    checkpoint: Path
    metrics: Mapping[str, Any]
    """Of the epoch whose checkpoint it is."""


def run_training(config: Config, samples: Sequence[Sample], storage: Path, target: Path | None, say: Say) -> Outcome:
    """Train on the running Ray cluster and write the best checkpoint as one file.

    Args:
        config: the run's configuration.
        samples: checked samples, train and val among them.
        storage: folder for the run's own files: reports and the last checkpoints.
        target: the file to write; None means `multimodal_best_{AUC}.pth` in `training.output`.
        say: prints a line with console markup.

    Raises:
        PlanError: the cluster cannot hold the workers.
        TrainingError: the run failed.
        KeyboardInterrupt: after Ctrl-C.
    """
    plan = plan_workers(config.training.num_workers, config.training.device, ray.cluster_resources())  # type: ignore[no-untyped-call]
    for warning in plan.warnings:
        say(f"[yellow]{warning}[/]")
    configure_ray_data(plan.extractors)
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    log = storage.resolve() / name / "epochs.jsonl"
    log.parent.mkdir(parents=True)
    log.touch()
    with epoch_clock(f"epoch-{name}") as clock, _told(log, config.training.epochs, say):
        result = _fit(_trainer(Job(config, clock), samples, plan, log))
    return _export(result, config.training.output, target)


@contextmanager
def ray_cluster(local: bool) -> Iterator[None]:
    """Connect to the cluster that RAY_ADDRESS names, or start one on this machine; always the latter where `local`."""
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        with _uninterrupted():
            ray.init(
                address="local" if local else None,
                include_dashboard=False if local else None,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
        yield
    finally:
        ray.shutdown()


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


def _trainer(job: Job, samples: Sequence[Sample], plan: WorkerPlan, log: Path) -> TorchTrainer:
    """The trainer whose run is named as, and stored in, the folder of `log`."""
    train, val = ([sample for sample in samples if sample.split == split] for split in ("train", "val"))
    return TorchTrainer(
        train_worker,
        train_loop_config={"job": job},
        datasets={
            "train": training_dataset(train, job.config, plan.extractors, job.clock),
            "val": clip_dataset(val, job.config, plan.extractors),
        },
        dataset_config=UnequalShares(),
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if plan.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=plan.workers, use_gpu=plan.use_gpu, resources_per_worker=dict(plan.resources_per_worker)
        ),
        run_config=_run_config(log),
    )


def _run_config(log: Path) -> RunConfig:
    return RunConfig(
        name=log.parent.name,
        storage_path=str(log.parents[1]),
        failure_config=FailureConfig(  # type: ignore[call-arg]  # Ray shows its older class to type checkers
            max_failures=0, controller_failure_limit=START_ATTEMPTS
        ),
        checkpoint_config=CheckpointConfig(
            num_to_keep=KEPT_CHECKPOINTS, checkpoint_score_attribute="val_auc", checkpoint_score_order="max"
        ),
        callbacks=[EpochLog(log)],  # type: ignore[list-item]
    )


@contextmanager
def _told(log: Path, epochs: int, say: Say) -> Iterator[None]:
    """Tell of each epoch in `log`, and once of each skipped video, while the block runs."""
    done, told = threading.Event(), set[str]()

    def listen() -> None:
        """Pass each epoch on as it is logged."""
        for metrics in follow(log, done.is_set):
            for line in (epoch_line(metrics, epochs), *skip_lines(metrics, told)):
                say(line)

    listener = threading.Thread(target=listen, name="epochs")
    listener.start()
    try:
        yield
    finally:
        done.set()
        listener.join()


def _fit(trainer: TorchTrainer) -> Result:
    handler = signal.getsignal(signal.SIGINT)
    try:
        return trainer.fit()
    except SystemExit:  # how Ray Train ends a run after Ctrl-C
        raise KeyboardInterrupt from None
    except TrainingFailedError as error:
        raise _cause(error) from error
    finally:
        signal.signal(signal.SIGINT, handler)


def _cause(error: TrainingFailedError) -> TrainingError:
    """The first failure in a sentence; a traceback where it is not one of Aura's own errors."""
    if isinstance(error, ControllerError):
        return TrainingError("failed", f"Ray Train could not run the workers: {error.controller_failure}")
    failures = error.worker_failures if isinstance(error, WorkerGroupError) else {}
    for rank, failure in sorted(failures.items()):
        if isinstance(failure, AuraError):
            return TrainingError(failure.code, failure.detail)
        return TrainingError("failed", f"worker {rank}: {''.join(traceback.format_exception_only(failure)).strip()}")
    return TrainingError("failed", str(error))


def _export(result: Result, output: Path, target: Path | None) -> Outcome:
    checkpoint, metrics = max(result.best_checkpoints or [], key=_rank)
    path = target or output / checkpoint_name(metrics["epoch"], auc_of(metrics), best=True)
    with (
        checkpoint.as_directory() as folder,
        next(Path(folder).glob("*.pth")).open("rb") as source,
        replacing(path, TEMPORARY) as file,
    ):
        shutil.copyfileobj(source, file)
    return Outcome(path, metrics)


def _rank(kept: tuple[Checkpoint, Mapping[str, Any]]) -> tuple[bool, float, int]:
    """Higher is better: a known AUC before an unknown one, then the later epoch."""
    auc = auc_of(kept[1])
    return not math.isnan(auc), 0.0 if math.isnan(auc) else auc, kept[1]["epoch"]
