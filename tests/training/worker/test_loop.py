"""What one worker does, without Ray: steps with its partner, validation, checkpoints, and going on from one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import ray.train
import torch
from sklearn.metrics import roc_auc_score

from aura_model.checkpoint import Checkpoint, read_checkpoint
from aura_model.config import Config
from training.data.manifest import Sample
from training.optim.learner import Learner
from training.plan import ExtractorPlan
from training.rows import Columns, Row, to_columns
from training.stream import Course
from training.worker import loop
from training.worker.loop import SCORE, Job, Worker, train_worker
from training.worker.tally import Tally

MakeRow = Callable[..., Row]
Events = list[dict[str, Any]]
NO_PARTNER = (0, 0, 0)


class Stream:
    """A share of the stream: the rows of the places of a course that belong to this worker."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def iter_batches(self, *, batch_size: int | None, batch_format: str) -> Iterator[Columns]:
        assert (batch_size, batch_format) == (None, "numpy")
        yield from map(to_columns, self._rows)


class FakeTeam:
    """One worker, whose partner has so many (parts, clips, skipped) in each step; at the end of a list nothing more."""

    def __init__(self, rank: int = 0, size: int = 2, partner: Sequence[tuple[int, int, int]] = ()) -> None:
        self.rank, self.size = rank, size
        self._partner = iter(partner)
        self.shared: list[Any] = []

    def total(self, *counts: int) -> list[int]:
        return [own + other for own, other in zip(counts, next(self._partner, NO_PARTNER), strict=True)]

    def gather(self, items: list[Any]) -> list[Any]:
        """The others have nothing, and say so of each pass."""
        others = [Tally()] * (self.size - 1) if items and isinstance(items[0], Tally) else []
        return [*others[: self.rank], *items, *others[self.rank :]]

    def deal(self, make: Callable[[], Sequence[Any]]) -> Any:
        return make()[self.rank]

    def share_buffers(self, model: object) -> None:
        self.shared.append(model)


class Run:
    """A run of one worker: what Ray Train would be given, and what workers would hear from it."""

    def __init__(self, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch) -> None:
        self.make_row = make_row
        self.team: Any = FakeTeam()
        self.errors: dict[str, str] = {}
        """Unusable videos, with their codes."""
        self.train = tuple(Sample(f"t{number}", number % 2, "train", f"/t{number}.mp4") for number in range(6))
        self.val = tuple(Sample(f"v{number}", number % 2, "val", f"/v{number}.mp4") for number in range(5))
        self.events: Events = []
        self.reports: list[dict[str, Any]] = []
        self.saved: list[tuple[str, Checkpoint]] = []
        self.checkpoint: Checkpoint | None = None
        """The one to go on from."""
        self.courses: list[Course] = []
        self.dealt: list[list[int]] = []
        """What each stream was told that workers had before."""
        monkeypatch.setattr(loop, "setup_logging", lambda config: None)
        monkeypatch.setattr(loop.Team, "here", lambda: self.team)
        monkeypatch.setattr(loop, "get_device", lambda: torch.device("cpu"))
        monkeypatch.setattr(loop, "_data_parallel", lambda module: module)
        monkeypatch.setattr(loop, "_last_checkpoint", lambda: self.checkpoint)
        monkeypatch.setattr(loop, "clip_stream", self._stream)
        monkeypatch.setattr(ray.train, "report", self._report)

    def _stream(
        self, course: Course, config: Config, extractors: Any, workers: int, dealt: Sequence[int]
    ) -> list[Stream]:
        assert workers == self.team.size
        self.courses.append(course)
        self.dealt.append(list(dealt))
        mine = Stream([self._row(course, index) for index in range(len(course))])
        return [mine] * workers

    def _row(self, course: Course, index: int) -> Row:
        """One clip a video, which looks like its number and label, and shows another span in each epoch."""
        place = course.at(index)
        facts = place.path_row
        number, epoch, label = int(facts["video_id"][1:]), facts["epoch"], facts["label"]
        error = self.errors.get(facts["video_id"], "")
        seed = 1000 + 100 * epoch + 10 * number + label
        return self.make_row(facts["video_id"], label, facts["split"], place.turn, facts["slot"], error, seed=seed)

    def _report(self, metrics: dict[str, Any], checkpoint: Any) -> None:
        self.reports.append(metrics)
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                (path,) = Path(folder).iterdir()
                self.saved.append((path.name, read_checkpoint(path)))

    def job(self, config: Config) -> Job:
        board: Any = SimpleNamespace(post=SimpleNamespace(remote=self.events.extend))
        return Job(config, self.train, self.val, ExtractorPlan(1, 1.0, 1), board)

    def __call__(self, config: Config) -> Any:
        return train_worker({"job": self.job(config)})

    def told(self, kind: str) -> Events:
        return [event for event in self.events if event["kind"] == kind]


