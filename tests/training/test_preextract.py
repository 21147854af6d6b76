"""The command line: what it refuses before any work, and what it tells of a finished store."""

import csv
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.settings import load_config
from training import preextract
from training.data.manifest import read_samples
from training.pairing.loose import loose
from training.preextract import main, overrides_of, parser
from training.rows import ClipShape, Row, error_row, rows_of, to_rows
from training.store.extractor import ExtractionError, GroupExtractor, Report
from training.store.files import StoreFiles
from training.store.index import read_locations
from training.store.settings import store_settings
from training.store.work import Group, plan_work

TINY = ("dataset.face.size=64", "dataset.video.temporal_window=2", "dataset.preprocessing.videos_per_file=2")
Run = Callable[..., tuple[int, str, str]]
Fill = Callable[..., None]

OPTIONS = {
    "--config FILE",
    "--data-root DIR",
    "--manifest FILE",
    "--auto-split [TRAIN,VAL,TEST]",
    "--store DIR|URI",
    "--num-workers N",
    "--set KEY=VALUE",
    "-h",
}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two videos of each split; files differ, so that nothing leaks."""
    path = tmp_path / "manifest.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["video_id", "label", "split", "path", "identity"])
        for number in range(6):
            (tmp_path / f"{number}.mp4").write_bytes(b"video" * (number + 1))
            split = ("train", "val", "test")[number // 2]
            table.writerow([f"v{number}", number % 2, split, f"{number}.mp4", f"p{number}"])
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manifest: Path) -> Run:
    """The command line with the manifest and a store of its own; gives the status and what was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AURA_CONFIG", raising=False)

    def call(*arguments: str, data: Sequence[str] = ("--manifest", str(manifest))) -> tuple[int, str, str]:
        settings = [part for setting in TINY for part in ("--set", setting)]
        status = main([*data, "--store", "store", *settings, *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


class FakeRows:
    """A source of rows that decodes nothing: one clip a video."""

    def __init__(self, clips: Clips, config: Config, broken: Sequence[str], same: Sequence[str]) -> None:
        self._clips, self._shape, self._broken, self._same = clips, ClipShape.of(config), broken, same

    def __call__(self, source: Mapping[str, Any]) -> list[Row]:
        video_id = source["video_id"]
        if video_id in self._broken:
            return [error_row("corrupt_video", "no frame", source, self._shape)]
        content = "same" if video_id in self._same else video_id
        media = self._clips.media.model_copy(update={"sha256": content})
        return rows_of(replace(self._clips, media=media), source, self._shape)


@pytest.fixture
def fill(tmp_path: Path, manifest: Path, make_clip: Callable[..., Clip], make_clips: Callable[..., Clips]) -> Fill:
    """Write the store as the actors do; the videos `broken` have no clip, those of `same` are one file."""

    def write(broken: Sequence[str] = (), same: Sequence[str] = (), groups: slice = slice(None)) -> None:
        config = load_config(env={}, overrides=[*TINY, f"dataset.manifest={json.dumps(str(manifest))}"])
        files = StoreFiles(str(tmp_path / "store"))
        locations = read_locations(files, config, store_settings(config))
        work = plan_work(read_samples(config.dataset), locations, 2)
        texts = np.array([json.dumps([asdict(one) for one in group]) for group in work.groups[groups]])
        clips = make_clips(make_clip())
        actor = GroupExtractor(config.plain(), files.location, lambda config: FakeRows(clips, config, broken, same))
        assert all(list(actor({"group": texts})))

    return write


def test_the_surface_is_as_documented() -> None:
    shown = re.sub(r"\s+", " ", parser().format_usage())
    assert set(re.findall(r"\[(-[^\[\]]*(?:\[[^\]]*\])?)\]", shown.replace(" | ", "] ["))) == OPTIONS
    assert parser().format_usage().startswith("usage: python training/preextract.py")


def test_options_are_settings() -> None:
    arguments = parser().parse_args(
        ["--data-root", "d", "--store", "s3://b/x", "--auto-split", "0.6,0.2,0.2", "--set", "seed=3", "--set", "a.b=1"]
    )
    assert overrides_of(arguments) == [
        "dataset.manifest=null",
        'dataset.data_root="d"',
        'dataset.preprocessing.store="s3://b/x"',
        "dataset.auto_split=[0.6,0.2,0.2]",
        "seed=3",
        "a.b=1",
    ]
    assert overrides_of(parser().parse_args(["--auto-split"])) == ["dataset.auto_split=[0.8,0.1,0.1]"]


def test_a_finished_store_is_left_as_it_is(run: Run, fill: Fill, tmp_path: Path) -> None:
    fill()
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store").glob("*.parquet")}
    status, out, _ = run()
    assert status == 0
    assert f"nothing to do: all 6 videos are in {tmp_path / 'store'}" in out
    assert "holds 6 clips of 6 videos" in out
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store").glob("*.parquet")} == before
    assert (tmp_path / "store" / "skipped.csv").read_text().splitlines() == ["video_id,path,split,code,detail"]
    assert not ray.is_initialized()


def test_the_recipe_stores_loose_crops_without_sound(
    tmp_path: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is stored, in which settings, is what training with the same recipe asks a store for."""
    recipe, asked = Path(preextract.__file__).parent / "recipes" / "default.yaml", list[Config]()

    def extract(config: Config, *_: object) -> bool:
        asked.append(config)
        return True

    monkeypatch.setattr(preextract, "_extract", extract)
    genuine = manifest.read_text().replace(",1,", ",0,")
    manifest.write_text(genuine)
    main(["--config", str(recipe), "--manifest", str(manifest), "--store", str(tmp_path / "store")])
    assert "6 to extract" in capsys.readouterr().out
    (config,) = asked
    wanted = load_config(recipe, env={})
    assert store_settings(config) == store_settings(loose(wanted)) != store_settings(wanted)
    fakes = wanted.dataset.pseudo_fakes
    assert (config.dataset.face.margin, config.dataset.face.size) == (fakes.margin, fakes.size)
    assert not config.dataset.audio.enabled


def test_too_many_skipped_videos_fail_and_stay(run: Run, fill: Fill, tmp_path: Path) -> None:
    fill(broken=["v2", "v3"])
    status, out, err = run()
    assert status == 1
    assert "2 skipped: corrupt_video" in out
    assert "2 of 2 videos of the split val cannot be used" in err
    assert f"{tmp_path / '3.mp4'}: corrupt_video, no frame" in err
    assert len((tmp_path / "store" / "skipped.csv").read_text().splitlines()) == 3
    assert len(list((tmp_path / "store").glob("*.parquet"))) == 3
    assert run("--set", "dataset.max_skipped=1")[0] == 0


def test_one_file_in_two_splits_fails_by_name(run: Run, fill: Fill) -> None:
    fill(same=["v1", "v4"])
    status, _, err = run()
    assert status == 1
    assert re.search(r"the same file is in two splits: 'v1' \(train, .*1.mp4\) and 'v4' \(test, .*4.mp4\)", err)


def test_a_store_of_a_larger_data_set_is_told(run: Run, fill: Fill, manifest: Path) -> None:
    fill()
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(lines[:-1]))
    status, out, _ = run()
    assert status == 0
    assert "also holds 1 videos that this data set does not name" in out
    assert "all 5 videos" in out


def edited(manifest: Path, old: str, new: str) -> None:
    manifest.write_text(manifest.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("dataset.face.size=32", "dataset.face.size is 64 there and 32 here"),
        ("dataset.video.frame_rate=4.0", "dataset.video.frame_rate"),
        ("dataset.preprocessing.jpeg_quality=50", "dataset.preprocessing.jpeg_quality"),
        ("dataset.preprocessing.train_clips=3", "dataset.preprocessing.train_clips"),
        ("dataset.video.clips_per_video.eval=1", "dataset.video.clips_per_video.eval"),
        ("dataset.video.max_clips=3", "dataset.video.max_clips"),
        ("dataset.video.clip_sampling_strategy=start_at", "dataset.video.start_at is None there and 0.0 here"),
    ],
)
def test_other_settings_than_the_stores_are_refused_by_name(run: Run, fill: Fill, setting: str, named: str) -> None:
    fill(groups=slice(1))
    status, _, err = run("--set", setting)
    assert status == 2
    assert named in err


@pytest.mark.parametrize("setting", ["dataset.video.clips_per_video.train=1", "dataset.video.start_at=2", "seed=5"])
def test_settings_that_change_no_stored_clip_are_accepted(run: Run, fill: Fill, setting: str) -> None:
    fill()
    assert run("--set", setting)[0] == 0


def leak(manifest: Path) -> None:
    edited(manifest, ",p0", ",p5")


def unknown_split(manifest: Path) -> None:
    edited(manifest, ",train,", ",learn,")


def two_of_one_name(manifest: Path) -> None:
    edited(manifest, "v1,", "v0,")


def same_content(manifest: Path) -> None:
    shutil.copy(manifest.parent / "0.mp4", manifest.parent / "5.mp4")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (leak, "p5"),
        (unknown_split, "learn"),
        (two_of_one_name, "v0"),
        (same_content, "5.mp4"),
        (Path.unlink, "manifest"),
    ],
)
def test_unusable_data_is_refused_before_work(
    run: Run, manifest: Path, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(manifest)
    status, _, err = run()
    assert status == 2
    assert said in err
    assert not (tmp_path / "store").exists()
    assert not ray.is_initialized()


def test_another_video_of_the_same_name_is_refused(run: Run, fill: Fill, manifest: Path) -> None:
    fill()
    edited(manifest, "v5,1", "v5,0")
    status, _, err = run()
    assert status == 2
    assert "'v5' has the label 1 in the store and 0 in the data set" in err


@pytest.mark.parametrize("arguments", [("--store", "nonsense://x"), ("--set", "a=1"), ("--set", "dataset.a=1")])
def test_bad_arguments_are_refused(run: Run, arguments: Sequence[str]) -> None:
    assert run(*arguments)[0] == 2


def test_a_store_that_cannot_be_written_is_refused_before_work(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, _, err = run("--store", str(tmp_path / "file" / "store"))
    assert status == 2
    assert "file" in err
    assert not ray.is_initialized()


def test_a_damaged_file_is_refused_by_name(run: Run, fill: Fill, tmp_path: Path) -> None:
    fill()
    path = next((tmp_path / "store").glob("val-*.parquet"))
    path.write_bytes(path.read_bytes()[:-20])
    status, _, err = run()
    assert status == 2
    assert path.name in err


def test_both_kinds_of_data_at_once_are_refused(run: Run) -> None:
    with pytest.raises(SystemExit) as caught:
        run("--data-root", "x")
    assert caught.value.code == 2


def test_a_folder_that_is_not_there_is_refused(run: Run, tmp_path: Path) -> None:
    status, _, err = run(data=("--data-root", str(tmp_path / "nowhere")))
    assert status == 2
    assert "nowhere" in err


class NoCluster:
    """What the command line asks of Ray, in this process; `then` happens when the first group is written."""

    def __init__(self, clips: Clips) -> None:
        self._clips = clips
        self.then: Callable[[], object] = lambda: None

    def extract(self, config: Config, location: str, groups: Sequence[Group], plan: Any) -> Iterator[Report]:
        actor = GroupExtractor(config.plain(), location, lambda config: FakeRows(self._clips, config, (), ()))
        for group in groups:
            for columns in actor({"group": np.array([json.dumps([asdict(one) for one in group])])}):
                yield to_rows(columns)[0]
            self.then()


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch, make_clip: Callable[..., Clip], make_clips: Any) -> NoCluster:
    stand_in = NoCluster(make_clips(make_clip()))
    monkeypatch.setattr("training.run.ray_cluster", lambda local: nullcontext())
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0, "memory": 2.0**40})
    monkeypatch.setattr("training.store.extractor.extract", stand_in.extract)
    return stand_in


def test_what_is_missing_is_extracted(run: Run, fill: Fill, no_cluster: NoCluster, tmp_path: Path) -> None:
    fill(groups=slice(1))
    (tmp_path / "store" / ".unfinished-1234.tmp").write_bytes(b"half a file of a killed run")
    status, out, _ = run()
    assert status == 0
    assert f"2 videos are in {tmp_path / 'store'} already, 4 to extract" in out
    assert "holds 6 clips of 6 videos" in out
    assert sorted(path.suffix for path in (tmp_path / "store").iterdir()) == [".csv", *[".parquet"] * 3]


def test_ctrl_c_keeps_what_is_done(run: Run, no_cluster: NoCluster, tmp_path: Path) -> None:
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    no_cluster.then = lambda: os.kill(os.getpid(), signal.SIGINT)
    status, _, err = run()
    signal.signal(signal.SIGINT, handler)
    assert status == 130
    assert "run it again to go on" in err
    assert len(list((tmp_path / "store").glob("*.parquet"))) == 1
    no_cluster.then = lambda: None
    assert "2 videos are in" in run()[1]


def test_a_failed_extraction_keeps_what_is_done(run: Run, no_cluster: NoCluster, tmp_path: Path) -> None:
    def fail() -> None:
        raise ExtractionError("extraction_failed", "the disk is full")

    no_cluster.then = fail
    status, _, err = run()
    assert status == 1
    assert "extraction failed: the disk is full; run it again to go on" in err
    assert len(list((tmp_path / "store").glob("*.parquet"))) == 1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ConnectionError("no Ray at 10.0.0.1:6379")])
def test_what_the_system_refuses_is_told_in_a_sentence(run: Run, no_cluster: NoCluster, error: OSError) -> None:
    def fail() -> None:
        raise error

    no_cluster.then = fail
    status, _, err = run()
    assert status == 1
    assert f"the extraction failed: {error}; run it again to go on" in err


def test_more_workers_than_the_cluster_holds_are_refused(run: Run, no_cluster: NoCluster) -> None:
    status, _, err = run("--num-workers", "99")
    assert status == 2
    assert "99 extraction actors on 2 CPUs: use 1 to 32" in err


def test_no_worker_is_refused_at_once(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("--num-workers", "0")
    assert ended.value.code == 2
    assert "not a number from 1" in capsys.readouterr().err
