"""How many videos a second does Aura answer, beside the same model and decoder behind other servers?

    python benchmarks/compare.py --venvs FOLDER [--rounds 5] [--requests 24] [--clients 4] [--json FILE]

All use the same `load_clips`, the same model, the same allocator settings and the same cores, one server at a time:
each round starts every server anew, warms it up, and keeps `--clients` requests in flight. LitServe and BentoML get a
virtual environment each in `--venvs`, made at the first run; PyTorch and the rest they share with this one. The aim is
a median rate of at least that of the best; the mark is 0.9 of it.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psutil
from closed_loop import closed_loop
from live import CORES, STAGES, Service, free_port, live_service, save_json
from open_loop import Reply, percentile, request, send, upload

from aura_model.allocator import KEEP_MEMORY

HERE = Path(__file__).parent
VIDEO = HERE.parent / "tests" / "media" / "talking_face.mp4"
PACKAGES = {"LitServe": "litserve==0.2.19", "BentoML": "bentoml==1.4.39"}
START_SECONDS = 180.0
IDLE_SECONDS = 5.0

Done = TypeVar("Done")


@dataclass(frozen=True)
class Round:
    """One closed loop."""

    rate: float
    """Requests per second."""
    latencies: list[float]
    """Seconds."""
    processor: dict[str, float]
    """Processor seconds a request, by part of the server."""
    idle: float
    """Processor seconds that the whole server uses in a second in which nobody asks."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    parts: Callable[[], dict[str, list[psutil.Process]]]
    """Its processes now, by what they do."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venvs", type=Path, required=True)
    parser.add_argument("--video", type=Path, default=VIDEO)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=24, help="in each round")
    parser.add_argument("--clients", type=int, default=2 * CORES)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    systems = servers(args.venvs)
    rounds: dict[str, list[Round]] = {name: [] for name in systems}
    for number in range(args.rounds):
        for name, start in systems.items():
            with start() as server:
                rounds[name].append(measure(server, args.video.read_bytes(), args.clients, args.requests))
            print(f"round {number + 1}: {name:24s} {rounds[name][-1].rate:6.2f} requests/s", flush=True)
    results = report(rounds, args)
    show(results)
    save_json(args.json, results)


def servers(folder: Path) -> dict[str, Callable[[], AbstractContextManager[Server]]]:
    """Each server by name: a context in which it is ready."""
    lit, bento = (make_venv(folder / name.lower(), package) for name, package in PACKAGES.items())
    script = str(HERE / "servers" / "fastapi_server.py")
    serve = ["-m", "bentoml", "serve", "bentoml_server:AuraService", "--port", "{port}"]
    return {
        "Aura": aura,
        "FastAPI": partial(other, [sys.executable, script, "{port}"]),
        "FastAPI, decode children": partial(other, [sys.executable, script, "{port}", "children"]),
        "LitServe": partial(other, [lit, str(HERE / "servers" / "litserve_server.py"), "{port}"]),
        "BentoML": partial(other, [bento, *serve]),
    }


def make_venv(folder: Path, package: str) -> str:
    """The interpreter of an environment with one package more than this one, which it otherwise shares."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "shared.pth").write_text(f"{HERE.parent}\n{sysconfig.get_path('purelib')}\n")
    return str(python)


@contextmanager
def aura() -> Iterator[Server]:
    """Aura's own service, with as many decoders and threads of the model as the others."""
    settings = {
        "serving": {"max_in_flight": 64, "decode_children": CORES},
        "inference": {"threads": CORES, "device": "cpu"},
    }
    with live_service(settings) as service:
        yield Server(service.port, partial(parts_of_aura, service))


def parts_of_aura(service: Service) -> dict[str, list[psutil.Process]]:
    """The replicas, the decode children, the proxy and the controller, and what else Ray runs."""
    parts = {kind: service.processes(kind) for kind in (*STAGES, "child", "proxy", "controller")}
    known = {process for processes in parts.values() for process in processes}
    return parts | {"rest of Ray": [one for one in psutil.Process().children(recursive=True) if one not in known]}


