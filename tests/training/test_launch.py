import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aura_model.settings import load_config
from training import launch
from training.command_line import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED
from training.launch import main, overrides_of, parser
from training.plan import plan_workers
from training.run_folder import LATEST, RunFolder
from training.worker.tally import TrainingError

OPTIONS = {
    "--help",
    "--config",
    "--data-root",
    "--manifest",
    "--auto-split",
    "--num-workers",
    "--epochs",
    "--batch-size",
    "--device",
    "--resume",
    "--debug",
    "--set",
}

CLUSTER = {"CPU": 4.0, "memory": 8e9}
EPOCH = {"kind": "epoch", "epoch": 1, "epochs": 2, "step": 3, "loss": 0.5, "val_auc": 0.75, "val": {}, "clip": {}}
EPOCH |= {"clips_per_second": 9.0, "data_wait_share": 0.1, "skipped": 0, "val_skipped": 0, "learning_rate": 1e-3}


def configured(*arguments: str) -> Any:
    return load_config(env={}, overrides=overrides_of(parser().parse_args(arguments)))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The runs that were started, none of which needs Ray."""
    from training import run as module

    started: list[dict[str, Any]] = []

    @contextmanager
    def no_cluster(local: bool) -> Iterator[None]:
        started.append({"local": local})
        yield

    def train(config: Any, samples: Any, plan: Any, *, listeners: Any, **places: Any) -> Any:
        started[-1] |= {"config": config, "samples": samples, "plan": plan, **places}
        for listener in listeners:
            listener.hear(EPOCH)
        return module.Outcome(places["target"] or Path(places["storage"]) / "best.pth", {})

    monkeypatch.setattr(module, "ray_cluster", no_cluster)
    monkeypatch.setattr(
        module, "cluster_plan", lambda config: plan_workers(config.training.num_workers, "cpu", CLUSTER)
    )
    monkeypatch.setattr(module, "run_training", train)
    return started


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for number in range(6):
            folder = tmp_path / "set" / split / f"{split}{number}"
            folder.mkdir(parents=True)
            (folder / "video.mp4").write_bytes(folder.name.encode())
            (folder / "meta.json").write_text(json.dumps({"label": number % 2}))
    return tmp_path / "set"


def test_the_options_are_these() -> None:
    found = {name for action in parser()._actions for name in action.option_strings if name.startswith("--")}
    assert found == OPTIONS


def test_every_option_reaches_the_configuration() -> None:
    config = configured(
        "--num-workers", "8", "--epochs", "3", "--batch-size", "5", "--device", "cuda", "--set", "seed=9"
    )
    assert (config.training.num_workers, config.training.epochs, config.training.batch_size) == (8, 3, 5)
    assert (config.training.device, config.seed) == ("cuda", 9)
    assert configured("--manifest", "a: b, [c].csv").dataset.manifest == Path("a: b, [c].csv")


def test_a_named_folder_wins_over_a_configured_manifest(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("dataset: {manifest: list.csv}\n")
    arguments = parser().parse_args(["--config", str(file), "--data-root", "here"])
    dataset = load_config(arguments.config, env={}, overrides=overrides_of(arguments)).dataset
    assert (dataset.data_root, dataset.manifest) == (Path("here"), None)


def test_debug_is_small_but_gives_way_to_what_is_asked_for() -> None:
    config = configured("--debug")
    assert (config.training.epochs, config.training.num_workers, config.training.device) == (1, 1, "cpu")
    config = configured("--debug", "--num-workers", "8", "--epochs", "2", "--set", "training.batch_size=3")
    assert (config.training.epochs, config.training.num_workers, config.training.batch_size) == (2, 8, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "training.epoch=3"], "training.epoch: unknown key"),
        (["--set", "training.epochs"], "section.key=value"),
        (["--set", "dataset.preprocessing.mode=preextracted"], "preextracted"),
        (["--set", "dataset.preprocessing.mode=preextracted", "--data-root", "x"], "leave out --data-root"),
        (["--set", "dataset.preprocessing.mode=preextracted", "--debug", "--manifest", "x"], "leave out --data-root"),
        (["--set", "dataset.preprocessing.mode=preextracted", "--auto-split"], "keeps the splits it was made with"),
        (["--set", "dataset.preprocessing.mode=preextracted", "--debug"], "preextracted holds no clips"),
        (["--auto-split", "0.5,0.2,0.2"], "sum to 1"),
        (["--auto-split", "most"], "auto_split"),
        (["--resume"], "no run 'latest'"),
        (["--resume"], "--set training.output=DIR"),
        (["--resume", "20200101-gone"], "no run '20200101-gone'"),
        (["--resume", "--debug"], "leave out --config and --debug"),
        (["--resume", "--config", "some.yaml"], "leave out --config and --debug"),
        (["--epochs", "0"], "training.epochs"),
        (["--set", "training.monitor.metric=val_loss"], "training.monitor.metric: 'val_loss' is no figure of an epoch"),
        (["--set", "training.monitor.metric=val.x"], "there are: loss, val_auc, val.auc"),
        (["--device", "tpu"], "training.device"),
        (["--config", "gone.yaml"], "gone.yaml"),
        (["--data-root", "gone"], "gone is not a folder"),
        (["--debug", "--data-root", "gone"], "gone is not a folder"),
        (["--manifest", "gone.csv"], "gone.csv"),
        ([], "data is not a folder"),
    ],
)
def test_a_bad_run_is_refused_before_any_work(
    run: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == EXIT_REFUSED
    assert said in capsys.readouterr().err
    assert run == []


@pytest.mark.parametrize("workers", ["0", "-1", "two"])
def test_a_number_of_workers_is_a_number(workers: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--num-workers", workers])
    assert ended.value.code == EXIT_REFUSED
    assert "not a number from 1" in capsys.readouterr().err


def test_unusable_data_are_refused(run: list[dict[str, Any]], data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for meta in data.glob("train/*/meta.json"):
        meta.write_text('{"label": "fake"}')
    assert main(["--data-root", str(data)]) == EXIT_REFUSED
    assert "all 6 training videos are fake" in capsys.readouterr().err
    assert run == []


def test_a_run_keeps_its_files_below_the_output_folder(
    run: list[dict[str, Any]], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data-root", str(data), "--set", f"training.output={tmp_path / 'out'}"]) == 0
    (started,) = run
    assert (started["local"], started["target"]) == (False, None)
    assert started["storage"] == str(tmp_path / "out" / "runs")
    assert len(started["samples"]) == 12
    said = capsys.readouterr().out
    assert str(tmp_path / "out" / "runs" / "best.pth") in said
    assert "epoch 1/2" in said
    (folder,) = (tmp_path / "out" / "runs").iterdir()
    assert folder.name == started["name"]
    assert load_config(folder / "config.yaml", env={}) == started["config"]
    assert json.loads((folder / "epochs.jsonl").read_text())["val_auc"] == 0.75
    assert (folder / "skipped.csv").read_text().startswith("video_id,path,split,code,detail")
    assert list(folder.glob("**/events.out.tfevents.*"))


def test_another_storage_holds_the_checkpoints_alone(run: list[dict[str, Any]], data: Path, tmp_path: Path) -> None:
    places = [f"training.output={tmp_path / 'out'}", "training.storage=s3://bucket/runs"]
    assert main(["--data-root", str(data), *(part for place in places for part in ("--set", place))]) == 0
    assert run[0]["storage"] == "s3://bucket/runs"
    assert (tmp_path / "out" / "runs" / run[0]["name"] / "epochs.jsonl").is_file()


def test_a_resumed_run_is_the_same_run_with_its_own_configuration(
    run: list[dict[str, Any]], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--set", f"training.output={tmp_path / 'out'}"]
    assert main(["--data-root", str(data), "--set", "seed=7", *out]) == 0
    assert main(["--data-root", str(data), "--set", "seed=8", *out]) == 0
    first, second = run
    assert main(["--resume", *out]) == 0
    assert (run[2]["name"], run[2]["config"]) == (second["name"], second["config"])
    assert main(["--resume", first["name"], "--epochs", "99", *out]) == 0
    assert (run[3]["name"], run[3]["config"].seed, run[3]["config"].training.epochs) == (first["name"], 7, 99)
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2
    capsys.readouterr()
    assert main(["--resume", "gone", *out]) == EXIT_REFUSED
    assert f"there are {first['name']}, {second['name']}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change", ["training.learning_rate=0.5", "training.weight_decay=0.5", "training.scheduler.period=3"]
)
def test_a_resumed_run_keeps_its_optimiser(
    run: list[dict[str, Any]], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    out = ["--set", f"training.output={tmp_path / 'out'}"]
    assert main(["--data-root", str(data), "--set", "training.learning_rate=0.25", *out]) == 0
    assert main(["--resume", *out, "--set", change]) == EXIT_REFUSED
    assert "start a new one with --set training.start_from=CHECKPOINT" in capsys.readouterr().err
    assert len(run) == 1
    assert main(["--resume", *out, "--set", "training.learning_rate=0.25"]) == 0


def test_a_run_that_is_under_way_is_not_resumed(
    run: list[dict[str, Any]], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--set", f"training.output={tmp_path / 'out'}"]
    assert main(["--data-root", str(data), *out]) == 0
    with RunFolder.find(tmp_path / "out" / "runs", LATEST).held():
        assert main(["--resume", *out]) == EXIT_REFUSED
    assert "is under way in another process" in " ".join(capsys.readouterr().err.split())
    assert "config" not in run[1]
    assert main(["--resume", *out]) == 0


def test_a_run_finds_its_files_from_any_folder(
    run: list[dict[str, Any]], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray gives each worker another one, and --resume may come from elsewhere."""
    monkeypatch.chdir(tmp_path)
    arguments = ["--data-root", data.name, "--set", "training.start_from=a.pth", "--set", "training.output=out"]
    assert main(arguments) == 0
    config = run[0]["config"]
    assert (config.dataset.data_root, config.training.start_from) == (data, tmp_path / "a.pth")
    (folder,) = (tmp_path / "out" / "runs").iterdir()
    assert load_config(folder / "config.yaml", env={}) == config
    monkeypatch.chdir("/")
    assert main(["--resume", "--set", f"training.output={tmp_path / 'out'}"]) == 0
    assert run[1]["config"].dataset == config.dataset
    assert run[1]["config"].training.start_from == tmp_path / "a.pth"


