import math
import sqlite3
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event as Record  # type: ignore[import-untyped]
from tensorboardX.record_writer import masked_crc32c  # type: ignore[import-untyped]

from aura_model.config import TrackingConfig
from aura_model.errors import ConfigError
from aura_model.settings import load_config
from training.watch.listeners import Listener
from training.watch.tracking import RUN_FILE, MlflowTracker, TensorBoardTracker, figures, make_trackers, parameters

Scalars = dict[str, list[tuple[int, float]]]


def epoch(number: int = 1, **change: Any) -> dict[str, Any]:
    sections = {"val": {"auc": 0.75, "n": 8, "undefined": {"ap": "why"}}, "clip": {"auc": 0.5, "confusion": {"tp": 3}}}
    rates = {"learning_rate": 0.001, "clips_per_second": 12.5, "data_wait_share": 0.25, "skipped": 2, "val_skipped": 0}
    event = {"kind": "epoch", "epoch": number, "epochs": 3, "step": 10 * number, "loss": 0.5, "val_auc": 0.75}
    return {**event, **sections, **rates, "checkpoint": "one.pth", **change}


def progress(step: int = 15, phase: str = "train", **change: Any) -> dict[str, Any]:
    rates = {"loss": 0.5, "clips_per_second": 12.5, "data_wait_share": 0.25}
    return {"kind": "progress", "epoch": 2, "epochs": 3, "phase": phase, "share": 0.5, "step": step, **rates, **change}


FIGURES = {
    "loss/train": 0.5,
    "auc/val": 0.75,
    "val/auc": 0.75,
    "val/n": 8.0,
    "clip/auc": 0.5,
    "clip/confusion/tp": 3.0,
    "learning_rate": 0.001,
    "clips_per_second": 12.5,
    "data_wait_share": 0.25,
    "skipped": 2.0,
    "val_skipped": 0.0,
}


def records(file: Path) -> list[Record]:
    """The records of an event file, whose check sums must be right."""
    content, found = file.read_bytes(), []
    while content:
        (size,) = struct.unpack("<Q", content[:8])
        head, body, rest = content[:8], content[12 : 12 + size], content[16 + size :]
        assert struct.unpack("<I", content[8:12])[0] == masked_crc32c(head)
        assert struct.unpack("<I", content[12 + size : 16 + size])[0] == masked_crc32c(body)
        found.append(Record.FromString(body))
        content = rest
    return found


def scalars(folder: Path) -> Scalars:
    """Steps and values by tag, in the order in which TensorBoard reads them."""
    found: Scalars = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for record in records(file):
            for value in record.summary.value:
                found.setdefault(value.tag, []).append((record.step, value.simple_value))
    return found


def test_an_epoch_has_a_figure_for_each_number() -> None:
    assert figures(epoch()) == FIGURES


@pytest.mark.parametrize(
    "change",
    [
        {"loss": None},
        {"loss": math.nan},
        {"loss": math.inf},
        {"loss": "low"},
        {"loss": True},
    ],
)
def test_what_is_no_number_is_no_figure(change: dict[str, Any]) -> None:
    assert figures(epoch(**change)) == {name: value for name, value in FIGURES.items() if name != "loss/train"}


def test_sections_other_than_the_scores_are_no_figures() -> None:
    assert figures(epoch(monitor={"best": 0.75, "stale": 1}, memory=[1, 2])) == FIGURES


def test_parameters_are_all_settings_by_their_key() -> None:
    config = load_config(env={}, overrides=["training.epochs=7", "training.monitor.metric=val.eer"])
    params = parameters(config)
    assert params["training.epochs"] == "7"
    assert params["training.monitor.metric"] == "val.eer"
    assert params["training.ema_decay"] == "None"
    assert params["dataset.augmentation.crop.range"] == "[0.85, 1.0]"
    assert {name.split(".")[0] for name in params} == set(config.plain())


def test_parameters_hold_no_secret() -> None:
    secret = "https://me:pass1@host/mlflow?token=abc"
    params = parameters(load_config(env={}, overrides=[f"training.tracking.mlflow={secret}"]))
    assert "host/mlflow" in params["training.tracking.mlflow"]
    assert not any(word in " ".join(params.values()) for word in ("pass1", "abc"))