@pytest.fixture
def run(make_row: MakeRow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)  # Ray Train gives each run a folder of its own
    return Run(make_row, monkeypatch)


@pytest.fixture
def small(make_config: Callable[..., Config]) -> Callable[..., Config]:
    """Two clips in a forward pass, three in validation, one epoch; augmentation off, as it takes time."""
    return lambda *overrides: make_config(
        "training.batch_size=2",
        "inference.batch_clips=3",
        "training.epochs=1",
        "training.warmup_steps=0",
        "dataset.augmentation.enabled=false",
        *overrides,
    )


def step_calls(run: Run, config: Config) -> list[tuple[list[int], list[float]]]:
    """Clips and weights of each optimiser step."""
    with patch.object(Learner, "step", autospec=True, side_effect=Learner.step) as step:
        assert run(config) is None
    return [([len(targets) for _, targets in call.args[1]], list(call.args[2])) for call in step.call_args_list]


@pytest.mark.parametrize(
    ("accumulate", "partner", "steps"),
    [
        (1, [], [([2], [2]), ([2], [2]), ([1], [2])]),
        (1, [(1, 2, 0), (1, 2, 0), (1, 2, 0)], [([2], [1]), ([2], [1]), ([1], [2 / 3])]),
        (1, [(1, 2, 0)] * 4, [([2], [1]), ([2], [1]), ([1], [2 / 3]), ([1], [0])]),
        (1, [(1, 1, 0), (1, 0, 1)], [([2], [4 / 3]), ([2], [2]), ([1], [2])]),
        (2, [(2, 3, 0)], [([2, 2], [4 / 7, 4 / 7]), ([1], [2])]),
        (2, [(2, 4, 0), (1, 1, 0)], [([2, 2], [1 / 2, 1 / 2]), ([1], [1])]),
        (3, [(3, 5, 0)], [([2, 2, 1], [2 / 5, 2 / 5, 1 / 5])]),
    ],
)
def test_every_clip_is_learned_and_workers_take_the_same_steps(
    run: Run, small: Callable[..., Config], accumulate: int, partner: Any, steps: list[tuple[list[int], list[float]]]
) -> None:
    """Five clips of this worker, a sixth video is broken; a weight of 1 is that of a mean over the workers."""
    run.errors = {run.train[2].video_id: "corrupt_video"}
    run.team = FakeTeam(partner=partner)
    found = step_calls(run, small(f"training.accumulate={accumulate}"))
    assert [clips for clips, _ in found] == [clips for clips, _ in steps]
    assert [weights for _, weights in found] == [pytest.approx(weights) for _, weights in steps]
    (report,) = run.reports
    assert (report["step"], report["clips"], report["skipped"]) == (len(steps), 5, 1)


def test_a_worker_without_any_clip_steps_along_and_has_no_gradient(run: Run, small: Callable[..., Config]) -> None:
    run.errors = {sample.video_id: "empty_file" for sample in run.train}
    run.team = FakeTeam(partner=[(1, 2, 0), (1, 2, 0)])
    run.team.gather = with_partner
    gradients: list[float] = []

    stepped = Learner.step

    def step(learner: Learner, *arguments: Any) -> Any:
        loss = stepped(learner, *arguments)
        gradients.extend(float(one.grad.abs().max()) for one in learner.model.parameters() if one.grad is not None)
        return loss

    with patch.object(Learner, "step", step):
        assert run(small("dataset.max_skipped=1.0")) is None
    assert gradients
    assert set(gradients) == {0.0}
    (report,) = run.reports
    assert (report["step"], report["clips"], report["loss"], report["skipped"]) == (2, 4, 0.25, 6)


def with_partner(items: list[Any]) -> list[Any]:
    """A partner that learned from four clips with a loss of 1 in all; for other things it has nothing."""
    if not items or not isinstance(items[0], Tally):
        return items
    return [*items, Tally() if items[0].clips else Tally(clips=4, loss_sum=1.0, seconds=1.0)]


