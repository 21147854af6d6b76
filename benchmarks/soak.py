"""Does the service stay what it was under a mixed load that lasts?

    python benchmarks/soak.py [--minutes 60] [--json FILE] [--plot FILE.png] [--folder HOSTILE]

Requests come at random moments (Poisson) at half of the measured capacity: 88 % good clips, 10 % hostile ones, and 2 %
from clients that leave before they are answered. The results are written every half minute and when the run is
interrupted. The marks, over what follows the first sixth of the time: memory of each process grows by less than 1 MB a
minute, descriptors stay within 5 and threads within 2, no temporary file is left, every place is free at the end, and
the p99 of the last sixth is at most 1.2 times that of the first.
"""

import argparse
import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from live import Service, live_service, save_json
from load import CLIPS, MEDIA, capacity_of
from open_loop import Reply, ask, percentile, request, upload
from soak_plot import plot
from watch import Sample, sample

HOSTILE = ("empty.mp4", "not_a_video.mp4", "truncated.mp4", "huge_header.mp4", "huge_frame.mp4", "unknown_codec.mp4")
SAMPLE_SECONDS = 10.0
SHARE = 6
"""The first and the last of so many parts of the time are compared."""


@dataclass
class Run:
    """What has been seen so far."""

    minutes: float
    capacity: float
    replies: list[tuple[str, Reply]] = field(default_factory=list)
    """With the kind of each request: good, hostile or leaver."""
    samples: list[Sample] = field(default_factory=list)
    temporary: list[str] = field(default_factory=list)
    """Files left at the end."""
    free_places: bool | None = None
    """Whether as many predictions as the service takes at once were all answered at the end."""


