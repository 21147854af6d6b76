from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aura_model.config import Config
from aura_model.errors import ConfigError
from aura_model.settings import load_config
from training import run_folder
from training.run_folder import LATEST, RunFolder, RunFolderError, anchored


@pytest.fixture
def started(tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], RunFolder]:
    """Start a run at the given hour."""

    def start(hour: int) -> RunFolder:
        class Clock:
            @staticmethod
            def now(zone: object) -> datetime:
                assert zone is UTC
                return datetime(2026, 3, 4, hour, 5, 6, tzinfo=UTC)

        monkeypatch.setattr(run_folder, "datetime", Clock)
        return RunFolder.new(tmp_path / "runs", config)

    return start


def test_a_new_run_keeps_its_configuration(started: Callable[[int], RunFolder], config: Config, tmp_path: Path) -> None:
    folder = started(7)
    assert folder.path.parent == tmp_path / "runs"
    assert folder.name == folder.path.name
    assert folder.name.startswith("20260304-070506-")
    assert load_config(path=folder.config, env={}) == config
    assert [path.name for path in folder.path.iterdir()] == ["config.yaml"]
    assert (folder.epochs.parent, folder.skips.parent) == (folder.path, folder.path)
    assert (folder.epochs.name, folder.skips.name) == ("epochs.jsonl", "skipped.csv")


def test_runs_of_one_second_stay_apart_and_in_order(tmp_path: Path, config: Config) -> None:
    names = [RunFolder.new(tmp_path / "runs", config).name for _ in range(5)]
    assert sorted(set(names)) == names
    assert RunFolder.find(tmp_path / "runs", LATEST).name == names[-1]


def test_two_runs_never_share_a_folder(started: Callable[[int], RunFolder]) -> None:
    started(7)
    with pytest.raises(FileExistsError):
        started(7)


def test_a_run_is_found_by_its_name_and_the_newest_as_latest(
    started: Callable[[int], RunFolder], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    newest, oldest, middle = started(9), started(7), started(8)
    for folder in (newest, oldest, middle):
        assert RunFolder.find(runs, folder.name) == folder
    assert RunFolder.find(runs, LATEST) == newest


def test_a_run_is_found_from_anywhere(
    started: Callable[[int], RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = started(7)
    monkeypatch.chdir(tmp_path)
    found = RunFolder.find(Path("runs"), LATEST)
    assert found == folder
    assert found.path.is_absolute()


def test_a_run_is_under_way_in_one_process_alone(started: Callable[[int], RunFolder]) -> None:
    folder, other = started(7), started(8)
    with folder.held(), other.held():
        with pytest.raises(RunFolderError) as caught, RunFolder(folder.path).held():
            pass
        assert caught.value.code == "run_taken"
        assert f"the run {folder.name} is under way in another process" in caught.value.detail
    with folder.held():
        pass


@pytest.mark.parametrize("name", [LATEST, "20260304-070506-abcdef", ""])
def test_without_any_run_none_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "runs" / "no_run").mkdir(parents=True)
    for runs in (tmp_path / "runs", tmp_path / "nothing"):
        with pytest.raises(RunFolderError) as caught:
            RunFolder.find(runs, name)
        assert caught.value.code == "run_missing"
        assert "there are" not in caught.value.detail
        assert "look elsewhere with --set training.output=DIR" in caught.value.detail


@pytest.mark.parametrize("name", ["20260304-07", "other", "../runs", ""])
def test_an_unknown_run_is_refused_with_the_newest_names(
    started: Callable[[int], RunFolder], tmp_path: Path, name: str
) -> None:
    folders = [started(hour) for hour in (5, 6, 7, 8)]
    with pytest.raises(RunFolderError) as caught:
        RunFolder.find(tmp_path / "runs", name)
    assert repr(name) in caught.value.detail
    assert [folder.name in caught.value.detail for folder in folders] == [False, True, True, True]


def test_paths_are_those_of_the_callers_folder(
    make_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = make_config(
        "dataset.data_root=faces",
        "dataset.manifest=lists/faces.csv",
        "dataset.preprocessing.store=store",
        "training.start_from=start.pth",
    )
    found = anchored(relative)
    assert found.dataset.data_root == tmp_path / "faces"
    assert found.dataset.manifest == tmp_path / "lists" / "faces.csv"
    assert found.dataset.preprocessing.store == str(tmp_path / "store")
    assert found.training.start_from == tmp_path / "start.pth"
    monkeypatch.chdir("/")
    assert anchored(found) == found


def test_what_is_no_relative_path_stays(make_config: Callable[..., Config]) -> None:
    found = anchored(make_config("dataset.preprocessing.store=s3://clips/a"))
    assert found.dataset.preprocessing.store == "s3://clips/a"
    assert (found.dataset.manifest, found.training.start_from, found.training.storage) == (None, None, None)
    assert anchored(make_config("training.storage=s3://runs/a")).training.storage == "s3://runs/a"
    assert anchored(make_config("training.storage=runs")).training.storage == str(Path("runs").absolute())
    home = anchored(make_config("dataset.preprocessing.store=~/clips"))
    assert home.dataset.preprocessing.store == str(Path.home() / "clips")


@pytest.mark.parametrize(
    "change",
    [
        *("learning_rate=0.5", "weight_decay=0.5", "scheduler.period=3", "scheduler={name: constant}"),
        *("monitor.metric=loss", "monitor.mode=min"),
    ],
)
def test_a_run_keeps_its_optimiser_and_what_is_best(
    started: Callable[[int], RunFolder], make_config: Callable[..., Config], change: str
) -> None:
    folder = started(7)
    with pytest.raises(ConfigError) as caught:
        folder.refuse_another_course(make_config(f"training.{change}"))
    key = change.partition("=")[0].removesuffix(".period")
    assert caught.value.detail.startswith(f"training.{key}: a resumed run keeps")
    assert "--set training.start_from=CHECKPOINT" in caught.value.detail


def test_other_settings_of_a_run_may_change(
    started: Callable[[int], RunFolder], make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = started(7)
    monkeypatch.setenv("AURA_TRAINING__LEARNING_RATE", "0.5")  # is told of by the settings that it gets into
    folder.refuse_another_course(
        make_config("training.epochs=99", "training.warmup_steps=3", "training.monitor.patience=9")
    )