def test_a_step_that_nobody_has_a_clip_for_is_none(run: Run, small: Callable[..., Config]) -> None:
    """A group of unusable videos alone moves neither weights nor the learning rate."""
    run.train = run.train[:3]
    first, second, _ = (run.train[place].video_id for place in order_of(run, small()))
    run.errors = {first: "empty_file", second: "empty_file"}
    assert [clips for clips, _ in step_calls(run, small("dataset.max_skipped=1.0"))] == [[1]]


def order_of(run: Run, config: Config) -> list[int]:
    course = Course(run.train, run.val, config.seed, 1, 1)
    return [int(course.at(index).path_row["video_id"][1:]) for index in range(len(run.train))]


@pytest.mark.parametrize(
    ("broken", "overrides", "code", "said"),
    [
        ("t", ("dataset.max_skipped=1.0",), "no_clips", "6 were skipped"),
        ("t", (), "too_many_skipped", "of 6 videos of the split train"),
        ("v", (), "too_many_skipped", "5 of 5 videos of the split val"),
        ("", ("training.monitor.metric=nonsense",), "invalid_config", "'nonsense'"),
    ],
)
def test_what_no_repetition_mends_is_returned_and_not_raised(
    run: Run, small: Callable[..., Config], broken: str, overrides: tuple[str, ...], code: str, said: str
) -> None:
    """Ray Train begins anew after an exception."""
    if broken:
        run.errors = {one.video_id: "empty_file" for one in (*run.train, *run.val) if one.video_id.startswith(broken)}
    failure = run(small(*overrides))
    assert failure[0] == code
    assert said in failure[1]
    assert run.reports == []


def learner_settings(run: Run, config: Config) -> tuple[float, float]:
    """The class weights that the learner was given."""
    with patch.object(Learner, "__init__", autospec=True, side_effect=Learner.__init__) as made:
        assert run(config) is None
    pair: tuple[float, float] = made.call_args.args[4]
    return pair


def test_classes_are_weighed_by_the_videos_and_pairs_are_balanced_by_themselves(
    run: Run, small: Callable[..., Config]
) -> None:
    run.train = tuple(replace(sample, label=int(number < 2)) for number, sample in enumerate(run.train))
    assert learner_settings(run, small()) == (6 / 8, 6 / 4)
    assert learner_settings(run, small("training.class_balance=false")) == (1.0, 1.0)
    run.train = tuple(replace(sample, label=0) for sample in run.train)  # no other would have weights
    assert learner_settings(run, small("dataset.pseudo_fakes.enabled=true")) == (1.0, 1.0)


def test_a_start_that_cannot_be_used_ends_the_run(run: Run, small: Callable[..., Config], tmp_path: Path) -> None:
    code, detail = run(small(f"training.start_from={tmp_path / 'gone.pth'}"))
    assert (code, "gone.pth" in detail) == ("checkpoint_missing", True)


@pytest.mark.parametrize(("threads", "set_to"), [("null", []), ("3", [3])])
def test_a_worker_uses_as_many_threads_as_it_is_told(
    run: Run, small: Callable[..., Config], threads: str, set_to: list[int]
) -> None:
    with patch.object(torch, "set_num_threads") as told:
        assert run(small(f"training.threads={threads}")) is None
    assert [call.args[0] for call in told.call_args_list] == set_to


def test_a_run_stops_as_soon_as_too_many_videos_are_unusable(run: Run, small: Callable[..., Config]) -> None:
    """Those of the partner count too, and no step is taken on the way."""
    run.team = FakeTeam(partner=[(1, 2, 4)])
    with patch.object(Learner, "step", side_effect=AssertionError("too late")):
        assert run(small())[0] == "too_many_skipped"


def test_a_fault_of_the_program_is_raised(run: Run, small: Callable[..., Config]) -> None:
    with (
        patch.object(Learner, "step", side_effect=RuntimeError("a worker's fault")),
        pytest.raises(RuntimeError, match="a worker's fault"),
    ):
        run(small())


def test_a_loss_that_is_no_number_ends_the_run(run: Run, small: Callable[..., Config]) -> None:
    with patch.object(Learner, "step", return_value=torch.tensor(float("nan"))):
        assert run(small())[0] == "diverged"


