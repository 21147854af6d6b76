"""Does the service go on answering when more is asked than it can do?

    python benchmarks/load.py [--kinds stub-250 stub-50 real] [--json FILE]

For each kind of model: the capacity in a closed loop, then an open loop at 0.5, 1, 2 and 4 times that rate and at 0.5
again after 5 seconds, with probes of `/health/live` at 5 a second throughout. Goodput is replies 200 within the SLO
that arrive while the load lasts, a second; the marks compare it with the rate of 1x. Stub models sleep, 8 files at
once, and get a small picture: what is measured is the service around them. The generator shares the machine's cores.
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from closed_loop import closed_loop
from live import CORES, Service, Stub, live_service, save_json
from open_loop import Reply, open_loop, percentile, request, upload

MEDIA = Path(__file__).parents[1] / "tests" / "media"
CLIPS = ("talking_face.mp4", "talking_face_b.mp4", "two_faces.mp4", "face.jpg", "audio_only.m4a")
PROBES_PER_SECOND = 5.0
REST_SECONDS = 5.0


@dataclass(frozen=True)
class Kind:
    """A model, and what is asked of a service with it."""

    stub: Stub | None
    slo: float
    """Seconds within which a reply is of use."""
    live: float
    """Seconds that 99 % of the probes of `/health/live` may take."""
    clips: tuple[str, ...] = ("face.jpg",)
    """What is uploaded, in turn."""
    stretch: float = 1.0
    """How much longer the loads last than those of the stubs."""


KINDS = {
    "stub-250": Kind(Stub(0.25), slo=1.0, live=0.05),
    "stub-50": Kind(Stub(0.05), slo=1.0, live=0.05),
    "real": Kind(None, slo=10.0, live=0.5, clips=CLIPS, stretch=2.0),
}
LOADS = {"0.5x before": (0.5, 8.0), "1x": (1.0, 12.0), "2x": (2.0, 15.0), "4x": (4.0, 10.0), "0.5x after": (0.5, 8.0)}
"""By name: times the capacity, and seconds."""


@dataclass(frozen=True)
class Load:
    """What came of one load. Times in milliseconds."""

    rate: float
    seconds: float
    goodput: float
    p50: float
    p99: float
    """Of the replies 200."""
    statuses: dict[int, int]
    rejected_p50: float
    rejected_max: float
    """Of the replies 503."""
    without_retry_after: int
    live_p99: float
    live_max: float
    live_failed: int
    generator_late: float
    """By how much the generator itself ran behind, at most."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--max-in-flight", type=int, help="another bound than the service's own")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    settings = {"serving": {"max_in_flight": args.max_in_flight}} if args.max_in_flight else {}
    results: dict[str, Any] = {"cores": CORES, "settings": settings, "kinds": {}}
    for name in args.kinds:
        with live_service(settings, stub=KINDS[name].stub) as service:
            results["kinds"][name] = asyncio.run(measure(name, KINDS[name], service, args.loads))
        save_json(args.json, results)


async def measure(name: str, kind: Kind, service: Service, names: Sequence[str]) -> dict[str, Any]:
    """These loads on one service."""
    capacity = await capacity_of(service, 5.0 * kind.stretch, kind.clips)
    print(f"\n{name}: capacity {capacity:.1f} requests/s, SLO {kind.slo:g} s", flush=True)
    loads = {}
    for load_name in names:
        times, seconds = LOADS[load_name]
        await asyncio.sleep(REST_SECONDS)
        loads[load_name] = await one_load(service, kind, times * capacity, seconds * kind.stretch)
        print(f"  {load_name:12s} {describe(loads[load_name])}", flush=True)
    marks = judge(loads, kind) if len(loads) == len(LOADS) else {}
    for mark, met in marks.items():
        print(f"  {'met   ' if met else 'MISSED'} {mark}")
    saved = {load_name: asdict(load) for load_name, load in loads.items()}
    return {"capacity": capacity, "slo": kind.slo, "loads": saved, "marks": marks}


