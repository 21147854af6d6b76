"""How well do more workers pay, where each sample costs a worker the same fixed time?

    python benchmarks/scaling.py [--videos 240] [--cost 0.05] [--workers 1 2 4] [--readers N] [--json FILE]

Ray Train workers take their shares of one stream of pre-extracted clips in step with one another, as in training, and
sleep `--cost` seconds a clip in place of the model, as if each had an accelerator of its own. The efficiency is clips
per second of n workers / (n x those of one). It shows what the stream and the steps cost, not what this machine's
processors can do.
"""

import argparse
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ingest import extract
from material import CORES, local_ray, samples, save, settings, show
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from aura_model.config import Config
from training.plan import EXTRACTOR_MEMORY, ExtractorPlan
from training.stream import Course, clip_stream
from training.worker.batches import Parts, worker_parts
from training.worker.team import Team

SMALL = ("dataset.face.size=128", "dataset.video.temporal_window=4")


@dataclass(frozen=True)
class Job:
    """What a worker needs."""

    course: Course
    config: Config
    readers: int
    cost: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=240)
    parser.add_argument("--cost", type=float, default=0.05, help="seconds a clip")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--readers", type=int, default=CORES)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        save(args.json, report(Path(folder), args))


def report(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One run for each number of workers."""
    videos = samples(folder / "videos", args.videos)
    extract(folder, videos, *SMALL)
    config = settings(*SMALL, f"dataset.preprocessing={{mode: preextracted, store: {folder / 'store'}}}")
    job = Job(Course(tuple(videos), (), config.seed, first=1, last=2), config, args.readers, args.cost)
    rates = {workers: run(job, workers, folder / "runs") for workers in args.workers}
    base = rates[args.workers[0]] / args.workers[0]
    efficiencies = {workers: rate / workers / base for workers, rate in rates.items()}
    show(
        f"{args.videos} videos twice, {args.cost:g} s a clip, {args.readers} readers, {CORES} cores",
        {
            f"{workers} workers": f"{rate:8.1f} clips/s   efficiency {efficiencies[workers]:.2f}"
            for workers, rate in rates.items()
        },
    )
    return {"clips_per_second": rates, "efficiency": efficiencies}


def run(job: Job, workers: int, storage: Path) -> float:
    """Clips per second of so many workers, from the first step on."""
    with local_ray(workers + job.readers):
        result = TorchTrainer(
            work,  # type: ignore[arg-type]  # what it returns is `Result.return_value`
            train_loop_config={"job": job},
            torch_config=TorchConfig(backend="gloo"),
            scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 1.0}),
            run_config=RunConfig(name=f"scaling-{workers}", storage_path=str(storage)),
        ).fit()
    return float(result.return_value)  # type: ignore[attr-defined]  # the stubs show Ray's older class


def work(settings: dict[str, Job]) -> float:
    """One worker: take parts in step with the others, and sleep; gives the clips per second of all."""
    job, team = settings["job"], Team.here()
    plan = ExtractorPlan(actors=job.readers, cpus=1.0, memory=EXTRACTOR_MEMORY)
    stream = team.deal(partial(clip_stream, job.course, job.config, plan, team.size))
    parts, done, began = Parts(worker_parts(stream, job.config)), 0, 0.0
    for epoch in (1, 2):
        taken = parts.of(epoch, "train")
        while True:
            part = next(taken, None)
            clips, more = team.total(len(part.rows) if part else 0, part is not None)
            if not more:
                break
            if began:
                done += clips
            began = began or time.perf_counter()
            time.sleep(job.cost * len(part.rows) if part else 0)
    return done / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