def test_validation_scores_every_clip_once_and_counts_the_rest(run: Run, small: Callable[..., Config]) -> None:
    run.errors = {"v1": "empty_file"}
    scores: list[float] = []

    def logits(learner: Learner, batch: Any) -> list[float]:
        scored = [float(value) for value in range(len(scores), len(scores) + len(batch.video_mask))]
        scores.extend(scored)
        return scored

    with patch.object(Learner, "logits", logits):
        assert run(small()) is None
    (report,) = run.reports
    assert len(scores) == report["val"]["n"] == report["clip"]["n"] == 4
    assert report["val_auc"] == roc_auc_score([0, 0, 1, 0], scores)
    assert report["val_skipped"] == 1
    assert [(event["video_id"], event["split"], event["code"]) for event in run.told("skip")] == [
        ("v1", "val", "empty_file")
    ]


@pytest.mark.parametrize(("averaged", "models"), [("null", 1), ("0.9", 2)])
def test_workers_validate_with_the_same_statistics(
    run: Run, small: Callable[..., Config], averaged: str, models: int
) -> None:
    """Of the trained model as well as of its average, so that a resume, which has the first worker's, is exact."""
    assert run(small(f"training.ema_decay={averaged}")) is None
    assert len(run.team.shared) == len({id(model) for model in run.team.shared}) == models


@pytest.mark.parametrize(("rank", "saved"), [(0, 2), (1, 0)])
def test_every_worker_reports_each_epoch_and_the_first_one_brings_the_checkpoint(
    run: Run, small: Callable[..., Config], rank: int, saved: int
) -> None:
    run.team = FakeTeam(rank)
    assert run(small("training.epochs=2")) is None
    assert [(report["epoch"], report["epochs"], report["step"]) for report in run.reports] == [(1, 2, 3), (2, 2, 6)]
    assert all(report["clips"] == 6 and report["val"]["n"] == 5 for report in run.reports)
    assert len(run.saved) == len(run.told("epoch")) == saved
    for (name, checkpoint), report, event in zip(run.saved, run.reports, run.told("epoch"), strict=False):
        assert name == event["checkpoint"] == f"multimodal_v1_epoch{report['epoch']}_{report['val_auc']:.4f}.pth"
        assert checkpoint.epoch == report["epoch"]
        assert [figures([one]) for one in (checkpoint.metrics, event)] == [figures([report])] * 2


def test_an_undefined_auc_has_a_name_and_the_least_score(run: Run, small: Callable[..., Config]) -> None:
    run.val = run.val[:1]
    assert run(small()) is None
    assert [name for name, _ in run.saved] == ["multimodal_v1_epoch1.pth"]
    assert (run.reports[0]["val_auc"], run.reports[0][SCORE]) == (None, -np.inf)


@pytest.mark.parametrize(("metric", "mode", "sign"), [("val.brier", "min", -1), ("clip.auc", "max", 1)])
def test_checkpoints_are_kept_by_the_monitored_figure(
    run: Run, small: Callable[..., Config], metric: str, mode: str, sign: int
) -> None:
    assert run(small(f"training.monitor.metric={metric}", f"training.monitor.mode={mode}")) is None
    over, figure = metric.split(".")
    assert run.reports[0][SCORE] == sign * run.reports[0][over][figure]


def test_training_stops_when_nothing_improves_and_does_not_go_on_later(run: Run, small: Callable[..., Config]) -> None:
    config = small("training.epochs=9", "training.monitor.patience=2", "training.monitor.min_delta=1.0")
    assert run(config) is None
    assert [report["epoch"] for report in run.reports] == [1, 2, 3]
    run.checkpoint = run.saved[-1][1]
    assert run(config) is None
    assert len(run.reports) == 3
    assert run.told("epoch")[-1]["stop"]


def test_more_patience_lets_a_run_that_stopped_go_on(run: Run, small: Callable[..., Config]) -> None:
    few = ("training.epochs=4", "training.monitor.min_delta=1.0")
    assert run(small(*few, "training.monitor.patience=2")) is None
    run.checkpoint = run.saved[-1][1]
    assert run(small(*few, "training.monitor.patience=9")) is None
    assert [(event["epoch"], event["stop"]) for event in run.told("epoch")[2:]] == [(3, True), (3, False), (4, False)]


def test_what_a_killed_worker_left_of_a_checkpoint_goes_at_the_next_epoch(
    run: Run, small: Callable[..., Config], tmp_path: Path
) -> None:
    left = tmp_path / "checkpoint-0" / ".ckpt-torn.tmp"
    left.parent.mkdir()
    left.touch()
    assert run(small()) is None
    assert len(run.saved) == 1
    assert list(tmp_path.iterdir()) == []


