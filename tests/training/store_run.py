"""A small run of two workers from a store of clips: `python store_run.py FOLDER NAME` prints its events as JSON lines.

Used by `test_recovery_cluster.py`. Nothing about it is even: videos have one or two faces, some have no sound, one is
unusable in each split, and the clips of an epoch cannot be shared equally.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.media import MediaInfo
from aura_model.settings import load_config
from training.data.manifest import Sample
from training.plan import ExtractorPlan, WorkerPlan
from training.rows import ClipShape, Row, error_row, rows_of
from training.run import Outcome, ray_cluster, run_training
from training.store.files import StoreFiles
from training.store.writer import write_videos

EPOCHS = 6
WINDOWS = 3
SIDE = 32
PLAN = WorkerPlan(2, False, {"CPU": 1.0}, ExtractorPlan(actors=1, cpus=1.0, memory=2**28), ())
TRAIN, VAL = 11, 7
UNUSABLE = {"t4", "v2"}

OVERRIDES = (
    "model.video.backbone=test_efficientnet",
    "model.video.pretrained=false",
    "model.fusion.hidden_dim=16",
    "model.fusion.dropout=0.5",
    f"dataset.face.size={SIDE}",
    "dataset.video.temporal_window=2",
    "dataset.preprocessing.mode=preextracted",
    "training.batch_size=2",
    f"training.epochs={EPOCHS}",
    "training.warmup_steps=5",
    "training.ema_decay=0.9",
)


def make_config(folder: Path) -> Config:
    """Of a run whose store and results lie in `folder`."""
    own = (f"dataset.preprocessing.store={folder / 'store'}", f"training.output={folder / 'out'}")
    return load_config(env={}, overrides=(*OVERRIDES, *own))


def make_samples() -> list[Sample]:
    """Labels by turns."""
    names = [*(f"t{number}" for number in range(TRAIN)), *(f"v{number}" for number in range(VAL))]
    return [Sample(name, int(name[1:]) % 2, "train" if name[0] == "t" else "val", f"/{name}.mp4") for name in names]


def make_store(folder: Path) -> None:
    """Write the clips of all samples."""
    config, samples = make_config(folder), make_samples()
    made = [list(_rows(sample, config)) for sample in samples]
    list(write_videos(StoreFiles(str(folder / "store")), config, samples, made))


def run(folder: Path, name: str, hear: Callable[[Mapping[str, Any]], None]) -> Outcome:
    """Train on the running cluster; a run `name` that is there already goes on."""
    config, storage = make_config(folder), str(folder / "runs")
    listener = type("Listener", (), {"hear": staticmethod(hear), "close": lambda self: None})()
    return run_training(
        config, make_samples(), PLAN, storage=storage, name=name, target=folder / f"{name}.pth", listeners=[listener]
    )


def _rows(sample: Sample, config: Config) -> Iterator[Row]:
    """A place in the run is the reader's matter: none is said here."""
    source = {"video_id": sample.video_id, "path": sample.path, "label": sample.label, "split": sample.split}
    source |= {"epoch": -1, "slot": 0}
    shape, number = ClipShape.of(config), int(sample.video_id[1:])
    if sample.video_id in UNUSABLE:
        yield error_row("corrupt_video", "no frame can be decoded", source, shape)
        return
    clips = [
        _clip(1000 * number + 10 * face + start, sample.label, face, start, heard=number % 3 != 1)
        for face in range(1 + (number % 4 == 0))
        for start in range(WINDOWS)
    ]
    yield from rows_of(Clips(tuple(clips), _media(), (), {}), source, shape)


def _clip(seed: int, label: int, face: int, start: int, heard: bool) -> Clip:
    """Noise, somewhat brighter in fakes."""
    rng = np.random.default_rng(seed)
    return Clip(
        times=start + np.arange(2) / 8.0,
        seconds=0.25,
        frames=rng.integers(0, 200 + 30 * label, (2, SIDE, SIDE, 3), dtype=np.uint8),
        boxes=rng.random((2, 4), dtype=np.float32),
        landmarks=SIDE * rng.random((2, 5, 2), dtype=np.float32),
        track_id=face,
        wave=(0.1 * rng.standard_normal(4000)).astype(np.float32) if heard else None,
    )


def _media() -> MediaInfo:
    return MediaInfo(
        sha256="0" * 64,
        bytes=5,
        container="mp4",
        duration=float(WINDOWS),
        width=64,
        height=48,
        fps=8.0,
        rotation=0,
        video_codec="h264",
        audio_codec="aac",
    )


if __name__ == "__main__":
    with ray_cluster(local=True, cpus=3):
        run(Path(sys.argv[1]), sys.argv[2], lambda event: print(json.dumps(event), flush=True))
