"""How fast does the Ray Train loop train, beside a plain loop with DistributedDataParallel and a DataLoader?

    python benchmarks/train.py [--videos 200] [--epochs 3] [--workers 1] [--readers 1] [--json FILE]

Both ways train the same model on the same pre-extracted clips with the same optimiser steps, as many workers and as
many processes that read. Counted are clips per second of training from each epoch's first batch on; the first epoch,
which warms up, is left out. Memory is printed for each epoch: it should stay flat (try `--epochs 10`). The aims: a
ratio of at least 0.95, and less than 5 % of the workers' time without data.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from ingest import StoredClips, extract
from material import CORES, TINY, local_ray, samples, save, settings, show
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from aura_model.batch import Batch
from aura_model.config import Config
from training.data.manifest import Sample
from training.optim.learner import Learner
from training.plan import EXTRACTOR_MEMORY, ExtractorPlan, WorkerPlan
from training.run import run_training
from training.targets import Targets
from training.watch.listeners import Event
from training.worker.batches import Part
from training.worker.tally import private_bytes

SMALL = ("dataset.face.size=128", "dataset.video.temporal_window=4", "training.warmup_steps=0")
PORT = 29517


class Epochs:
    """Keeps the figures of each epoch, and this process's memory at its end."""

    def __init__(self) -> None:
        self.kept: list[Mapping[str, Any]] = []
        self.memory: list[int] = []

    def hear(self, event: Event) -> None:
        """Keep an epoch."""
        if event["kind"] == "epoch":
            self.kept.append(event)
            self.memory.append(private_bytes())

    def close(self) -> None:
        """Nothing is open."""


def main() -> None:
    """Measure and print; with `--plain`, be one worker of the plain way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--readers", type=int, default=1, help="processes that read clips, in all")
    parser.add_argument("--tiny", action="store_true", help="a model that costs next to nothing")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plain", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.plain:
        plain_worker(**json.loads(args.plain))
        return
    with TemporaryDirectory() as folder:
        save(args.json, report(Path(folder), args))


def report(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The two ways, one after the other."""
    videos = [*samples(folder / "videos", args.videos), *samples(folder / "videos", 2, "val")]
    extract(folder, videos, *SMALL)
    overrides = [
        *SMALL,
        *(TINY if args.tiny else ()),
        f"training.epochs={args.epochs}",
        f"training.num_workers={args.workers}",
        f"dataset.preprocessing={{mode: preextracted, store: {folder / 'store'}}}",
        f"training.output={folder / 'out'}",
    ]
    ray_rate, epochs = ray_way(videos, settings(*overrides), args.readers, folder)
    plain_rate = plain_way(videos, overrides, args)
    wait = mean(event["data_wait_share"] for event in epochs.kept[1:])
    megabytes = [f"{event['memory'] / 2**20:.0f}" for event in epochs.kept]
    show(
        f"{args.videos} videos, {args.workers} workers, {args.readers} readers, {CORES} cores",
        {
            "Ray Train": f"{ray_rate:8.2f} clips/s, {wait:.1%} of the time without data",
            "plain DistributedDataParallel and DataLoader": f"{plain_rate:8.2f} clips/s",
            "Ray Train / plain": f"{ray_rate / plain_rate:8.2f}",
            "MB of a worker, by epoch": " ".join(megabytes),
            "MB of the driver, by epoch": " ".join(f"{memory / 2**20:.0f}" for memory in epochs.memory),
        },
    )
    return {
        "ray": ray_rate,
        "plain": plain_rate,
        "ratio": ray_rate / plain_rate,
        "data_wait_share": wait,
        "worker_memory": [event["memory"] for event in epochs.kept],
        "driver_memory": epochs.memory,
    }


def ray_way(videos: Sequence[Sample], config: Config, readers: int, folder: Path) -> tuple[float, Epochs]:
    """Mean clips per second of the epochs after the first, and all that was told."""
    epochs, workers = Epochs(), config.training.num_workers
    extractors = ExtractorPlan(actors=readers, cpus=1.0, memory=EXTRACTOR_MEMORY)
    plan = WorkerPlan(workers, use_gpu=False, resources_per_worker={"CPU": 1.0}, extractors=extractors, warnings=())
    with local_ray(workers + readers):
        run_training(
            config, videos, plan, storage=str(folder / "runs"), name="run", target=folder / "m.pth", listeners=[epochs]
        )
    return mean(event["clips_per_second"] for event in epochs.kept[1:]), epochs


def plain_way(videos: Sequence[Sample], overrides: Sequence[str], args: argparse.Namespace) -> float:
    """Mean clips per second of the epochs after the first, over all workers."""
    train = [asdict(one) for one in videos if one.split == "train"]
    job = {"videos": train, "overrides": overrides, "workers": args.workers, "readers": args.readers}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--plain", json.dumps(job | {"rank": rank})], stdout=subprocess.PIPE, text=True
        )
        for rank in range(args.workers)
    ]
    outputs = [process.communicate()[0] for process in processes]
    return sum(float(output.splitlines()[-1]) for output in outputs)


def plain_worker(videos: list[dict[str, Any]], overrides: list[str], workers: int, readers: int, rank: int) -> None:
    """One process of the plain way; prints its clips per second."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{PORT}", rank=rank, world_size=workers)
    config = settings(*overrides)
    data = StoredClips([Sample(**one) for one in videos], config)
    sampler: DistributedSampler[Part] = DistributedSampler(data, workers, rank, seed=config.seed)
    loader = DataLoader(
        data,
        config.training.batch_size,
        sampler=sampler,
        num_workers=max(1, readers // workers),
        persistent_workers=True,
        worker_init_fn=lambda _: torch.set_num_threads(1),
        collate_fn=collate_parts,
    )
    wrap = partial(DistributedDataParallel, find_unused_parameters=True)
    learner = Learner(config, torch.device("cpu"), wrap if workers > 1 else lambda module: module)
    rates = [plain_epoch(loader, sampler, learner, epoch) for epoch in range(1, config.training.epochs + 1)]
    print(mean(rates[1:]))
    dist.destroy_process_group()


def plain_epoch(loader: DataLoader[Part], sampler: DistributedSampler[Part], learner: Learner, epoch: int) -> float:
    """Train one epoch; clips per second from its first batch on."""
    sampler.set_epoch(epoch)
    batches, clips = iter(loader), 0
    batch = next(batches, None)
    began = time.perf_counter()
    while batch is not None:
        learner.step([batch], [1.0])
        clips += len(batch[1])
        batch = next(batches, None)
    return clips / (time.perf_counter() - began)


def collate_parts(parts: Sequence[Part]) -> tuple[Batch, Targets]:
    """One batch and its targets of parts of one clip each."""
    batches = [part.batch for part in parts if part.batch is not None]
    video_mask = torch.cat([batch.video_mask for batch in batches])
    audio_mask = torch.cat([batch.audio_mask for batch in batches])
    pictures = [_or_zeros([batch.video for batch in batches], index) for index in range(len(batches))]
    sounds = [_or_zeros([batch.audio for batch in batches], index) for index in range(len(batches))]
    targets = Targets(torch.cat([part.targets.labels for part in parts]))
    return Batch(torch.cat(pictures), torch.cat(sounds), video_mask, audio_mask), targets


def _or_zeros(tensors: Sequence[torch.Tensor | None], index: int) -> torch.Tensor:
    found = tensors[index]
    return found if found is not None else torch.zeros_like(next(one for one in tensors if one is not None))


if __name__ == "__main__":
    main()