def figures(reports: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What must not differ, however a run came about."""
    names = ("epoch", "step", "loss", "val_auc", "val", "clip", "learning_rate", "monitor", "clips", "skipped")
    return [{name: report[name] for name in names} for report in reports]


RICH = (
    "training.epochs=4",
    "model.fusion.dropout=0.5",
    "training.warmup_steps=5",
    "training.accumulate=2",
    "training.ema_decay=0.9",
    "training.scheduler={name: plateau, patience: 0}",
    "training.freeze={part: stem, epochs: 2}",
    "dataset.augmentation.enabled=true",
)


@pytest.mark.parametrize(
    ("overrides", "after"), [(("training.epochs=4",), 1), (RICH, 1), (RICH, 3)], ids=["plain", "frozen", "thawed"]
)
def test_a_run_that_goes_on_from_a_checkpoint_is_the_uninterrupted_one(
    run: Run, small: Callable[..., Config], overrides: tuple[str, ...], after: int
) -> None:
    """To the bit, whatever was drawn meanwhile."""
    config = small(*overrides)
    assert run(config) is None
    whole = figures(run.reports)
    run.checkpoint = run.saved[after - 1][1]
    run.reports.clear()
    run.events.clear()
    torch.manual_seed(12345)
    assert run(config) is None
    assert figures(run.reports) == whole[after:]
    assert [course.first for course in run.courses] == [1, after + 1]
    assert len({report["loss"] for report in whole}) == 4


def test_going_on_tells_of_the_epoch_before_and_of_the_restart(run: Run, small: Callable[..., Config]) -> None:
    assert run(small()) is None
    run.checkpoint = run.saved[0][1]
    run.events.clear()
    assert run(small("training.epochs=2")) is None
    told = [(event["kind"], event["epoch"]) for event in run.events if event["kind"] != "progress"]
    assert told == [("epoch", 1), ("restart", 1), ("epoch", 2)]
    assert run.events[0]["loss"] == run.saved[0][1].metrics["loss"]
    run.events.clear()
    run.team = FakeTeam(rank=1)
    assert run(small("training.epochs=2")) is None
    assert run.events == []


def test_the_sharing_of_clips_goes_on_where_it_stood(run: Run, small: Callable[..., Config]) -> None:
    """Every clip and every unusable video is a row; a team of another size begins anew."""
    run.errors = {"t1": "empty_file"}
    run.team = FakeTeam(rank=0, size=2)
    assert run(small("training.epochs=2")) is None
    for after, size in [(1, 2), (2, 2), (1, 3)]:
        run.checkpoint = run.saved[after - 1][1]
        run.team = FakeTeam(rank=0, size=size)
        assert run(small("training.epochs=3")) is None
    videos = len(run.train) + len(run.val)
    assert run.dealt == [[0, 0], [videos, 0], [2 * videos, 0], [0, 0, 0]]
    assert run.reports[-1]["epoch"] == 3


def test_a_finished_run_starts_no_stream(run: Run, small: Callable[..., Config]) -> None:
    assert run(small()) is None
    run.checkpoint = run.saved[0][1]
    assert run(small()) is None
    assert (len(run.courses), len(run.reports)) == (1, 1)


def test_dropout_differs_between_workers_and_epochs(run: Run, small: Callable[..., Config]) -> None:
    config, seeds = small("training.epochs=2"), list[int]()
    for rank in (0, 1):
        run.team = FakeTeam(rank)
        with patch.object(loop.torch, "manual_seed", seeds.append):
            assert run(config) is None
    drawn = [seed for seed in seeds if seed != config.seed]  # that of the weights
    assert len(drawn) == len(set(drawn)) == 4


def test_classes_are_balanced_by_the_training_videos(
    run: Run, small: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    run.train = (*run.train[::2], run.train[1])  # three real videos, one fake
    weights: list[Any] = []

    class Watched(Learner):
        def __init__(self, *arguments: Any) -> None:
            weights.append(arguments[3])
            super().__init__(*arguments)

    monkeypatch.setattr(loop, "Learner", Watched)
    for balanced in ("true", "false"):
        Worker(run.job(small(f"training.class_balance={balanced}")))
    assert weights[0][1] == pytest.approx(3 * weights[0][0])
    assert tuple(weights[1]) == (1, 1)
