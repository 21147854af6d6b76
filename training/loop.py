"""What one Ray Train worker does: epochs of training steps, validation over all workers, reports."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray.train
import torch
from ray.data import DataIterator
from ray.train.torch import get_device, prepare_model
from torch import nn

from aura_model.checkpoint import checkpoint_name, save_checkpoint
from aura_model.clips import blank_clip
from aura_model.config import Config
from aura_model.logging import setup_logging
from aura_model.seeds import derive_seed
from training.batches import training_clip, usable_batches
from training.clock import set_epoch
from training.learner import Learner
from training.rows import Row, clip_from_row
from training.tally import Tally, all_skips, training_metrics
from training.team import Team
from training.validation import ScoredClip, auc_of, validation_metrics


@dataclass(frozen=True)
class Job:
    """What a worker needs to know beside its data."""

    config: Config
    clock: str
    """The name of the run's `EpochClock`."""


def train_worker(settings: dict[str, Job]) -> None:
    """Train to the end of the last epoch; the function that Ray Train runs in each worker.

    Args:
        settings: `job` holds the `Job`; Ray Train hands over a dictionary.

    Raises:
        TrainingError: no clip to train on, or the loss is no longer a number.
    """
    job = settings["job"]
    setup_logging(job.config.logging)
    team, learner = Team.here(), Learner(job.config, get_device(), _data_parallel)
    train_stream, val_stream = ray.train.get_dataset_shard("train"), ray.train.get_dataset_shard("val")
    for epoch in range(1, job.config.training.epochs + 1):
        if team.rank == 0:
            set_epoch(job.clock, epoch)  # before it asks for a batch: no clip is made until all workers have asked
        trained = _train(job.config, team, learner, train_stream, epoch)
        validated = _validate(job.config, team, learner, val_stream)
        _report(job.config, team, learner, {"epoch": epoch} | trained | validated)


def _data_parallel(module: nn.Module) -> nn.Module:
    wrapped: nn.Module = prepare_model(module, parallel_strategy_kwargs={"find_unused_parameters": True})
    return wrapped


def _train(config: Config, team: Team, learner: Learner, stream: DataIterator, epoch: int) -> dict[str, Any]:
    started, tally = time.perf_counter(), Tally()
    torch.manual_seed(derive_seed(config.seed, epoch, "dropout", team.rank) % 2**63)
    batch, losses = ([blank_clip(config)], [0]), list[torch.Tensor]()
    for rows, weight in _in_step(team, usable_batches(stream, config.training.batch_size, tally)):
        if rows:
            batch = [training_clip(row, config) for row in rows], [int(row["label"]) for row in rows]
        losses.append(len(rows) * learner.step(*batch, weight))
        tally.clips += len(rows)
    tally.steps, tally.loss_sum = len(losses), float(sum(losses))
    tally.seconds = time.perf_counter() - started
    return training_metrics(team.gather([tally]))


def _in_step(team: Team, batches: Iterator[list[Row]]) -> Iterator[tuple[list[Row], float]]:
    """Batches with their weights until no worker has any; a worker that has run out steps along at no weight.

    All workers must take part in every step, and no clip is to be left out. One that never had a clip steps on a blank.
    """
    rows = next(batches, [])
    while (weight := team.weight(len(rows))) is not None:
        yield rows, weight
        rows = next(batches, [])


def _validate(config: Config, team: Team, learner: Learner, stream: DataIterator) -> dict[str, Any]:
    tally, scored = Tally(), list[ScoredClip]()
    team.share_buffers(learner.model)
    for rows in usable_batches(stream, config.inference.batch_clips, tally):
        logits = learner.logits([clip_from_row(row) for row in rows])
        scored += [ScoredClip.of(row, logit) for row, logit in zip(rows, logits, strict=True)]
    skipped = all_skips(team.gather([tally]))
    return validation_metrics(team.gather(scored)) | {"val_skipped": [asdict(skip) for skip in skipped]}


def _report(config: Config, team: Team, learner: Learner, metrics: dict[str, Any]) -> None:
    """Report to Ray Train, which is a meeting of all workers; the first one hands in the checkpoint."""
    with TemporaryDirectory() as folder:
        checkpoint = None
        if team.rank == 0:
            path = Path(folder) / checkpoint_name(metrics["epoch"], auc_of(metrics))
            save_checkpoint(path, learner.model, config, metrics["epoch"], metrics, optimizer=learner.optimizer)
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(metrics, checkpoint=checkpoint)
