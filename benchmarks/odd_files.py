"""Does training get through a folder of broken and unusual files, and account for each of them?

    python benchmarks/odd_files.py FOLDER [--workers 2] [--epochs 1] [--json FILE]

Every file below FOLDER becomes a training video with an alternating label, among a few good ones. The run must end
well, and each file must either give clips or stand in `skipped.csv` with its code. Exit status: 0 if so, else 1.
"""

import argparse
import csv
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from material import TINY, local_ray, samples, save, settings, show

from aura_model.config import Config
from training.data.manifest import Sample
from training.plan import plan_workers
from training.run import run_training
from training.watch.run_files import EpochsFile, SkipsFile

SIDECARS = frozenset({".csv", ".json", ".md", ".txt"})


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    odd = odd_samples(args.folder)
    with TemporaryDirectory() as place:
        folder = Path(place)
        good = [*samples(folder / "videos", 8), *samples(folder / "videos", 4, "val")]
        small = ("dataset.face.size=64", "dataset.video.temporal_window=2", "dataset.max_skipped=1")
        run = f"training={{epochs: {args.epochs}, num_workers: {args.workers}}}"
        results = train(settings(*TINY, *small, run), [*odd, *good], folder)
    lost = len(odd) - results["used"] - results["skipped"]
    show(
        f"{len(odd)} odd files, {args.workers} workers, {args.epochs} epochs",
        {name: str(value) for name, value in (results | {"neither used nor skipped": lost}).items()},
    )
    save(args.json, results | {"lost": lost})
    return int(lost != 0)


def odd_samples(folder: Path) -> list[Sample]:
    """Every file below `folder` but those that describe the others."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in SIDECARS)
    return [
        Sample(f"odd{number}-{path.name}", number % 2, "train", str(path.resolve()))
        for number, path in enumerate(files)
    ]


def train(config: Config, videos: list[Sample], folder: Path) -> dict[str, Any]:
    """One run; what became of the odd files."""
    epochs, skips = EpochsFile(folder / "epochs.jsonl"), SkipsFile(folder / "skipped.csv")
    plan = plan_workers(config.training.num_workers, "cpu", {"CPU": 2.0, "memory": 8e9})
    began = time.perf_counter()
    with local_ray(2):
        run_training(
            config,
            videos,
            plan,
            storage=str(folder / "runs"),
            name="run",
            target=folder / "m.pth",
            listeners=[epochs, skips],
        )
    seconds = time.perf_counter() - began
    epochs.close()
    skips.close()
    with (folder / "skipped.csv").open(newline="", encoding="utf-8") as file:
        codes = Counter(row["code"] for row in csv.DictReader(file) if row["video_id"].startswith("odd"))
    last = epochs.epochs[-1]
    train_videos = sum(video.split == "train" for video in videos)
    return {
        "seconds": round(seconds, 1),
        "skipped": codes.total(),
        "codes": dict(codes.most_common()),
        "used": train_videos - last["skipped"] - 8,
    }


if __name__ == "__main__":
    sys.exit(main())
