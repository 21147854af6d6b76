"""A picture of a soak: memory, descriptors and threads of each process, and how long requests took."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from open_loop import percentile

BIN_SECONDS = 60.0


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw what `soak.report` gives."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    memory, counts, latency = figure.subplots(3, 1, sharex=True)
    for name, points in results["processes"].items():
        minutes = np.array(points["at"]) / 60
        (line,) = memory.plot(minutes, points["MB"], label=name.split()[0])
        counts.plot(minutes, points["descriptors"], color=line.get_color())
        counts.plot(minutes, points["threads"], color=line.get_color(), linestyle=":")
    memory.set_ylabel("memory of its own, MB")
    memory.legend(loc="center right", fontsize="small")
    counts.set_ylabel("descriptors (lines), threads (dots)")
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        latency.plot(*binned(results["latency"], share), label=label)
    latency.set_ylabel("good requests, ms")
    latency.set_xlabel("minutes")
    latency.legend(fontsize="small")
    for axes in (memory, counts, latency):
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, dpi=110)


def binned(latency: dict[str, list[float]], share: float) -> tuple[list[float], list[float]]:
    """Minutes, and the percentile of the requests that were sent in each."""
    bins: dict[int, list[float]] = {}
    for at, milliseconds in zip(latency["at"], latency["ms"], strict=True):
        bins.setdefault(int(at // BIN_SECONDS), []).append(milliseconds)
    return [(number + 0.5) * BIN_SECONDS / 60 for number in sorted(bins)], [
        percentile(bins[number], share) for number in sorted(bins)
    ]