def main() -> None:
    """Run, then print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, help="more hostile files: all below this folder")
    parser.add_argument("--rate", type=float, help="requests per second; by default half of the capacity")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with live_service() as service:
        run = Run(args.minutes, args.rate * 2 if args.rate else asyncio.run(capacity_of(service, 10.0)))
        try:
            asyncio.run(soak(service, run, hostile_files(args.folder), args.json))
        except KeyboardInterrupt:
            print("interrupted")
        finally:
            finish(service, run, args.json, args.plot)


def hostile_files(folder: Path | None) -> list[bytes]:
    """The bytes of the hostile files."""
    paths = [MEDIA / name for name in HOSTILE]
    if folder:
        paths += sorted(path for path in folder.rglob("*") if path.is_file())
    return [path.read_bytes() for path in paths]


async def soak(service: Service, run: Run, hostile: Sequence[bytes], target: Path | None) -> None:
    """Load the service for the whole time, and sample it."""
    start = time.perf_counter()
    watch = asyncio.create_task(keep_watch(service, run, start, target))
    try:
        await send_all(service, run, hostile, start)
        run.free_places = await places_are_free(service)
    finally:
        watch.cancel()


async def send_all(service: Service, run: Run, hostile: Sequence[bytes], start: float) -> None:
    """Send requests at random moments until the time is over, and wait for the last answers."""
    draw = random.Random(1)
    clips = [(MEDIA / name).read_bytes() for name in CLIPS]
    moment = draw.expovariate(run.capacity / 2)
    async with asyncio.TaskGroup() as group:
        while moment < 60 * run.minutes:
            await asyncio.sleep(max(0.0, start + moment - time.perf_counter()))
            kind = draw.choices(["good", "hostile", "leaver"], [88, 10, 2])[0]
            message = make_hostile(draw, hostile) if kind == "hostile" else upload(draw.choice(clips))
            patience = draw.uniform(0.05, 1.5) if kind == "leaver" else 150.0
            task = group.create_task(ask(service.port, message, start, moment, patience))
            task.add_done_callback(partial(note, run, kind))
            moment += draw.expovariate(run.capacity / 2)


def note(run: Run, kind: str, task: asyncio.Task[Reply]) -> None:
    """Keep what became of a request."""
    if not task.cancelled():
        run.replies.append((kind, task.result()))


def make_hostile(draw: random.Random, files: Sequence[bytes]) -> bytes:
    """A broken file, a mutated good one, a forbidden URL, or a body that is no request."""
    match draw.randrange(6):
        case 0:
            url = b'{"video_url": "http://169.254.169.254/latest/meta-data"}'
            return request("/predict", "POST", {"Content-Type": "application/json"}, url)
        case 1:
            return request("/predict", "POST", {"Content-Type": "application/json"}, draw.randbytes(200))
        case 2:
            content = bytearray((MEDIA / CLIPS[0]).read_bytes())
            for _ in range(200):
                content[draw.randrange(len(content))] = draw.randrange(256)
            return upload(bytes(content))
        case _:
            return upload(draw.choice(files))


async def keep_watch(service: Service, run: Run, start: float, target: Path | None) -> None:
    """Sample the processes, and save what has been seen."""
    for number in range(1, 1 << 30):
        run.samples += await asyncio.to_thread(sample, service, time.perf_counter() - start)
        if number % 3 == 0:
            await asyncio.to_thread(save_json, target, report(run))
        await asyncio.sleep(max(0.0, start + number * SAMPLE_SECONDS - time.perf_counter()))


async def places_are_free(service: Service, places: int = 8) -> bool:
    """Whether as many predictions at once as the service takes are all answered."""
    message, start = upload((MEDIA / "face.jpg").read_bytes()), time.perf_counter()
    replies = await asyncio.gather(*(ask(service.port, message, start, 0.0, 60.0) for _ in range(places)))
    return {reply.status for reply in replies} == {200}


def finish(service: Service, run: Run, target: Path | None, picture: Path | None) -> None:
    """Look at what is left, then print and save everything."""
    run.samples += sample(service, max((one.at for one in run.samples), default=0.0) + SAMPLE_SECONDS)
    with suppress(OSError):
        run.temporary = [path.name for path in service.temp.rglob("*") if path.is_file()]
    results = report(run)
    for name, value in results.items():
        if name not in {"processes", "latency"}:
            print(f"{name:28s} {value}")
    save_json(target, results)
    if picture:
        plot(results, picture)


def report(run: Run) -> dict[str, Any]:
    """All figures, and the curves."""
    good = [reply for kind, reply in run.replies if kind == "good"]
    seconds = max((reply.scheduled for reply in good), default=0.0)
    first = [1000 * reply.seconds for reply in good if reply.scheduled <= seconds / SHARE]
    last = [1000 * reply.seconds for reply in good if reply.scheduled >= seconds * (1 - 1 / SHARE)]
    statuses = Counter(f"{kind} {reply.status or 'no reply'}" for kind, reply in run.replies)
    curves = {f"{kind} {pid}": curve(run.samples, pid) for kind, pid in processes(run.samples)}
    drifts = {name: drift(points) for name, points in curves.items()}
    p99 = {"first": percentile(first, 0.99), "last": percentile(last, 0.99)}
    return {
        "minutes": seconds / 60,
        "capacity": run.capacity,
        "requests": len(run.replies),
        "statuses": dict(sorted(statuses.items())),
        "p99, ms": p99,
        "drifts": drifts,
        "temporary files": run.temporary,
        "places are free": run.free_places,
        "marks": judge(run, drifts, p99),
        "processes": curves,
        "latency": {"at": [r.scheduled for r in good], "ms": [round(1000 * r.seconds, 1) for r in good]},
    }


def judge(run: Run, drifts: dict[str, dict[str, float]], p99: dict[str, float]) -> dict[str, bool]:
    """Each mark, and whether it is met."""
    statuses = Counter(reply.status for kind, reply in run.replies if kind != "leaver")
    fine = {*range(200, 500), 503}
    return {
        "memory grows by less than 1 MB a minute": all(one["MB a minute"] < 1 for one in drifts.values()),
        "descriptors within 5": all(abs(one["descriptors"]) <= 5 for one in drifts.values()),
        "threads within 2": all(abs(one["threads"]) <= 2 for one in drifts.values()),
        "no process lost": len(drifts) == len({name.split()[0] for name in drifts}),
        "no temporary file left": not run.temporary,
        "every place is free": run.free_places is True,
        "p99 of the last part at most 1.2 x that of the first": p99["last"] <= 1.2 * p99["first"],
        "nothing but 2xx, 4xx and refusals": statuses.keys() <= fine,
        "at most 1 % refused": statuses[503] <= 0.01 * statuses.total(),
    }


def processes(samples: Sequence[Sample]) -> list[tuple[str, int]]:
    """Every process that was seen, in order."""
    return sorted({(one.kind, one.pid) for one in samples})


def curve(samples: Sequence[Sample], pid: int) -> dict[str, list[float]]:
    """One process over time: seconds, MB, descriptors and threads."""
    own = [one for one in samples if one.pid == pid]
    return {
        "at": [round(one.at, 1) for one in own],
        "MB": [round(one.private / 1e6, 2) for one in own],
        "descriptors": [one.descriptors for one in own],
        "threads": [one.threads for one in own],
    }


def drift(points: dict[str, list[float]]) -> dict[str, float]:
    """How a process changed after the first part of the time: by a straight line, and last part beside second part."""
    at = np.array(points["at"])
    settled = at >= at.max() / SHARE
    if settled.sum() < SHARE:
        return {"MB a minute": 0.0, "descriptors": 0.0, "threads": 0.0}
    part = max(1, int(settled.sum()) // (SHARE - 1))
    changes = {
        name: float(np.median(values[-part:]) - np.median(values[:part]))
        for name in ("descriptors", "threads")
        for values in [np.array(points[name])[settled]]
    }
    slope = np.polyfit(at[settled] / 60, np.array(points["MB"])[settled], 1)[0]
    return {"MB a minute": round(float(slope), 3), **changes}


if __name__ == "__main__":
    main()
