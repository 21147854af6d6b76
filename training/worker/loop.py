"""What one Ray Train worker does: epochs of training steps, validation over all workers, reports."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.actor import ActorHandle
from ray.train.torch import get_device, prepare_model
from torch import nn

from aura_model.batch import to_batch
from aura_model.checkpoint import Checkpoint, checkpoint_name, read_checkpoint
from aura_model.clips import blank_clip
from aura_model.config import Config
from aura_model.errors import AuraError
from aura_model.logging import setup_logging
from aura_model.seeds import derive_seed
from training.data.manifest import Sample
from training.data.splits import Split
from training.optim.learner import Learner
from training.optim.monitor import Monitor
from training.optim.objective import class_weights
from training.plan import ExtractorPlan
from training.stream import Course, clip_stream
from training.targets import Targets
from training.watch.board import Board
from training.worker.batches import Part, Parts, worker_parts
from training.worker.sweep import Sweep
from training.worker.tally import Tally, check_skipped, joined, training_metrics
from training.worker.team import Team, step_weights
from training.worker.validation import ValidationScore, validation_metrics

SCORE = "score"
"""The reported figure by which checkpoints are kept: the monitored one, the higher the better."""

Failure = tuple[str, str]
"""Code and detail of an error that no repetition would mend."""


@dataclass(frozen=True)
class Job:
    """What a worker needs to know."""

    config: Config
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    extractors: ExtractorPlan
    board: "ActorHandle[Board]"


def train_worker(settings: dict[str, Job]) -> Failure | None:
    """Train to the end of the last epoch, from the last checkpoint on where there is one; Ray Train runs this.

    Args:
        settings: `job` holds the `Job`; Ray Train hands over a dictionary.

    Returns:
        Aura's own error that ended the run, the same for all workers: Ray Train would begin anew after an exception.
    """
    job = settings["job"]
    setup_logging(job.config.logging)
    if job.config.training.threads is not None:
        torch.set_num_threads(job.config.training.threads)
    try:
        Worker(job).run()
    except AuraError as error:
        return error.code, error.detail
    return None


class Worker:
    """One worker of a run. Every step is taken by all workers together."""

    def __init__(self, job: Job) -> None:
        """Build the model, or restore it.

        Raises:
            AuraError: the model cannot be built, or does not fit the checkpoint.
        """
        self._job, self._config = job, job.config
        self._team, self._monitor = Team.here(), Monitor(job.config.training.monitor)
        self._learner = Learner(job.config, get_device(), _data_parallel, _class_weights(job))
        self._blank = to_batch([blank_clip(job.config)], job.config), Targets(torch.zeros(1, dtype=torch.int64))
        self._done, self._dealt = 0, [0] * self._team.size
        if (checkpoint := _last_checkpoint()) is not None:
            self._restore(checkpoint)

    def run(self) -> None:
        """Every epoch that is left.

        Raises:
            TrainingError: no clip to train on, too many unusable videos, or the loss is no longer a number.
        """
        last, job = self._config.training.epochs, self._job
        if self._done >= last or self._monitor.stop:
            return
        course = Course(job.train, job.val, self._config.seed, self._done + 1, last)
        make = partial(clip_stream, course, self._config, job.extractors, self._team.size, self._dealt)
        parts = Parts(worker_parts(self._team.deal(make), self._config))
        for epoch in range(course.first, last + 1):
            metrics = {"epoch": epoch, "epochs": last} | self._train(epoch, parts) | self._validate(epoch, parts)
            self._finish(metrics)
            if self._monitor.stop:
                return

    def _restore(self, checkpoint: Checkpoint) -> None:
        self._learner.restore(checkpoint)
        self._monitor.restore(checkpoint.metrics["monitor"])
        self._done = checkpoint.epoch
        if len(checkpoint.metrics["dealt"]) == self._team.size:
            self._dealt = list(checkpoint.metrics["dealt"])
        if self._team.rank == 0:
            known = {"kind": "epoch", **checkpoint.metrics, "stop": self._monitor.stop}  # of the patience now
            self._post(known, {"kind": "restart", "epoch": self._done})

    def _train(self, epoch: int, parts: Parts) -> dict[str, Any]:
        torch.manual_seed(derive_seed(self._config.seed, epoch, "dropout", self._team.rank) % 2**63)
        self._learner.begin_epoch(epoch)
        sweep = self._sweep("train", epoch, parts)
        for group, weights in self._in_step(sweep):
            batches = [(part.batch, part.targets) for part in group if part.batch is not None]
            if batches:
                sweep.add_loss(self._learner.step(batches, weights))
            else:
                self._learner.step([self._blank], [0.0])
            sweep.tell(self._learner.steps)
        tally = self._joined(sweep)
        return training_metrics(tally) | {"step": self._learner.steps, "learning_rate": self._learner.learning_rate}

    def _in_step(self, sweep: Sweep) -> Iterator[tuple[list[Part], list[float]]]:
        """Parts of a step with the weights of those that hold clips, until no worker has any part.

        All workers must take part in every step, and no clip is to be left out: one that has run out steps along.
        """
        taken = iter(sweep)
        while True:
            group = list(islice(taken, self._config.training.accumulate))
            own = [len(part.rows) for part in group if part.rows]
            parts, clips, skipped = self._team.total(len(group), sum(own), sweep.skipped)
            self._check_skipped("train", skipped)
            if not parts:
                return
            if clips:
                yield group, step_weights(own, clips, self._team.size)

    def _validate(self, epoch: int, parts: Parts) -> dict[str, Any]:
        for model in dict.fromkeys((self._learner.model, self._learner.evaluated)):  # one order for all workers
            self._team.share_buffers(model)
        scored, sweep = list[ValidationScore](), self._sweep("val", epoch, parts)
        for part in sweep:
            if part.batch is not None:
                logits = self._learner.logits(part.batch)
                scored += [ValidationScore.of(row, logit) for row, logit in zip(part.rows, logits, strict=True)]
            sweep.tell(self._learner.steps)
        skipped = self._joined(sweep).skipped
        self._check_skipped("val", skipped)
        return validation_metrics(self._team.gather(scored)) | {"val_skipped": skipped}

    def _joined(self, sweep: Sweep) -> Tally:
        """The account of all workers; notes how many rows each was dealt."""
        tallies = self._team.gather([sweep.tally()])
        self._dealt = [rows + tally.clips + tally.skipped for rows, tally in zip(self._dealt, tallies, strict=True)]
        return joined(tallies)

    def _check_skipped(self, split: Split, skipped: int) -> None:
        check_skipped(split, skipped, self._videos(split), self._config.dataset.max_skipped)

    def _sweep(self, split: Split, epoch: int, parts: Parts) -> Sweep:
        facts = {"epoch": epoch, "epochs": self._config.training.epochs, "phase": split}
        return Sweep(parts, self._videos(split), facts, self._post, first=self._team.rank == 0)

    def _videos(self, split: Split) -> int:
        return len(self._job.train if split == "train" else self._job.val)

    def _finish(self, metrics: dict[str, Any]) -> None:
        """End an epoch: a meeting of all workers, to which the first one brings the checkpoint."""
        self._learner.end_epoch(self._monitor.value(metrics))
        self._monitor.update(metrics)
        name = checkpoint_name(metrics["epoch"], metrics["val_auc"])
        metrics |= {"monitor": self._monitor.state(), "stop": self._monitor.stop, "checkpoint": name}
        metrics |= {"dealt": self._dealt}
        with _emptied(Path(f"checkpoint-{self._team.rank}").absolute()) as folder:
            checkpoint = None
            if self._team.rank == 0:
                self._learner.save(folder / name, metrics["epoch"], metrics)
                checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report(metrics | {SCORE: self._monitor.score(metrics)}, checkpoint=checkpoint)
        if self._team.rank == 0:
            self._post({"kind": "epoch", **metrics})

    def _post(self, *events: dict[str, Any]) -> None:
        self._job.board.post.remote(list(events))


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """A folder for the block, in the run's own place in Ray's session; what a killed worker left in it goes first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def _data_parallel(module: nn.Module) -> nn.Module:
    wrapped: nn.Module = prepare_model(module, parallel_strategy_kwargs={"find_unused_parameters": True})
    return wrapped


def _class_weights(job: Job) -> tuple[float, float]:
    """Weights of real and of fake clips; pairs hold as many of both."""
    if not job.config.training.class_balance or job.config.dataset.pseudo_fakes.enabled:
        return 1.0, 1.0
    return class_weights([sample.label for sample in job.train])


def _last_checkpoint() -> Checkpoint | None:
    kept = ray.train.get_checkpoint()
    if kept is None:
        return None
    with kept.as_directory() as folder:
        return read_checkpoint(next(Path(folder).glob("*.pth")))
