from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import ray.train
import torch

from aura_model.checkpoint import read_checkpoint
from aura_model.clips import Clip, Clips
from aura_model.config import Config
from training import loop
from training.learner import Learner
from training.loop import Job
from training.manifest import Sample
from training.plan import ExtractorPlan
from training.rows import ClipShape, Columns, Row, error_row, rows_of, to_columns
from training.tally import Tally, TrainingError
from training.team import step_weight


class Stream:
    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def iter_batches(self, *, batch_size: int, batch_format: str) -> Iterator[Columns]:
        for start in range(0, len(self._rows), batch_size):
            batch = [to_columns(row) for row in self._rows[start : start + batch_size]]
            yield {name: np.concatenate([columns[name] for columns in batch]) for name in batch[0]}


class FakeTeam:
    """One worker whose partner has `partner` clips left for each step."""

    rank, size = 0, 2

    def __init__(self, rows: Sequence[Row], partner: Sequence[int]) -> None:
        self._rows = rows
        self._partner = iter(partner)

    def share(self, make: Callable[[], object]) -> Any:
        return Stream(self._rows)

    def weight(self, clips: int) -> float | None:
        return step_weight([clips, next(self._partner, 0)], 0)

    def gather(self, items: list[Any]) -> list[Any]:
        return items

    def share_buffers(self, model: object) -> None:
        pass


@pytest.fixture
def make_row(config: Config, make_clip: Callable[..., Clip], make_clips: Callable[..., Clips]) -> Callable[..., Row]:
    def build(video_id: str, label: int = 0, error: str = "", seed: int = 0) -> Row:
        source, shape = {"video_id": video_id, "path": f"{video_id}.mp4", "label": label}, ClipShape.of(config)
        if error:
            return error_row(error, "why", source, shape)
        return rows_of(make_clips(make_clip(seed)), source, shape)[0]

    return build


@pytest.fixture
def job(make_config: Callable[..., Config], make_sample: Callable[..., Sample]) -> Job:
    samples = (make_sample("a", 0), make_sample("b", 1), make_sample("c", 0, "val"))
    return Job(make_config("training.batch_size=2"), samples, ExtractorPlan(1, 1.0, 1))


@pytest.fixture
def learner(job: Job) -> Learner:
    return Learner(job.config, torch.device("cpu"), lambda module: module)


def test_a_job_hands_out_its_splits(job: Job) -> None:
    assert [sample.video_id for sample in job.split("train")] == ["a", "b"]
    assert [sample.video_id for sample in job.split("val")] == ["c"]
    assert job.split("test") == []


@pytest.mark.parametrize(
    ("partner", "weights"),
    [([2, 2, 2], [1, 1, 2 / 3]), ([2, 2, 2, 2], [1, 1, 2 / 3, 0]), ([1], [4 / 3, 2, 2]), ([], [2, 2, 2])],
)
def test_every_clip_is_learned_and_workers_take_the_same_number_of_steps(
    job: Job, learner: Learner, make_row: Callable[..., Row], partner: list[int], weights: list[float]
) -> None:
    rows = [make_row(str(number), number % 2, seed=number) for number in range(5)]
    rows.append(make_row("broken", error="corrupt_video"))
    team: Any = FakeTeam(rows, partner)
    with patch.object(learner, "step", wraps=learner.step) as step:
        metrics = loop._train(job, team, learner, 1)
    assert [call.args[2] for call in step.call_args_list] == pytest.approx(weights)
    assert (metrics["steps"], metrics["clips"]) == (len(weights), 5)
    assert [skip["video_id"] for skip in metrics["skipped"]] == ["broken"]
    assert metrics["loss"] > 0


def test_a_worker_without_any_clip_steps_along_and_changes_nothing(
    job: Job, learner: Learner, make_row: Callable[..., Row]
) -> None:
    """Weight decay apart, which does not depend on the gradient."""
    team: Any = FakeTeam([make_row("broken", error="corrupt_video")], [2, 2])
    tallies: list[Tally] = []
    team.gather = lambda items: tallies.extend(items) or [Tally(steps=2, clips=4, loss_sum=1.0, seconds=1.0), *items]
    metrics = loop._train(job, team, learner, 1)
    assert (tallies[0].steps, tallies[0].clips, tallies[0].loss_sum) == (2, 0, 0.0)
    assert metrics["clips"] == 4
    assert all(not parameter.grad.any() for parameter in learner.model.parameters() if parameter.grad is not None)