@contextmanager
def other(command: list[str]) -> Iterator[Server]:
    """A server in a process of its own, ready; it and all its children end with the block."""
    port = free_port()
    environment = os.environ | KEEP_MEMORY | {"OMP_NUM_THREADS": "1", "BENTOML_DO_NOT_TRACK": "1"}
    filled = [part.format(port=port) for part in command]
    process = subprocess.Popen(
        filled, cwd=HERE / "servers", env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        asyncio.run(answers(port, process))
        yield Server(port, lambda: {"server": family(process)})
    finally:
        end(process)


async def answers(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the server answers any request at all; raises RuntimeError where it does not come up."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            await send(port, request("/docs"))
        except (OSError, EOFError, ValueError):
            await asyncio.sleep(0.2)
        else:
            return
    raise RuntimeError(f"{process.args!r} did not come up")


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and everything below it."""
    members = family(process)
    for member in members:
        member.terminate()
    _, alive = psutil.wait_procs(members, timeout=10)
    for member in alive:
        member.kill()
    process.wait()


def family(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """A process and everything below it."""
    return [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]


def measure(server: Server, content: bytes, clients: int, requests: int) -> Round:
    """Warm the server up, so that each of its workers has loaded and answered; watch it idle; then one closed loop."""
    load = partial(closed_loop, server.port, lambda _: upload(content), clients, patience=300)
    accept(asyncio.run(load(requests=2 * clients)))
    _, idle = used_during(server, lambda: time.sleep(IDLE_SECONDS))
    replies, used = used_during(server, lambda: accept(asyncio.run(load(requests=requests))))
    rate = requests / max(reply.sent + reply.seconds for reply in replies)
    each = {part: seconds / requests for part, seconds in used.items()}
    return Round(rate, [reply.seconds for reply in replies], each, sum(idle.values()) / IDLE_SECONDS)


def used_during(server: Server, work: Callable[[], Done]) -> tuple[Done, dict[str, float]]:
    """What `work` returns, and the processor seconds that each part of the server used meanwhile."""
    before = processor_seconds(server)
    done = work()
    return done, {part: seconds - before[part] for part, seconds in processor_seconds(server).items()}


def processor_seconds(server: Server) -> dict[str, float]:
    """What the parts of a server have used so far; processes that have ended do not count."""
    return {part: sum(map(seconds_of, processes)) for part, processes in server.parts().items()}


def seconds_of(process: psutil.Process) -> float:
    """What one process has used; 0 where it has ended meanwhile."""
    with suppress(psutil.Error):
        return float(sum(process.cpu_times()[:2]))
    return 0.0


def accept(replies: list[Reply]) -> list[Reply]:
    """The same replies; raises RuntimeError where one is no analysis."""
    verdicts = {reply.code for reply in replies}
    if verdicts - {"real", "fake", "uncertain"}:
        raise RuntimeError(f"not every reply is an analysis: {verdicts}, {[reply.status for reply in replies]}")
    return replies


def report(rounds: dict[str, list[Round]], args: argparse.Namespace) -> dict[str, Any]:
    """The medians and the ratio."""
    rates = {name: statistics.median(item.rate for item in items) for name, items in rounds.items()}
    systems = {}
    for name, items in rounds.items():
        latencies = [latency for item in items for latency in item.latencies]
        systems[name] = {
            "requests/s": rates[name],
            "p50": percentile(latencies, 0.5),
            "p95": percentile(latencies, 0.95),
            "processor s a request": {
                part: statistics.median(item.processor[part] for item in items) for part in items[0].processor
            },
            "processor s a second, idle": statistics.median(item.idle for item in items),
            "rounds": [asdict(item) for item in items],
        }
    best = max((name for name in rates if name != "Aura"), key=lambda name: rates[name])
    return {
        "video": args.video.name,
        "cores": CORES,
        "clients": args.clients,
        "packages": PACKAGES,
        "systems": systems,
        "best of the others": best,
        "ratio": rates["Aura"] / rates[best],
    }


def show(results: dict[str, Any]) -> None:
    """Print a line for each server, and the ratio."""
    for name, system in results["systems"].items():
        rate, p50, p95 = system["requests/s"], system["p50"], system["p95"]
        print(f"{name:26s} {rate:6.2f} requests/s   p50 {p50:6.2f} s   p95 {p95:6.2f} s")
        used = ", ".join(f"{part} {1000 * seconds:.0f}" for part, seconds in system["processor s a request"].items())
        idle = 1000 * system["processor s a second, idle"]
        print(f"{'':26s} processor ms a request: {used}; a second, idle: {idle:.0f}")
    ratio = results["ratio"]
    verdict = "the aim is met" if ratio >= 1 else "met" if ratio >= 0.9 else "MISSED"
    print(f"Aura / {results['best of the others']}: {ratio:.2f} (mark 0.9, aim 1.0): {verdict}")


if __name__ == "__main__":
    main()
