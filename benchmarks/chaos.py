"""What does the service lose when a part of it dies, is replaced, or is sent poison, under load?

    python benchmarks/chaos.py [--fault all] [--rate R] [--seconds S] [--json FILE]

Two replicas of each stage around a model that sleeps 50 ms. An open loop runs; after a fifth of its time the fault
happens. A request is lost unless it gets a 200 (a poisonous one: a 422). Latency counts from the schedule. Each fault
has a service of its own. `delete`, `sigterm` and `sigint` end the service: then only requests sent before count.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import yaml
from faults import FAULTS, PATIENCE, Fault, Run
from live import ENVIRONMENT, Service, Stub, application, free_port, ray_serve, save_json
from open_loop import open_loop, upload
from ray import serve
from ray.serve import Application
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from deployments.app import AppArgs

HERE = Path(__file__).parent
POISON = HERE.parent / "tests" / "deployments" / "live" / "poison"
PICTURE = HERE.parent / "tests" / "media" / "face.jpg"
MARK = b"POISON"
"""A decode child dies of a file that ends so; see `POISON`."""
SERVE_CONFIG = HERE.parent / "serve_config.yaml"
CPUS = 8


class ChaosArgs(AppArgs):
    """The service's arguments, and those of the model that sleeps."""

    score_seconds: float = 0.05
    crop_seconds: float = 0.02
    real_cropper: bool = False


def build(args: ChaosArgs) -> Application:
    """The application, for a Serve configuration."""
    stub = Stub(args.score_seconds, crop_seconds=None if args.real_cropper else args.crop_seconds)
    return application(AppArgs.model_validate(args.model_dump(include=set(AppArgs.model_fields))), stub)