def test_an_epoch_without_any_clip_fails(job: Job, learner: Learner, make_row: Callable[..., Row]) -> None:
    team: Any = FakeTeam([make_row("broken", error="corrupt_video")], [])
    with pytest.raises(TrainingError, match=r"1 were skipped \(corrupt_video\)"):
        loop._train(job, team, learner, 1)


def test_an_epoch_can_be_repeated_to_the_bit_whatever_was_drawn_before(
    make_config: Callable[..., Config], make_sample: Callable[..., Sample], make_row: Callable[..., Row]
) -> None:
    job = Job(make_config("model.fusion.dropout=0.5"), (make_sample("a"),), ExtractorPlan(1, 1.0, 1))
    rows = [make_row(str(number), number % 2, seed=number) for number in range(4)]

    seeds = count()

    def train(epoch: int) -> float:
        learner = Learner(job.config, torch.device("cpu"), lambda module: module)
        torch.manual_seed(next(seeds))
        team: Any = FakeTeam(rows, [2, 2])
        return float(loop._train(job, team, learner, epoch)["loss"])

    assert train(1) == train(1)
    assert train(1) != train(2)


def test_validation_scores_every_clip_once_and_tells_of_the_rest(
    job: Job, learner: Learner, make_row: Callable[..., Row]
) -> None:
    rows = [make_row(f"v{number}", number % 2, seed=number) for number in range(7)]
    rows.insert(3, make_row("broken", error="empty_file"))
    team: Any = FakeTeam(rows, [])
    metrics = loop._validate(job, team, learner)
    assert (metrics["val_clips"], metrics["val"]["n"], metrics["val"]["positives"]) == (7, 7, 3)
    assert 0 <= metrics["val_auc"] <= 1
    assert [skip["code"] for skip in metrics["val_skipped"]] == ["empty_file"]


@pytest.mark.parametrize(("rank", "auc", "name"), [(0, 0.75, "0.7500"), (0, None, "nan"), (1, 0.75, None)])
def test_the_first_worker_hands_in_the_checkpoint(
    job: Job,
    learner: Learner,
    monkeypatch: pytest.MonkeyPatch,
    rank: int,
    auc: float | None,
    name: str | None,
) -> None:
    reports: list[dict[str, Any]] = []

    def report(metrics: dict[str, Any], checkpoint: Any) -> None:
        saved = {}
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                saved = {path.name: read_checkpoint(path) for path in Path(folder).iterdir()}
        reports.append({"metrics": metrics, "saved": saved})

    monkeypatch.setattr(ray.train, "report", report)
    team: Any = FakeTeam([], [])
    team.rank = rank
    loop._report(job.config, team, learner, {"epoch": 3, "val_auc": auc})
    (made,) = reports
    assert made["metrics"] == {"epoch": 3, "val_auc": auc}
    assert list(made["saved"]) == ([f"multimodal_v1_epoch3_{name}.pth"] if name else [])
    for saved in made["saved"].values():
        assert (saved.epoch, saved.metrics) == (3, {"epoch": 3, "val_auc": auc})
        assert saved.optimizer_state_dict is not None


def test_a_worker_trains_validates_and_reports_each_epoch(
    make_config: Callable[..., Config],
    make_sample: Callable[..., Sample],
    make_row: Callable[..., Row],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports: list[dict[str, Any]] = []
    rows = [make_row(str(number), number % 2, seed=number) for number in range(4)]
    team: Any = FakeTeam(rows, [2, 2, 0, 2, 2])
    monkeypatch.setattr(loop.Team, "here", lambda: team)
    monkeypatch.setattr(loop, "get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(loop, "_data_parallel", lambda module: module)
    monkeypatch.setattr(ray.train, "report", lambda metrics, checkpoint: reports.append(metrics))
    loop.train_worker({"job": Job(make_config("training.epochs=2"), (make_sample("a"),), ExtractorPlan(1, 1.0, 1))})
    assert [report["epoch"] for report in reports] == [1, 2]
    assert all(report["clips"] == report["val_clips"] == 4 for report in reports)
