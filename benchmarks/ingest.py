"""How many training clips a second come out of Ray Data, beside a plain DataLoader with as many processes?

    python benchmarks/ingest.py [--videos 200] [--processes 2] [--rounds 1] [--json FILE]

Both ways end in the same augmented batches of tensors. On the fly, the plain way is `MultimodalDataset`; from
pre-extracted clips it is a map-style data set over the same store. The steady state is what is counted: from the first
batch to the last; the time to the first batch is printed apart. The aims: Ray Data at least 0.9 of the DataLoader, and
pre-extracted clips at least 3 times as fast as decoding. Stored clips are read in several passes, as one takes seconds.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from material import CORES, local_ray, samples, save, settings, show
from torch.utils.data import DataLoader, Dataset

from aura_model.batch import Batch
from aura_model.config import Config
from aura_model.dataset import Item, MultimodalDataset, Video
from training.data.manifest import Sample
from training.plan import EXTRACTOR_MEMORY, ExtractorPlan
from training.preextract import main as preextract
from training.rows import path_row
from training.store.clip_store import ClipStore
from training.stream import Course, clip_stream
from training.worker.batches import Part, prepare, worker_parts

STORED_PASSES = 4


@dataclass(frozen=True)
class Measured:
    """One pass over the videos."""

    start: float
    """Seconds to the first batch."""
    clips: int
    """Clips after the first batch."""
    seconds: float
    """From the first batch to the last."""

    @property
    def rate(self) -> float:
        """Clips per second in the steady state."""
        return self.clips / self.seconds


class StoredClips(Dataset[Part]):
    """The plain way to read a store: an item is the augmented clip of one video."""

    def __init__(self, videos: Sequence[Sample], config: Config) -> None:
        """Read nothing yet: each process opens the store for itself."""
        self._videos, self._config = videos, config
        self._store: ClipStore | None = None

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, index: int) -> Part:
        if self._store is None:
            self._store = ClipStore(self._config.dataset.preprocessing.store, self._config)
        rows = self._store.rows(path_row(self._videos[index], index, 1))
        return prepare([row | {"turn": 1} for row in rows[:1]], self._config)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--processes", type=int, default=CORES)
    parser.add_argument("--rounds", type=int, default=1, help="of each way; the median counts")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        results = report(Path(folder), args.videos, args.processes, args.rounds)
    save(args.json, results)


def report(folder: Path, count: int, processes: int, rounds: int) -> dict[str, Any]:
    """Take turns between the ways."""
    videos = samples(folder / "videos", count)
    store = f"dataset.preprocessing.store={folder / 'store'}"
    decoded, stored = settings(store), settings(store, "dataset.preprocessing.mode=preextracted")
    began = time.perf_counter()
    extract(folder, videos)
    print(f"{count} videos pre-extracted in {time.perf_counter() - began:.0f} s")
    ways: dict[str, Callable[[], Measured]] = {
        "on the fly, Ray Data": lambda: ray_way(videos, decoded, processes),
        "on the fly, DataLoader": lambda: loader_way(decoded_loader(videos, decoded, processes)),
        "pre-extracted, Ray Data": lambda: ray_way(videos, stored, processes, STORED_PASSES),
        "pre-extracted, DataLoader": lambda: loader_way(stored_loader(videos * STORED_PASSES, stored, processes)),
    }
    measured: dict[str, list[Measured]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            measured[name].append(way())
    rates = {name: median(one.rate for one in runs) for name, runs in measured.items()}
    show(
        f"clips/s of {count} videos with {processes} processes, and seconds to the first batch",
        {name: f"{rate:8.1f}   {median(one.start for one in measured[name]):6.1f} s" for name, rate in rates.items()},
    )
    ratios = {
        "on the fly: Ray Data / DataLoader": rates["on the fly, Ray Data"] / rates["on the fly, DataLoader"],
        "pre-extracted: Ray Data / DataLoader": rates["pre-extracted, Ray Data"] / rates["pre-extracted, DataLoader"],
        "Ray Data: pre-extracted / on the fly": rates["pre-extracted, Ray Data"] / rates["on the fly, Ray Data"],
    }
    show("ratios", {name: f"{ratio:8.2f}" for name, ratio in ratios.items()})
    return {"videos": count, "processes": processes, "clips_per_second": rates, "ratios": ratios}


def extract(folder: Path, videos: Sequence[Sample], *overrides: str) -> None:
    """Write the store by the command line, with the configuration's `overrides`."""
    manifest = folder / "list.csv"
    rows = [f"{one.video_id},{one.label},{one.split},{one.path}" for one in videos]
    manifest.write_text("\n".join(["video_id,label,split,path", *rows]))
    changes = [part for override in ("logging.level=WARNING", *overrides) for part in ("--set", override)]
    if preextract(["--manifest", str(manifest), "--store", str(folder / "store"), *changes]):
        raise SystemExit("the clips could not be extracted")


def ray_way(videos: Sequence[Sample], config: Config, processes: int, epochs: int = 1) -> Measured:
    """Epochs by the stream of a training worker."""
    plan = ExtractorPlan(actors=processes, cpus=1.0, memory=EXTRACTOR_MEMORY)
    course = Course(tuple(videos), (), config.seed, first=1, last=epochs)
    with local_ray(processes):
        began = time.perf_counter()
        (stream,) = clip_stream(course, config, plan, workers=1)
        return timed((len(part.rows) for part in worker_parts(stream, config)), began)


def decoded_loader(videos: Sequence[Sample], config: Config, processes: int) -> DataLoader[Item]:
    """The plain way on the fly."""
    data = MultimodalDataset([Video(Path(one.path), one.label, one.video_id) for one in videos], config, train=True)
    return DataLoader(data, config.training.batch_size, shuffle=True, num_workers=processes, worker_init_fn=_one_thread)


def stored_loader(videos: Sequence[Sample], config: Config, processes: int) -> DataLoader[Part]:
    """The plain way from a store."""
    return DataLoader(
        StoredClips(videos, config),
        config.training.batch_size,
        shuffle=True,
        num_workers=processes,
        worker_init_fn=_one_thread,
        collate_fn=collate,
    )


def collate(parts: Sequence[Part]) -> dict[str, torch.Tensor]:
    """One batch of parts of one clip each; all of these videos have a face and speech in most clips."""
    batches: list[Batch] = [part.batch for part in parts if part.batch is not None]
    pictures = [batch.video for batch in batches if batch.video is not None]
    return {"video": torch.cat(pictures), "video_id": torch.zeros(len(batches))}


def loader_way(loader: DataLoader[Any]) -> Measured:
    """One epoch of a loader."""
    began = time.perf_counter()
    return timed((len(batch["video_id"]) for batch in loader), began)


def timed(counts: Iterator[int], began: float) -> Measured:
    """Exhaust batches of these many clips."""
    next(counts)
    first = time.perf_counter()
    clips = sum(counts)
    return Measured(first - began, clips, time.perf_counter() - first)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