async def capacity_of(service: Service, seconds: float, clips: Sequence[str] = CLIPS) -> float:
    """Requests per second where eight are always in flight."""
    message = uploads(clips)
    await closed_loop(service.port, message, 8, requests=2 * len(CLIPS))
    replies = await closed_loop(service.port, message, 8, seconds=seconds)
    return sum(reply.status == 200 for reply in replies) / max(reply.sent + reply.seconds for reply in replies)


def uploads(clips: Sequence[str]) -> Callable[[int], bytes]:
    """The request with a number: each clip in turn."""
    messages = [upload((MEDIA / name).read_bytes(), name) for name in clips]
    return lambda number: messages[number % len(messages)]


async def one_load(service: Service, kind: Kind, rate: float, seconds: float) -> Load:
    """One open loop, with probes beside it."""
    probe = request("/health/live")
    replies, probes = await asyncio.gather(
        open_loop(service.port, uploads(kind.clips), rate, seconds),
        open_loop(service.port, lambda _: probe, PROBES_PER_SECOND, seconds),
    )
    return summary(replies, probes, rate, seconds, kind.slo)


def summary(replies: list[Reply], probes: list[Reply], rate: float, seconds: float, slo: float) -> Load:
    """The figures of one load."""
    good = [r for r in replies if r.status == 200 and r.seconds <= slo and r.scheduled + r.seconds <= seconds]
    answered = [1000 * reply.seconds for reply in replies if reply.status == 200]
    rejected = [1000 * reply.seconds for reply in replies if reply.status == 503]
    live = [1000 * probe.seconds for probe in probes]
    return Load(
        rate=rate,
        seconds=seconds,
        goodput=len(good) / seconds,
        p50=percentile(answered, 0.5),
        p99=percentile(answered, 0.99),
        statuses=dict(Counter(reply.status for reply in replies)),
        rejected_p50=percentile(rejected, 0.5),
        rejected_max=max(rejected, default=float("nan")),
        without_retry_after=sum(reply.status == 503 and not reply.retry_after for reply in replies),
        live_p99=percentile(live, 0.99),
        live_max=max(live),
        live_failed=sum(probe.status != 200 for probe in probes),
        generator_late=1000 * max(reply.late for reply in replies),
    )


def describe(load: Load) -> str:
    """One line."""
    return (
        f"{load.rate:6.1f}/s  goodput {load.goodput:6.1f}/s  p50 {load.p50:5.0f}  p99 {load.p99:5.0f}"
        f"  503: p50 {load.rejected_p50:4.0f} max {load.rejected_max:4.0f}"
        f"  live: p99 {load.live_p99:4.0f} max {load.live_max:4.0f}  {load.statuses}  late {load.generator_late:.0f}"
    )


def judge(loads: dict[str, Load], kind: Kind) -> dict[str, bool]:
    """Each pass mark, and whether it was met."""
    rate, before, after = loads["1x"].rate, loads["0.5x before"].p50, loads["0.5x after"].p50
    rejected = max(loads[name].rejected_p50 for name in ("2x", "4x"))
    live = max(load.live_p99 for load in loads.values())
    return {
        f"goodput at 2x {loads['2x'].goodput / rate:.2f} of the 1x rate, at least 0.9": loads["2x"].goodput
        >= 0.9 * rate,
        f"goodput at 4x {loads['4x'].goodput / rate:.2f} of the 1x rate, at least 0.8": loads["4x"].goodput
        >= 0.8 * rate,
        f"refusals take {rejected:.0f} ms (p50), less than 100": rejected < 100,
        "every refusal says when to come again": not any(load.without_retry_after for load in loads.values()),
        f"p50 {after:.0f} ms 5 s later, within 20 % of {before:.0f} ms before": after <= 1.2 * before,
        f"/health/live p99 {live:.0f} ms, less than {1000 * kind.live:.0f}": live < 1000 * kind.live,
        "no probe failed": not any(load.live_failed for load in loads.values()),
        "nothing but 200 and 503": all(set(load.statuses) <= {200, 503} for load in loads.values()),
    }


if __name__ == "__main__":
    main()