def test_tensorboard_reads_the_figures_of_each_epoch(tmp_path: Path) -> None:
    tracker = TensorBoardTracker(tmp_path / "run")
    tracker.hear(epoch(1))
    tracker.hear(epoch(2, loss=0.25))
    tracker.close()
    found = scalars(tmp_path / "run")
    assert found["loss/train"] == [(1, 0.5), (2, 0.25)]
    assert {tag: points[0][1] for tag, points in found.items()} == pytest.approx(FIGURES)  # they are float32


def test_tensorboard_reads_the_progress_of_training_by_step(tmp_path: Path) -> None:
    tracker = TensorBoardTracker(tmp_path)
    for event in (progress(5, loss=None), progress(10), progress(10, "val"), {"kind": "skip"}, {"kind": "restart"}):
        tracker.hear(event)
    tracker.close()
    assert scalars(tmp_path) == {
        "progress/clips_per_second": [(5, 12.5), (10, 12.5)],
        "progress/data_wait_share": [(5, 0.25), (10, 0.25)],
        "progress/loss": [(10, 0.5)],
    }


def test_tensorboard_sees_an_epoch_at_once(tmp_path: Path) -> None:
    tracker = TensorBoardTracker(tmp_path)
    tracker.hear(epoch())
    assert scalars(tmp_path)["auc/val"] == [(1, 0.75)]
    tracker.close()


def test_event_files_begin_as_tensorboard_wants_them(tmp_path: Path) -> None:
    TensorBoardTracker(tmp_path).close()
    (file,) = tmp_path.iterdir()
    assert [record.file_version for record in records(file)] == ["brain.Event:2"]


def test_a_resumed_run_adds_a_file_and_loses_none(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        tracker = TensorBoardTracker(tmp_path)
        tracker.hear(epoch(number))
        tracker.close()
    assert len(list(tmp_path.iterdir())) == 3
    assert scalars(tmp_path)["auc/val"] == [(1, 0.75), (2, 0.75), (3, 0.75)]


class FakeError(Exception):
    """As `mlflow.MlflowException`."""

    def __init__(self, text: str, error_code: str = "INTERNAL_ERROR") -> None:
        super().__init__(text)
        self.error_code = error_code


class FakeServer:
    """What an MLflow server keeps, and the client's calls on it; `down` makes it unreachable."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.down = False

    def client(self, tracking_uri: str) -> "FakeServer":
        if not tracking_uri.startswith("http"):
            raise FakeError(f"got unsupported URI {tracking_uri!r}", "INVALID_PARAMETER_VALUE")
        return self

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        self._reach()
        return SimpleNamespace(experiment_id=self.experiments[name]) if name in self.experiments else None

    def create_experiment(self, name: str) -> str:
        self.experiments[name] = f"id of {name}"
        return self.experiments[name]

    def create_run(self, experiment: str, run_name: str) -> SimpleNamespace:
        self._reach()
        run = f"run-{len(self.runs)}"
        kept = {"experiment": experiment, "name": run_name, "status": "RUNNING", "params": {}, "metrics": {}}
        self.runs[run] = kept
        return SimpleNamespace(info=SimpleNamespace(run_id=run))

    def update_run(self, run: str, status: str) -> None:
        self._reach()
        if run not in self.runs:
            raise FakeError("no such run", "RESOURCE_DOES_NOT_EXIST")
        self.runs[run]["status"] = status

    def set_terminated(self, run: str, status: str) -> None:
        self.update_run(run, status)

    def log_batch(self, run: str, metrics: list[Any] = [], params: list[Any] = []) -> None:  # noqa: B006
        self._reach()
        assert len(metrics) <= 1000
        assert len(params) <= 100
        for name, value in params:
            assert self.runs[run]["params"].setdefault(name, value) == value
        for name, value, time, step in metrics:
            assert time > 1e12
            self.runs[run]["metrics"].setdefault(name, []).append((step, value))

    def _reach(self) -> None:
        if self.down:
            raise FakeError("connection to https://me:pass1@host refused")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """A server, with an `mlflow` package that reaches it."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    server, package = FakeServer(), ModuleType("mlflow")
    entities = SimpleNamespace(Metric=lambda *of: of, Param=lambda *of: of)
    for name, value in {"MlflowClient": server.client, "MlflowException": FakeError, "entities": entities}.items():
        setattr(package, name, value)
    monkeypatch.setitem(sys.modules, "mlflow", package)
    return server


@pytest.fixture
def track(server: FakeServer, tmp_path: Path) -> Callable[[], MlflowTracker]:
    """Begins, or resumes, the run of one folder."""
    return lambda: MlflowTracker("http://host", tmp_path, "a run", {"training.epochs": "3"})


Track = Callable[[], MlflowTracker]


def test_mlflow_holds_parameters_and_the_figures_of_each_epoch(server: FakeServer, track: Track) -> None:
    tracker = track()
    for event in (progress(), {"kind": "skip"}, epoch(1), epoch(2), epoch(3)):
        tracker.hear(event)
    tracker.close()
    assert server.runs == {
        "run-0": {
            "experiment": "id of aura",
            "name": "a run",
            "status": "FINISHED",
            "params": {"training.epochs": "3"},
            "metrics": {name: [(1, value), (2, value), (3, value)] for name, value in FIGURES.items()},
        }
    }


def test_a_run_is_there_from_the_first_event(server: FakeServer, track: Track) -> None:
    track().hear(progress())
    assert server.runs["run-0"]["params"] == {"training.epochs": "3"}


def test_nothing_heard_is_no_run(server: FakeServer, track: Track) -> None:
    track().close()
    assert server.runs == {}


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([epoch(1)], "KILLED"),
        ([epoch(3)], "FINISHED"),
        ([epoch(1), epoch(2, stop=True)], "FINISHED"),
        ([epoch(2, stop=False)], "KILLED"),
        ([progress()], "KILLED"),
    ],
)
def test_a_run_is_finished_only_after_its_last_epoch(
    server: FakeServer, track: Track, events: list[dict[str, Any]], status: str
) -> None:
    tracker = track()
    for event in events:
        tracker.hear(event)
    tracker.close()
    assert server.runs["run-0"]["status"] == status