def test_videos_are_split_by_a_hash_where_that_is_asked_for(run: list[dict[str, Any]], tmp_path: Path) -> None:
    rows = ["video_id,label,path", *(f"v{number},{number % 2},{number}.mp4" for number in range(60))]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    for number in range(60):
        (tmp_path / f"{number}.mp4").write_bytes(b"x" * (number + 1))
    out = ["--manifest", str(tmp_path / "list.csv"), "--set", f"training.output={tmp_path / 'out'}"]
    assert main([*out, "--auto-split"]) == 0
    assert main([*out, "--auto-split", "0.3,0.7,0"]) == 0
    counts = [Counter(sample.split for sample in one["samples"]) for one in run]
    assert counts[0]["train"] > 30 > counts[1]["train"]
    assert counts[0].total() == counts[1].total() == 60
    assert main(out) == EXIT_REFUSED


def test_leaks_between_the_splits_are_refused(
    run: list[dict[str, Any]], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "val" / "val1" / "video.mp4").write_bytes((data / "train" / "train1" / "video.mp4").read_bytes())
    assert main(["--data-root", str(data)]) == EXIT_REFUSED
    said = capsys.readouterr().err
    assert "train1" in said
    assert "val1" in said
    assert run == []


def test_warnings_are_told_and_do_not_end_a_run(
    run: list[dict[str, Any]], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for meta in data.glob("val/*/meta.json"):
        meta.write_text('{"label": "real"}')
    out = ["--set", f"training.output={tmp_path / 'out'}", "--num-workers", "16"]
    assert main(["--data-root", str(data), *out]) == 0
    said = capsys.readouterr().out
    assert "val" in said
    assert "16 workers share 4 CPUs" in said


def test_a_store_gives_its_own_videos(
    run: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.data.manifest import Sample
    from training.store import clip_store as store

    stored = [
        Sample(f"{split}{label}", label, split, f"/gone/{split}{label}.mp4")
        for split in ("train", "val")
        for label in (0, 1)
    ]  # type: ignore[arg-type]

    class FakeStore:
        def __init__(self, location: str, config: Any) -> None:
            assert location == "s3://clips"

        def samples(self) -> list[Sample]:
            return stored

    monkeypatch.setattr(store, "ClipStore", FakeStore)
    settings = [f"training.output={tmp_path}", "dataset.preprocessing={mode: preextracted, store: 's3://clips'}"]
    assert main([part for setting in settings for part in ("--set", setting)]) == 0
    assert run[0]["samples"] == stored


RECIPE = Path(launch.__file__).parent / "recipes" / "default.yaml"


def genuine(data: Path) -> Path:
    """The same videos, all real."""
    for meta in data.glob("*/*/meta.json"):
        meta.write_text('{"label": "real"}')
    return data


def test_genuine_videos_alone_are_trained_on_with_the_recipe(
    run: list[dict[str, Any]], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--set", f"training.output={tmp_path / 'out'}"]
    assert main(["--config", str(RECIPE), "--data-root", str(genuine(data)), *out]) == 0
    (started,) = run
    assert started["config"].dataset.pseudo_fakes.enabled
    assert {sample.label for sample in started["samples"]} == {0}
    assert "there will be no validation AUC" not in capsys.readouterr().out  # the fakes are still to be made
    folder = tmp_path / "out" / "runs" / started["name"]
    assert load_config(folder / "config.yaml", env={}) == started["config"]


def test_fakes_are_refused_with_the_recipe(
    run: list[dict[str, Any]], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(RECIPE), "--data-root", str(data)]) == EXIT_REFUSED
    assert "is fake: its column pair must name" in " ".join(capsys.readouterr().err.split())
    assert run == []


def test_a_batch_that_would_part_a_pair_is_refused(
    run: list[dict[str, Any]], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(RECIPE), "--data-root", str(genuine(data)), "--batch-size", "3"]) == EXIT_REFUSED
    assert "training.batch_size must be even" in capsys.readouterr().err
    assert run == []


def test_pairs_are_made_of_a_store_of_loose_crops(
    run: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.data.manifest import Sample
    from training.store import clip_store as store

    recipe, asked = load_config(RECIPE, env={}), []

    class FakeStore:
        def __init__(self, location: str, config: Any) -> None:
            asked.append(config.dataset)

        def samples(self) -> list[Sample]:
            return [Sample("a", 0, "train", "/gone/a.jpg"), Sample("b", 0, "val", "/gone/b.jpg")]

    monkeypatch.setattr(store, "ClipStore", FakeStore)
    settings = [f"training.output={tmp_path}", "dataset.preprocessing={mode: preextracted, store: 's3://clips'}"]
    assert main(["--config", str(RECIPE), *(part for setting in settings for part in ("--set", setting))]) == 0
    (dataset,) = asked
    assert (dataset.face.margin, dataset.face.size) == (
        recipe.dataset.pseudo_fakes.margin,
        recipe.dataset.pseudo_fakes.size,
    )
    assert run[0]["config"].dataset.face.size == recipe.dataset.face.size  # what the model is shown


def test_a_debug_run_stays_on_this_machine_and_leaves_one_file(
    run: list[dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    assert main(["--debug", "--data-root", str(data), "--set", f"training.output={tmp_path / 'out'}"]) == 0
    (started,) = run
    assert (started["local"], started["target"]) == (True, tmp_path / "out" / "debug.pth")
    assert sum(sample.split == "train" for sample in started["samples"]) == 4
    assert not Path(started["storage"]).exists()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_debug_run_without_data_makes_some(
    run: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--debug"]) == 0
    assert [sample.split for sample in run[0]["samples"]].count("train") == 4


@pytest.mark.parametrize("named", [True, False])
def test_a_debug_run_of_the_recipe_takes_genuine_videos_alone(
    run: list[dict[str, Any]], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """Of a data set, and of the made-up one, whose fakes have no partner."""
    monkeypatch.chdir(tmp_path)
    assert main(["--debug", "--config", str(RECIPE), *(("--data-root", str(data)) if named else ())]) == 0
    samples = run[0]["samples"]
    assert Counter((sample.split, sample.label) for sample in samples) == {("train", 0): 2, ("val", 0): 2}
    assert all(Path(sample.path).is_relative_to(data) == named for sample in samples)


@pytest.mark.parametrize("folder", ["data", "elsewhere"])
def test_a_debug_run_takes_its_videos_from_the_store_that_is_trained_on(
    run: list[dict[str, Any]], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """Whether or not there is the folder `data`, where videos are looked for otherwise."""
    from training.data.manifest import Sample
    from training.data.splits import SPLITS

    stored = [
        Sample(f"{split}{number}", number % 2, split, f"/gone/{split}{number}.mp4")
        for split in SPLITS
        for number in range(9)
    ]
    store = SimpleNamespace(samples=lambda: stored)
    monkeypatch.setattr("training.store.clip_store.ClipStore", lambda location, config: store)
    monkeypatch.chdir(tmp_path)
    data.rename(tmp_path / folder)
    assert main(["--debug", "--set", "dataset.preprocessing={mode: preextracted, store: 's3://clips'}"]) == 0
    samples = run[0]["samples"]
    assert Counter(sample.split for sample in samples) == {"train": 4, "val": 4}
    assert all(sample in stored for sample in samples)


def test_a_debug_run_without_data_and_media_is_refused(
    run: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(root: Path) -> None:
        raise FileNotFoundError(2, "No such file", "media/talking_face.mp4")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "make_debug_set", missing)
    assert main(["--debug"]) == EXIT_REFUSED
    assert "media/talking_face.mp4 is not there: name a data set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (TrainingError("diverged", "the loss is nan [1]"), EXIT_FAILED, "training failed: the loss is nan [1]"),
        (OSError(28, "No space left on device"), EXIT_FAILED, "No space left on device; once that is mended, --resume"),
        (ConnectionError("no Ray at [head]"), EXIT_FAILED, "the run failed: no Ray at [head]; once that is mended"),
        (KeyboardInterrupt(), EXIT_INTERRUPTED, "interrupted"),
    ],
)
def test_the_exit_status_says_how_a_run_ended(
    run: list[dict[str, Any]],
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    said: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("training.run.run_training", fail)
    assert main(["--data-root", str(data)]) == status
    assert said in capsys.readouterr().err


def test_help_needs_neither_ray_nor_torch() -> None:
    script = Path(launch.__file__)
    code = (
        f"import sys, runpy; sys.argv = ['launch.py', '--help']; sys.path[0] = {str(script.parent)!r}\n"
        f"try: runpy.run_path({str(script)!r}, run_name='__main__')\n"
        "except SystemExit: print('ray' in sys.modules, 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "False False"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--device", "cuda", "--num-workers", "8"], "8 workers need 8 GPUs"), (["--num-workers", "100000"], "too many")],
)
def test_a_debug_run_that_this_machine_cannot_hold_is_refused_before_data_are_made(
    run: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert main(["--debug", *arguments]) == EXIT_REFUSED
    told = capsys.readouterr()
    assert said in told.err
    assert "making" not in told.out
    assert run == []
