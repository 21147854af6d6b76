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

    def __init__(self, *partner: int) -> None:
        self._partner = iter(partner)

    def weight(self, clips: int) -> float | None:
        return step_weight([clips, next(self._partner, 0)], 0)

    def gather(self, items: list[Any]) -> list[Any]:
        return items

    def share_buffers(self, model: object) -> None:
        pass


@pytest.fixture
def make_row(config: Config, make_clip: Callable[..., Clip], make_clips: Callable[..., Clips]) -> Callable[..., Row]:
    def build(video_id: str, label: int = 0, error: str = "", seed: int = 0) -> Row:
        source, shape = (
            {"video_id": video_id, "path": f"{video_id}.mp4", "label": label, "epoch": 1},
            ClipShape.of(config),
        )
        if error:
            return error_row(error, "why", source, shape)
        return rows_of(make_clips(make_clip(seed)), source, shape)[0]

    return build


@pytest.fixture
def batch_of_two(make_config: Callable[..., Config]) -> Config:
    return make_config("training.batch_size=2")


@pytest.fixture
def learner(batch_of_two: Config) -> Learner:
    return Learner(batch_of_two, torch.device("cpu"), lambda module: module)


def train(config: Config, team: Any, learner: Learner, rows: Sequence[Row], epoch: int = 1) -> dict[str, Any]:
    stream: Any = Stream(rows)
    return loop._train(config, team, learner, stream, epoch)


@pytest.mark.parametrize(
    ("partner", "weights"),
    [([2, 2, 2], [1, 1, 2 / 3]), ([2, 2, 2, 2], [1, 1, 2 / 3, 0]), ([1], [4 / 3, 2, 2]), ([], [2, 2, 2])],
)
def test_every_clip_is_learned_and_workers_take_the_same_number_of_steps(
    batch_of_two: Config, learner: Learner, make_row: Callable[..., Row], partner: list[int], weights: list[float]
) -> None:
    rows = [make_row(str(number), number % 2, seed=number) for number in range(5)]
    rows.append(make_row("broken", error="corrupt_video"))
    with patch.object(learner, "step", wraps=learner.step) as step:
        metrics = train(batch_of_two, FakeTeam(*partner), learner, rows)
    assert [call.args[2] for call in step.call_args_list] == pytest.approx(weights)
    assert (metrics["steps"], metrics["clips"]) == (len(weights), 5)
    assert [skip["video_id"] for skip in metrics["skipped"]] == ["broken"]
    assert metrics["loss"] > 0


def test_a_worker_without_any_clip_steps_along_and_changes_nothing(
    batch_of_two: Config, learner: Learner, make_row: Callable[..., Row]
) -> None:
    """Weight decay apart, which does not depend on the gradient."""
    team: Any = FakeTeam(2, 2)
    tallies: list[Tally] = []
    team.gather = lambda items: tallies.extend(items) or [Tally(steps=2, clips=4, loss_sum=1.0, seconds=1.0), *items]
    metrics = train(batch_of_two, team, learner, [make_row("broken", error="corrupt_video")])
    assert (tallies[0].steps, tallies[0].clips, tallies[0].loss_sum) == (2, 0, 0.0)
    assert metrics["clips"] == 4
    assert all(not parameter.grad.any() for parameter in learner.model.parameters() if parameter.grad is not None)


def test_an_epoch_without_any_clip_fails(batch_of_two: Config, learner: Learner, make_row: Callable[..., Row]) -> None:
    with pytest.raises(TrainingError, match=r"1 were skipped \(corrupt_video\)"):
        train(batch_of_two, FakeTeam(), learner, [make_row("broken", error="corrupt_video")])


def test_an_epoch_can_be_repeated_to_the_bit_whatever_was_drawn_before(
    make_config: Callable[..., Config], make_row: Callable[..., Row]
) -> None:
    config, drawn = make_config("model.fusion.dropout=0.5"), count()
    rows = [make_row(str(number), number % 2, seed=number) for number in range(4)]

    def loss(epoch: int) -> float:
        learner = Learner(config, torch.device("cpu"), lambda module: module)
        torch.manual_seed(next(drawn))
        return float(train(config, FakeTeam(2, 2), learner, rows, epoch)["loss"])

    assert loss(1) == loss(1)
    assert loss(1) != loss(2)


def test_validation_scores_every_clip_once_and_tells_of_the_rest(
    batch_of_two: Config, learner: Learner, make_row: Callable[..., Row]
) -> None:
    rows = [make_row(f"v{number}", number % 2, seed=number) for number in range(7)]
    rows.insert(3, make_row("broken", error="empty_file"))
    team, stream = FakeTeam(), Stream(rows)
    metrics = loop._validate(batch_of_two, team, learner, stream)  # type: ignore[arg-type]
    assert (metrics["val_clips"], metrics["val"]["n"], metrics["val"]["positives"]) == (7, 7, 3)
    assert 0 <= metrics["val_auc"] <= 1
    assert [skip["code"] for skip in metrics["val_skipped"]] == ["empty_file"]


@pytest.mark.parametrize(("rank", "auc", "name"), [(0, 0.75, "0.7500"), (0, None, "nan"), (1, 0.75, None)])
def test_the_first_worker_hands_in_the_checkpoint(
    batch_of_two: Config,
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
    team: Any = FakeTeam()
    team.rank = rank
    loop._report(batch_of_two, team, learner, {"epoch": 3, "val_auc": auc})
    (made,) = reports
    assert made["metrics"] == {"epoch": 3, "val_auc": auc}
    assert list(made["saved"]) == ([f"multimodal_v1_epoch3_{name}.pth"] if name else [])
    for saved in made["saved"].values():
        assert (saved.epoch, saved.metrics) == (3, {"epoch": 3, "val_auc": auc})
        assert saved.optimizer_state_dict is not None


@pytest.mark.parametrize(("rank", "set_by_it"), [(0, [1, 2]), (1, [])])
def test_a_worker_trains_validates_and_reports_each_epoch(
    make_config: Callable[..., Config],
    make_row: Callable[..., Row],
    monkeypatch: pytest.MonkeyPatch,
    rank: int,
    set_by_it: list[int],
) -> None:
    reports: list[dict[str, Any]] = []
    epochs: list[int] = []
    rows = [make_row(str(number), number % 2, seed=number) for number in range(4)]
    team: Any = FakeTeam(2, 2, 0, 2, 2)
    team.rank = rank
    monkeypatch.setattr(loop.Team, "here", lambda: team)
    monkeypatch.setattr(loop, "get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(loop, "_data_parallel", lambda module: module)
    monkeypatch.setattr(loop, "set_epoch", lambda clock, epoch: epochs.append(epoch))
    monkeypatch.setattr(ray.train, "get_dataset_shard", lambda name: Stream(rows))
    monkeypatch.setattr(ray.train, "report", lambda metrics, checkpoint: reports.append(metrics))
    loop.train_worker({"job": Job(make_config("training.epochs=2"), "the clock")})
    assert [report["epoch"] for report in reports] == [1, 2]
    assert all(report["clips"] == report["val_clips"] == 4 for report in reports)
    assert epochs == set_by_it