def test_a_resumed_run_goes_on_in_the_same_mlflow_run(server: FakeServer, tmp_path: Path, track: Track) -> None:
    first = track()
    first.hear(epoch(1))
    first.close()
    second = MlflowTracker("http://host", tmp_path, "a run", {"training.epochs": "5"})
    second.hear(epoch(2))
    assert list(server.runs) == ["run-0"]
    assert server.runs["run-0"]["status"] == "RUNNING"
    assert server.runs["run-0"]["params"] == {"training.epochs": "3"}
    assert server.runs["run-0"]["metrics"]["auc/val"] == [(1, 0.75), (2, 0.75)]


def test_a_run_that_is_no_longer_there_begins_anew(server: FakeServer, tmp_path: Path, track: Track) -> None:
    (tmp_path / RUN_FILE).write_text("another server's")
    track().hear(epoch(1))
    assert list(server.runs) == ["run-0"]
    assert (tmp_path / RUN_FILE).read_text() == "run-0"


def test_a_run_of_another_folder_is_another_run(server: FakeServer, tmp_path: Path) -> None:
    for name in ("a", "b"):
        MlflowTracker("http://host", tmp_path / name, name, {}).hear(epoch(1))
    assert [run["name"] for run in server.runs.values()] == ["a", "b"]
    assert list(server.experiments) == ["aura"]


@pytest.mark.parametrize("down_at", [0, 1])
def test_epochs_that_a_server_missed_are_sent_once_it_is_back(server: FakeServer, track: Track, down_at: int) -> None:
    tracker = track()
    for number in (1, 2, 3):
        server.down = number - 1 == down_at
        try:
            tracker.hear(epoch(number))
        except FakeError:
            assert server.down
    tracker.close()
    assert list(server.runs) == ["run-0"]
    assert server.runs["run-0"]["metrics"]["auc/val"] == [(1, 0.75), (2, 0.75), (3, 0.75)]
    assert server.runs["run-0"]["params"] == {"training.epochs": "3"}


