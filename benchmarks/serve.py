"""How many predictions a second does the service make, beside the same pipeline in one process?

    python benchmarks/serve.py [VIDEO] [--requests 24] [--rounds 3] [--clients 4]

Both ways decode in as many children and run the model on as many threads, on the CPU and with the same allocator.
Clients work in a closed loop: each sends its next request when it has its answer. The rounds alternate. The processor
time that the client itself takes is subtracted, as a share of the machine. The aim is a ratio of at least 0.8 at
saturation.
"""

import argparse
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import ray
import torch
from ray import serve
from ray.serve.config import HTTPOptions

from aura_model.config import Config, load_config
from aura_model.model import load_for_inference
from aura_model.sandbox import Sandbox
from aura_model.scoring import Scorer
from deployments.app import KEEP_MEMORY, AppArgs, build

VIDEO = Path(__file__).parents[1] / "tests" / "media" / "talking_face.mp4"
PORT = 18431
CORES = len(os.sched_getaffinity(0))
THREADS = max(1, CORES // 2)
SETTINGS = {
    "serving": {"max_in_flight": 64, "decode_children": CORES},
    "inference": {"threads": THREADS, "device": "cpu"},
}


@dataclass(frozen=True)
class Round:
    """One closed loop."""

    seconds: float
    """Wall time, without the client's share of the machine."""
    latencies: list[float]

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.latencies) / self.seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", type=Path, default=VIDEO)
    parser.add_argument("--requests", type=int, default=24, help="in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=2 * CORES)
    args = parser.parse_args()
    if not KEEP_MEMORY.items() <= os.environ.items():  # glibc reads them when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP_MEMORY)
    config = load_config(env={}, settings=SETTINGS)
    content = args.video.read_bytes()
    print(f"{args.video.name}, {args.clients} clients, {CORES} decode children, {THREADS} model thread(s)")
    with service() as url, in_process(config, content) as local:
        remote = http_client(url, content)
        ways = {"in one process": (local, False), "POST /predict": (remote, True)}
        rounds: dict[str, list[Round]] = {name: [] for name in ways}
        for name, (way, _) in ways.items():
            closed_loop(way, args.clients, args.clients, is_client=False)
            print(f"warmed up: {name}")
        for _ in range(args.rounds):
            for name, (way, is_client) in ways.items():
                rounds[name].append(closed_loop(way, args.requests, args.clients, is_client=is_client))
    report(rounds)


def report(rounds: dict[str, list[Round]]) -> None:
    """Print the median rate of each way, its latencies and the ratio."""
    rates = {name: statistics.median(item.rate for item in items) for name, items in rounds.items()}
    for name, items in rounds.items():
        latencies = sorted(latency for item in items for latency in item.latencies)
        p50, p95 = (latencies[int(share * (len(latencies) - 1))] for share in (0.5, 0.95))
        print(f"{name:16s} {rates[name]:6.2f} requests/s   p50 {p50:6.2f} s   p95 {p95:6.2f} s   n={len(latencies)}")
    baseline, ours = rates.values()
    print(f"ratio {ours / baseline:.2f}")


def closed_loop(way: Callable[[], object], requests: int, clients: int, *, is_client: bool) -> Round:
    """Make `requests` calls from `clients` threads that each wait for their answer."""
    left = iter(range(requests))
    lock = threading.Lock()
    latencies: list[float] = []

    def work() -> None:
        """One client: calls until none is left to make."""
        while True:
            with lock:
                if next(left, None) is None:
                    return
            begin = time.perf_counter()
            way()
            latencies.append(time.perf_counter() - begin)

    processor, begin = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for future in [pool.submit(work) for _ in range(clients)]:
            future.result()
    wall = time.perf_counter() - begin
    own = (time.process_time() - processor) / CORES if is_client else 0.0
    return Round(wall - own, latencies)


@contextmanager
def in_process(config: Config, content: bytes) -> Iterator[Callable[[], object]]:
    """The pipeline without Ray: children that decode, one forward pass at a time."""
    torch.set_num_threads(THREADS)
    scorer = Scorer(load_for_inference(None, config, "cpu"), "cpu")
    one_at_a_time = threading.Lock()
    with Sandbox(config, children=CORES) as sandbox:

        def predict() -> object:
            """Decode in a child, then score alone."""
            clips = sandbox.load_clips(content)
            with one_at_a_time:
                return scorer.score(clips.clips)

        yield predict


@contextmanager
def service() -> Iterator[str]:
    """The service on a Ray of its own, ready."""
    ray.init(num_cpus=CORES, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options=HTTPOptions(host="127.0.0.1", port=PORT))
        serve.run(build(AppArgs(settings=SETTINGS)), name="aura")
        url = f"http://127.0.0.1:{PORT}"
        wait_until_ready(url)
        yield url
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


def wait_until_ready(url: str, seconds: float = 120) -> None:
    """Poll until the model is loaded."""
    end = time.monotonic() + seconds
    while httpx.get(f"{url}/health/ready").status_code != httpx.codes.OK:
        if time.monotonic() > end:
            raise SystemExit("the service did not become ready")
        time.sleep(0.5)


def http_client(url: str, content: bytes) -> Callable[[], object]:
    """Uploads the video once a call, over kept connections."""
    client = httpx.Client(timeout=300)

    def predict() -> object:
        """One request; raises where the answer is no analysis."""
        reply = client.post(f"{url}/predict", files={"file": content})
        reply.raise_for_status()
        return reply

    return predict


if __name__ == "__main__":
    main()
