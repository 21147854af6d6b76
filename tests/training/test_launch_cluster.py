"""The command line as a user types it, on a Ray cluster of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import psutil
import pytest

from aura_model.checkpoint import read_checkpoint
from aura_model.model_loading import load_for_inference
from aura_model.settings import load_config
from training.data.debugset import MEDIA, make_debug_set

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
SMALL = ("--set", "model.video.backbone=test_efficientnet", "--set", "model.video.pretrained=false")


@dataclass(frozen=True)
class Ended:
    """A run that has ended."""

    status: int
    output: str
    left: list[str]
    """Command lines of its processes that outlived it."""


def launch(folder: Path, *arguments: str) -> Ended:
    """Run the command line in `folder`, as `python training/launch.py` does in the repository."""
    process = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "training" / "launch.py"), *arguments],
        cwd=folder,
        env=os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    family: set[psutil.Process] = set()
    root = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            family.update(root.children(recursive=True))
            process.wait(0.5)
        except (psutil.NoSuchProcess, subprocess.TimeoutExpired):
            continue
    output, _ = process.communicate()
    _, alive = psutil.wait_procs(family, timeout=20)
    return Ended(process.returncode, output, [" ".join(one.cmdline()) for one in alive])


def test_a_debug_run_trains_and_writes_a_checkpoint_that_loads(tmp_path: Path) -> None:
    ended = launch(tmp_path, "--debug")
    assert ended.status == 0, ended.output
    assert "epoch 1/1" in ended.output
    assert "skipped" not in ended.output
    assert ended.left == []
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")] == ["checkpoints/debug.pth"]
    loaded = load_for_inference(tmp_path / "checkpoints" / "debug.pth", load_config(env={}), "cpu")
    assert loaded.info.trained


@pytest.fixture
def with_broken_videos(tmp_path: Path) -> Callable[[], Path]:
    """A folder of four training and four validation videos, one of each broken, one without face and speech."""

    def make() -> Path:
        root = tmp_path / "set"
        for sample in make_debug_set(root):
            (Path(sample.path).parent / "meta.json").write_text(f'{{"label": {sample.label}}}')
        for video, file in [
            ("train/talking_face-train-real", "not_a_video.mp4"),
            ("val/talking_face-val-fake", "truncated.mp4"),
            ("val/talking_face-val-real", "empty.mp4"),
            ("val/talking_face_b-val-real", "no_face.mp4"),
        ]:
            shutil.copy(MEDIA / file, root / video / "video.mp4")
        return root

    return make


def test_more_workers_than_cpus_and_videos_train_past_broken_files(
    tmp_path: Path, with_broken_videos: Callable[[], Path]
) -> None:
    data = ("--data-root", str(with_broken_videos()))
    ended = launch(tmp_path, "--debug", "--num-workers", "5", *data, *SMALL, "--set", "dataset.max_skipped=1")
    assert ended.status == 0, ended.output
    assert "validation AUC none (no real samples)" in ended.output
    assert "talking_face-train-real/video.mp4: invalid_video" in ended.output
    assert "talking_face-val-real/video.mp4: empty_file" in ended.output
    assert "talking_face_b-val-real/video.mp4: no_clips" in ended.output
    assert ended.left == []
    assert (tmp_path / "checkpoints" / "debug.pth").is_file()


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A manifest of pictures of a real face: views of one, two in each split."""
    picture = cv2.imread(str(MEDIA / "face.jpg"))
    assert picture is not None
    lines = ["video_id,label,split,path"]
    for number, split in enumerate(("train", "train", "val", "val")):
        view = picture[: len(picture) - 4 * number]
        cv2.imwrite(str(tmp_path / f"{number}.png"), view[:, ::-1] if number % 2 else view)
        lines.append(f"face{number},real,{split},{number}.png")
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    return tmp_path / "faces.csv"


TINY_RECIPE = (
    *("--config", str(REPOSITORY / "training" / "recipes" / "default.yaml")),
    *SMALL,
    *("--set", "model.fusion.hidden_dim=16"),
    *("--set", "dataset.face.size=64"),
    *("--set", "dataset.pseudo_fakes.size=128"),
    *("--set", "training.low_resolution={epochs: 1, size: 32}"),
    *("--set", "training.compile=false"),
)


def test_pictures_of_genuine_faces_alone_train_a_detector(tmp_path: Path, faces: Path) -> None:
    """Of two pictures each split has two clips and their forgeries."""
    ended = launch(tmp_path, "--debug", "--manifest", str(faces), *TINY_RECIPE)
    assert ended.status == 0, ended.output
    assert "2 training and 2 validation videos" in ended.output
    assert "epoch 1/1" in ended.output
    assert "skipped" not in ended.output
    assert "validation AUC none" not in ended.output  # both labels are there
    assert ended.left == []
    checkpoint = read_checkpoint(tmp_path / "checkpoints" / "debug.pth")
    assert (checkpoint.metrics["clips"], checkpoint.metrics["step"]) == (4, 2)
    assert (checkpoint.metrics["val"]["n"], checkpoint.metrics["val"]["positives"]) == (4, 2)
    loaded = load_for_inference(checkpoint.path, load_config(env={}), "cpu")
    assert loaded.info.trained
    assert loaded.config.dataset.face.margin == load_config(env={}).dataset.face.margin  # no loose crops are served


def test_gpus_that_are_not_there_are_refused(tmp_path: Path) -> None:
    ended = launch(tmp_path, "--debug", "--device", "cuda", "--num-workers", "80")
    assert ended.status == 2, ended.output
    assert "80 workers need 80 GPUs, and the cluster has" in ended.output
    assert "Traceback" not in ended.output
    assert ended.left == []
    assert list(tmp_path.iterdir()) == []