def test_a_server_that_is_gone_is_not_asked_at_each_progress(server: FakeServer, track: Track) -> None:
    tracker = track()
    server.down = True
    with pytest.raises(FakeError):
        tracker.hear(progress())
    tracker.hear(progress())


def test_many_figures_and_parameters_go_in_parts(server: FakeServer, tmp_path: Path) -> None:
    params = {f"p{n}": str(n) for n in range(250)}
    tracker = MlflowTracker("http://host", tmp_path, "a run", params)
    tracker.hear(epoch(1, val={str(n): n for n in range(2500)}))
    assert server.runs["run-0"]["params"] == params
    assert len(server.runs["run-0"]["metrics"]) > 2500


def test_names_are_made_such_as_mlflow_takes_them(server: FakeServer, track: Track) -> None:
    track().hear(epoch(1, val={"fpr@95%tpr é": 0.5}))
    assert server.runs["run-0"]["metrics"]["val/fpr_95_tpr _"] == [(1, 0.5)]


def tracking(mlflow: str | None = None, tensorboard: bool = False) -> TrackingConfig:
    return TrackingConfig(tensorboard=tensorboard, mlflow=mlflow)


def make(config: TrackingConfig, folder: Path) -> list[Listener]:
    return make_trackers(config, folder, "a run", {})


def test_nobody_is_told_unless_asked_for(tmp_path: Path) -> None:
    assert make(tracking(), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_all_that_are_asked_for_are_told(server: FakeServer, tmp_path: Path) -> None:
    trackers = make(tracking("http://host", tensorboard=True), tmp_path)
    for tracker in trackers:
        tracker.hear(epoch(3))
        tracker.close()
    assert scalars(tmp_path)["auc/val"] == [(3, 0.75)]
    assert server.runs["run-0"]["status"] == "FINISHED"


def test_a_missing_package_is_refused_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[mlflow\]'") as refused:
        make(tracking("http://host", tensorboard=True), tmp_path)
    assert refused.value.detail.startswith("training.tracking.mlflow")
    assert list(tmp_path.iterdir()) == []


def test_a_uri_that_mlflow_cannot_use_is_refused_without_its_password(server: FakeServer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unsupported URI") as refused:
        make(tracking("carrier://me:pass1@pigeon"), tmp_path)
    assert "training.tracking.mlflow" in refused.value.detail
    assert "pass1" not in refused.value.detail


def test_failures_of_trackers_are_warned_of_once_and_end_nothing(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings = list[str]()
    monkeypatch.setattr("training.watch.tracking.get_logger", lambda name: SimpleNamespace(warning=warnings.append))
    server.down = True
    full = OSError(28, "no space left on device")
    monkeypatch.setattr(TensorBoardTracker, "_write", lambda *_: (_ for _ in ()).throw(full))
    trackers = make(tracking("http://host", tensorboard=True), tmp_path)
    for number in (1, 2, 3):
        for tracker in trackers:
            tracker.hear(epoch(number))
    for tracker in trackers:
        tracker.close()
    assert sorted(line.split()[0] for line in warnings) == ["MLflow", "TensorBoard"]
    assert "no space left" in "".join(warnings)
    assert "pass1" not in "".join(warnings)


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_real_mlflow_keeps_it_all_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="the extra aura[mlflow] is not installed")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    params = parameters(load_config(env={}))
    for numbers in ((1, 2), (3,)):
        (tracker,) = make_trackers(tracking(f"sqlite:///{tmp_path}/mlflow.db"), tmp_path, "a run", params)
        for number in numbers:
            tracker.hear(epoch(number))
        tracker.close()
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        assert store.execute("select name, status from runs").fetchall() == [("a run", "FINISHED")]
        assert dict(store.execute("select key, value from params")) == params
        points = store.execute("select step, value from metrics where key = 'auc/val' order by step").fetchall()
    assert points == [(1, 0.75), (2, 0.75), (3, 0.75)]
