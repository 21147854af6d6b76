"""What the training benchmarks share: a labelled set of videos, a quiet Ray, and a table of results."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from aura_model.config import Config
from aura_model.settings import load_config
from training.data.manifest import Sample
from training.data.splits import Split
from training.run import ray_cluster

MEDIA = Path(__file__).parents[1] / "tests" / "media"
SOURCES: dict[Split, tuple[str, str]] = {
    "train": ("talking_face.mp4", "talking_face_b.mp4"),
    "val": ("two_faces.mp4", "vp9.webm"),
}
"""What is labelled real and what fake."""
CORES = len(os.sched_getaffinity(0))
TINY = ("model.video.backbone=test_efficientnet", "model.video.pretrained=false", "model.fusion.hidden_dim=16")
"""A model that costs next to nothing."""


def settings(*overrides: str) -> Config:
    """The defaults on the CPU with one clip a video, and these overrides."""
    quiet = ("training.device=cpu", "training.tracking.tensorboard=false", "logging.level=WARNING")
    return load_config(
        env={}, overrides=(*quiet, "dataset.video.clips_per_video={train: 1, eval: 1}", "seed=1", *overrides)
    )


def samples(folder: Path, count: int, split: Split = "train") -> list[Sample]:
    """`count` videos below `folder`: links to one talking face, labelled real, and to another one, labelled fake."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        path = folder / f"{split}{number}.mp4"
        if not path.exists():
            path.symlink_to(MEDIA / SOURCES[split][number % 2])
        made.append(Sample(path.stem, number % 2, split, str(path)))
    return made


@contextmanager
def local_ray(cpus: int) -> Iterator[None]:
    """A Ray of this machine that counts `cpus` CPUs, whatever it has."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with ray_cluster(local=True, cpus=cpus):
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield


def show(title: str, rows: Mapping[str, str]) -> None:
    """Print figures in two columns."""
    print(title)
    for name, value in rows.items():
        print(f"  {name:52s} {value}")


def save(path: Path | None, results: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write the results as JSON where a path is given."""
    if path:
        path.write_text(json.dumps(results, indent=2) + "\n")