def main() -> None:
    """Run the faults, print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", nargs="+", choices=[*FAULTS, "all"], default=["all"])
    parser.add_argument("--rate", type=float, help="requests per second, for every fault")
    parser.add_argument("--seconds", type=float, help="of load, for every fault")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results: dict[str, Any] = {}
    for name in FAULTS if "all" in args.fault else args.fault:
        fault = FAULTS[name]
        rate, seconds = args.rate or fault.rate, args.seconds or fault.seconds
        with service_of(fault) as service:
            run = asyncio.run(measure(service, fault, rate, seconds))
            results[name] = report(name, fault, run)
            save_json(args.json, results)
            if name == "gcs":
                end_everything()


async def measure(service: Service, fault: Fault, rate: float, seconds: float) -> Run:
    """Load the service, and let the fault happen meanwhile."""
    content = PICTURE.read_bytes()
    number = round(rate * seconds)
    poisonous = frozenset(number * part // 5 for part in (1, 2, 3)) if fault.args.get("real_cropper") else frozenset()
    good, bad = upload(content), upload(content + MARK)
    await open_loop(service.port, lambda _: good, rate, 2.0)  # warm
    children = set(service.pids("child")["child"])
    start = time.perf_counter()
    happening = asyncio.create_task(happen(service, fault, seconds / 5, start))
    message = lambda number: bad if number in poisonous else good  # noqa: E731
    replies = await open_loop(service.port, message, rate, seconds, patience=PATIENCE)
    at, recovery = await happening
    if fault.is_end:
        replies = [reply for reply in replies if reply.sent < at]
    ended = len(children - set(service.pids("child")["child"]))
    return Run(replies, poisonous, at, recovery, ended)


async def happen(service: Service, fault: Fault, after: float, start: float) -> tuple[float, float]:
    """Let the fault happen; when it did, and how many seconds it took until all was well again."""
    await asyncio.sleep(after)
    kind, began = fault.kill, time.perf_counter()
    if fault.ends_by:
        os.kill(service.pids("serve")["serve"][0], fault.ends_by)
        return began - start, float("nan")
    if fault.is_deleted:
        await asyncio.to_thread(serve.delete, "aura")
    elif fault.change:
        await asyncio.to_thread(deploy, fault.args, fault.change)
    elif kind:
        before = service.pids(kind)[kind]
        os.kill(before[0], signal.SIGKILL)
        if kind == "gcs":
            return began - start, float("inf")
        await asyncio.to_thread(until_back, service, kind, before)
    return began - start, time.perf_counter() - began


def until_back(service: Service, kind: str, before: list[int]) -> None:
    """Wait until another process has taken the place of the killed one, and the service is ready."""
    while before[0] in (now := service.pids(kind)[kind]) or len(now) < len(before) or not service.is_ready():
        time.sleep(0.1)


def deploy(args: Mapping[str, Any], change: Mapping[str, Any]) -> None:
    """Deploy the application and wait until it runs."""
    config = ServeDeploySchema.model_validate({"applications": [configuration(args, change)]})
    client = _get_global_client()
    assert client is not None
    client.deploy_apps(config, _blocking=True)


def configuration(args: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """An application with two replicas of each stage; a change may have `args` of its own."""
    replicas = {f"{stage}_replicas": 2 for stage in ("ingress", "cropper", "detector")}
    settings = {
        "serving": {"max_in_flight": 256, "decode_children": 1},  # nothing is refused: that is what load.py measures
        "limits": {"files_per_child": 100_000},  # a child that is replaced because it is spent would count as a death
    }
    arguments = {"num_gpus": 0, "settings": settings, **replicas, **args, **change.get("args", {})}
    fixed = {"name": "aura", "route_prefix": "/", "import_path": "chaos:build"}
    return {**fixed, **change, "args": arguments}


@contextmanager
def service_of(fault: Fault) -> Iterator[Service]:
    """A service of its own for a fault, ready."""
    environment = {"PYTHONPATH": os.pathsep.join([str(POISON), str(HERE), str(HERE.parent)])}
    if fault.in_serve_run:
        with serve_run(environment, fault.args) as (service, process):
            yield service
            if not fault.ends_by:
                process.send_signal(signal.SIGINT)
            process.wait(120)
        return
    with ray_serve(cpus=CPUS, environment=environment) as service:
        deploy(fault.args, {})
        service.wait_until_ready()
        yield service


@contextmanager
def serve_run(
    environment: Mapping[str, str], args: Mapping[str, Any]
) -> Iterator[tuple[Service, "subprocess.Popen[bytes]"]]:
    """`serve run` in a process of its own, which somebody else ends."""
    with tempfile.TemporaryDirectory(prefix="aura-") as temp:
        port, path = free_port(), Path(temp) / "serve.yaml"
        options = {"host": "127.0.0.1", "port": port}
        content = yaml.safe_load(SERVE_CONFIG.read_text()) | {"http_options": options}
        path.write_text(yaml.safe_dump(content | {"applications": [configuration(args, {})]}))
        command = [sys.executable, "-m", "ray.serve.scripts", "run", str(path)]
        with subprocess.Popen(command, env=os.environ | ENVIRONMENT | dict(environment), cwd=HERE) as process:
            service = Service(port, Path(temp))
            service.wait_until_ready()
            yield service, process


def end_everything() -> None:
    """Without its GCS a cluster cannot be shut down in order."""
    for process in psutil.Process().children(recursive=True):
        process.kill()
    sys.stdout.flush()
    os._exit(0)


def report(name: str, fault: Fault, run: Run) -> dict[str, Any]:
    """Print what came of one fault."""
    statuses = Counter(f"{reply.status} {reply.code or ''}".strip() for reply in run.replies)
    times = {share: round(run.seconds(share), 3) for share in (0.5, 0.95, 0.99, 1.0)}
    print(f"\n{name}: {len(run.lost)} of {len(run.replies)} lost, {dict(statuses)}")
    shown = ", ".join(f"p{100 * share:g} {time} s" for share, time in times.items())
    print(f"  {shown}, back in {run.recovery:.1f} s")
    marks = {mark: good(run) for mark, good in fault.marks.items()}
    for mark, met in marks.items():
        print(f"  {'met   ' if met else 'MISSED'} {mark}", flush=True)
    return {"lost": len(run.lost), "of": len(run.replies), "recovery": run.recovery, "marks": marks} | {
        "seconds": times,
        "statuses": statuses,
        "killed": run.killed,
        "lost_replies": [asdict(reply) for reply in run.lost],
    }


if __name__ == "__main__":
    main()
