"""Does training learn what there is to learn, and nothing where there is nothing? Two workers, from stored clips.

60 real and 60 fake stills for training and as many for validation, of two people who are in one split each. A fake
carries seeded stripes. The same run with shuffled labels must find nothing.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from aura_model.analysis import probability
from aura_model.config import Config
from aura_model.intervals import bootstrap_intervals
from aura_model.metrics import compute_auc
from aura_model.model_loading import load_for_inference
from aura_model.scoring import Scorer
from aura_model.settings import load_config
from training.data.debugset import MEDIA
from training.data.manifest import Sample
from training.data.splits import Split
from training.rows import clip_from_row, path_row
from training.run import cluster_plan, ray_cluster, run_training
from training.store.clip_store import ClipStore

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),  # Ray Data's own settings
]

A_CLASS = 60
SOURCES: dict[Split, str] = {"train": "talking_face.mp4", "val": "talking_face_b.mp4"}
SETTINGS = (
    "seed=3",
    "model.video.backbone=test_efficientnet",
    "model.video.pretrained=false",
    "model.fusion.hidden_dim=16",
    "model.fusion.dropout=0",
    "dataset.face.size=64",
    "dataset.face.detection_side=320",
    "dataset.video.temporal_window=1",
    "dataset.video.clips_per_video={train: 1, eval: 1}",
    "dataset.preprocessing={mode: preextracted, train_clips: 1, videos_per_file: 60}",
    "training.epochs=5",
    "training.batch_size=6",
    "training.learning_rate=0.003",
    "training.warmup_steps=0",
    "training.num_workers=2",
    "training.device=cpu",
    "logging.level=WARNING",
)

Image = npt.NDArray[np.uint8]


def frames_of(path: Path, count: int) -> list[Image]:
    with av.open(str(path)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    return [frames[index] for index in np.linspace(0, len(frames) - 1, count).astype(int)]


def still(frame: Image, fake: bool, rng: np.random.Generator) -> Image:
    """A view of its own of a frame; a fake has coloured stripes of a width and a place of its own."""
    height, width = frame.shape[:2]
    top, left, bottom, right = rng.integers(0, 12, 4)
    view = frame[top : height - bottom, left : width - right].astype(np.float32) * rng.uniform(0.8, 1.1)
    if rng.random() < 0.5:
        view = view[:, ::-1]
    if fake:
        phase = rng.uniform(0, 2 * np.pi)
        stripes = np.sin(np.arange(view.shape[1]) * 2 * np.pi / rng.uniform(18, 30) + phase)
        view = view + 30 * stripes[None, :, None] * np.array([1, 0, -1], np.float32)
    return np.ascontiguousarray(np.clip(view, 0, 255).astype(np.uint8))


def make_set(folder: Path) -> None:
    rng, lines = np.random.default_rng(5), ["video_id,label,split,path,identity"]
    for split, source in SOURCES.items():
        for number, frame in enumerate(frames_of(MEDIA / source, 2 * A_CLASS)):
            name = f"{split}{number:03d}"
            picture = still(frame, fake=bool(number % 2), rng=rng)
            cv2.imwrite(str(folder / f"{name}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            lines.append(f"{name},{number % 2},{split},{name}.png,{source}")
    (folder / "list.csv").write_text("\n".join(lines))


def shuffled(samples: Sequence[Sample]) -> list[Sample]:
    """The same videos with the labels of others of their split."""
    rng, mixed = np.random.default_rng(11), list[Sample]()
    for split in SOURCES:
        own = [sample for sample in samples if sample.split == split]
        labels = rng.permutation([sample.label for sample in own]).tolist()
        mixed += [replace(sample, label=label) for sample, label in zip(own, labels, strict=True)]
    return mixed


@contextmanager
def trained(config: Config, samples: Sequence[Sample], folder: Path) -> Iterator[Scorer]:
    target = folder / "best.pth"
    storage = str(folder / "runs")
    run_training(config, samples, cluster_plan(config), storage=storage, name="run", target=target, listeners=[])
    yield Scorer(load_for_inference(target, config, "cpu"), "cpu")


def judged(scorer: Scorer, store: ClipStore, samples: Sequence[Sample]) -> tuple[list[int], list[float]]:
    """Labels and fake probabilities of the validation videos."""
    val = [sample for sample in samples if sample.split == "val"]
    clips = [clip_from_row(store.rows(path_row(sample, slot))[0]) for slot, sample in enumerate(val)]
    return [sample.label for sample in val], [probability(score.fake) for score in scorer.score(clips)]


def test_an_obvious_artefact_is_learnt_and_shuffled_labels_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}.items():
        monkeypatch.setenv(name, value)
    make_set(tmp_path)
    changes = [*SETTINGS, f"dataset.preprocessing.store={tmp_path / 'store'}", f"training.output={tmp_path}"]
    config = load_config(env={}, overrides=changes)
    arguments = [part for change in changes for part in ("--set", change)]
    command = [sys.executable, "-m", "training.preextract", "--manifest", str(tmp_path / "list.csv"), *arguments]
    subprocess.run(command, check=True)
    store = ClipStore(config.dataset.preprocessing.store, config)
    samples = store.samples()
    assert len(samples) == 4 * A_CLASS
    with ray_cluster(local=True):
        with trained(config, samples, tmp_path / "true") as scorer:
            labels, scores = judged(scorer, store, samples)
        with trained(config, shuffled(samples), tmp_path / "shuffled") as scorer:
            mixed_labels, mixed_scores = judged(scorer, store, shuffled(samples))
    auc = compute_auc(labels, scores)
    assert auc is not None
    assert auc >= 0.95
    interval = bootstrap_intervals(mixed_labels, mixed_scores, range(len(mixed_labels)))["auc"]
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low <= 0.5 <= interval.high
