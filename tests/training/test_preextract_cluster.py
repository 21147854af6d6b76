"""The command line on a Ray cluster of its own, killed on the way: nothing is lost, twice or half."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from aura_model.config import Config
from aura_model.settings import load_config
from training.data.manifest import Sample, read_samples
from training.store.clip_store import ClipStore
from training.store.extractor import GroupExtractor
from training.store.work import plan_work

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
MEDIA = REPOSITORY / "tests" / "media"
GOOD = ("talking_face.mp4", "two_faces.mp4", "vfr.mp4", "rotated.mp4", "vp9.webm", "talking_face_b.mp4", "long_gop.mp4")
WEIRD = ("not_a_video.mp4", "empty.mp4", "huge_frame.mp4", "unknown_codec.mp4", "one_pixel.webm")
ERRORS = {
    "not_a_video.mp4": "invalid_video",
    "empty.mp4": "empty_file",
    "huge_frame.mp4": "resolution_too_large",
    "unknown_codec.mp4": "unsupported_codec",
    "one_pixel.webm": "resolution_too_small",
}
SETTINGS = (
    "dataset.face.detect=false",
    "dataset.audio.enabled=false",
    "dataset.preprocessing.videos_per_file=1",
    "dataset.max_skipped=1",
)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Copies of the tests' media that differ in a last byte, which no decoder minds; and weird files."""
    path = tmp_path / "manifest.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["video_id", "label", "split", "path"])
        for number, name in enumerate((*GOOD * 2, *WEIRD)):
            copy = tmp_path / f"{number}-{name}"
            shutil.copy(MEDIA / name, copy)
            if name in GOOD:
                copy.write_bytes(copy.read_bytes() + bytes([number]))
            table.writerow([copy.name, number % 2, ("train", "val", "test")[number % 3], copy.name])
    return path


@pytest.fixture
def config(manifest: Path) -> Config:
    return load_config(env={}, overrides=[*SETTINGS, f"dataset.manifest={json.dumps(str(manifest))}"])


class Run:
    """A running command line."""

    def __init__(self, manifest: Path, store: Path) -> None:
        settings = [part for setting in SETTINGS for part in ("--set", setting)]
        self._process = subprocess.Popen(
            [
                *(sys.executable, str(REPOSITORY / "training" / "preextract.py"), "--manifest", str(manifest)),
                *("--store", str(store), "--num-workers", "1", *settings),
            ],
            env=os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for(self, reached: Callable[[], bool]) -> None:
        """Return once it is so; the run must not have ended before."""
        while not reached():
            assert self._process.poll() is None, self._process.communicate()[0]
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        """Wait until it has ended; its status and what it said."""
        said, _ = self._process.communicate()
        return self._process.returncode, said

    def kill(self) -> None:
        """Kill it with -9, unless it has ended; what it started has a moment to notice, Ray's agents take longer."""
        if self._process.poll() is not None:
            return
        family = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        _, alive = psutil.wait_procs(family, timeout=3)
        for process in alive:
            process.kill()
        self._process.communicate()


@pytest.fixture
def start(manifest: Path, tmp_path: Path) -> Iterator[Callable[[], Run]]:
    runs: list[Run] = []

    def begin() -> Run:
        runs.append(Run(manifest, tmp_path / "store"))
        return runs[-1]

    yield begin
    for run in runs:
        run.kill()


def finished(folder: Path) -> int:
    """Files that are there, of one video each."""
    return len(list(folder.glob("*.parquet")))


def clean_store(folder: Path, config: Config) -> ClipStore:
    """What one run leaves that nothing disturbs: the same actor, called in this process."""
    groups = plan_work(read_samples(config.dataset), [], 1).groups
    texts = np.array([json.dumps([asdict(sample) for sample in group]) for group in groups])
    for _ in GroupExtractor(config.plain(), str(folder))({"group": texts}):
        pass
    return ClipStore(str(folder), config)


def content(store: ClipStore, sample: Sample) -> list[dict[str, Any]]:
    source = {**asdict(sample), "epoch": -1, "slot": 0}
    return [
        {name: value.tobytes() if isinstance(value, np.ndarray) else value for name, value in row.items()}
        for row in store.rows(source)
    ]


def test_a_killed_run_goes_on_to_the_rows_of_one_clean_run(
    start: Callable[[], Run], config: Config, tmp_path: Path
) -> None:
    folder, samples = tmp_path / "store", read_samples(config.dataset)
    half = len(samples) // 2
    run = start()
    run.wait_for(lambda: finished(folder) >= half)
    run.kill()
    done = finished(folder)
    assert half <= done < len(samples)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}

    status, said = start().end()
    assert status == 0, said
    assert f"{done} videos are in {folder} already, {len(samples) - done} to extract" in said
    assert f"of {len(samples)} videos" in said
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert sorted(path.suffix for path in folder.iterdir()) == [".csv", *[".parquet"] * len(samples)]

    stored, clean = ClipStore(str(folder), config), clean_store(tmp_path / "clean", config)
    assert stored.samples() == clean.samples()
    assert {path.name for path in folder.glob("*.parquet")} == {path.name for path in (tmp_path / "clean").iterdir()}
    for sample in samples:
        assert content(stored, sample) == content(clean, sample), sample.video_id
    with (folder / "skipped.csv").open(newline="") as file:
        skipped = {row["video_id"].partition("-")[2]: row["code"] for row in csv.DictReader(file)}
    assert skipped == ERRORS
