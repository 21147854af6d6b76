"""Pictures of the honest report, for the documentation; they show no faces.

    python benchmarks/honesty_plots.py [--robustness benchmarks/results/robustness.json]
        [--wild benchmarks/results/wild.json] [--output docs/pictures]

Drawn are reliability, coverage and risk, the robustness grid, AUC by family, and from `wild.json` AUC by system; each a
PNG of less than 150 kB. A file that is not there is passed over.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Report = Mapping[str, Any]
RESULTS = Path(__file__).parent / "results"
PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
DPI = 90
COLOURS = {"trained": "#2f7ed8", "held_out": "#d9622b", "drawn": "#7a7a7a"}
CLEAN_LEVEL = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Draw what the results tell; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robustness", type=Path, default=RESULTS / "robustness.json")
    parser.add_argument("--wild", type=Path, default=RESULTS / "wild.json")
    parser.add_argument("--output", type=Path, default=PICTURES)
    args = parser.parse_args(argv)
    drawn = [*draw(args.robustness, args.output, PAIRS), *draw(args.wild, args.output, WILD)]
    print("\n".join(map(str, drawn)) or "no results to draw")
    return int(not drawn)


def draw(results: Path, folder: Path, plots: Mapping[str, Callable[[Axes, Report], None]]) -> list[Path]:
    """Draw these plots of one file of results; returns the files that were written, none without results."""
    if not results.exists():
        return []
    report = json.loads(results.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    return [save(plot, report, folder / f"{name}.png") for name, plot in plots.items()]


def save(plot: Callable[[Axes, Report], None], report: Report, path: Path) -> Path:
    """Write one plot as PNG; the same report gives the same bytes."""
    with mpl.rc_context():
        mpl.rcdefaults()
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.grid(visible=True, alpha=0.3)
        axes.set_axisbelow(True)
        plot(axes, report)
        figure.savefig(path, dpi=DPI, metadata={"Software": None})
    return path


def reliability(axes: Axes, report: Report) -> None:
    """Stated against found."""
    bins, figure = report["reliability"], report["clean"]
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="as stated")
    stated, found = ([one[key] for one in bins] for key in ("mean_probability", "fake_share"))
    axes.plot(stated, found, marker="o", color=COLOURS["held_out"], label=f"found, ECE {figure['ece']['value']:.3f}")
    for one in bins:
        place = (one["mean_probability"], one["fake_share"])
        axes.annotate(str(one["count"]), place, (4, -10), textcoords="offset points", fontsize=7)
    axes.set(xlim=(0, 1), ylim=(-0.03, 1.03), xlabel="stated probability of fake", ylabel="share of fakes")
    axes.set_title(f"Reliability, {figure['n']} clips of unseen people; numbers: clips in a bin")
    axes.legend()


def selective(axes: Axes, report: Report) -> None:
    """Errors over the share that is kept."""
    found = report["selective"]
    curve = np.array(found["curve"]).reshape(-1, 2)
    axes.step(curve[:, 0], curve[:, 1], where="post", color=COLOURS["held_out"], label=f"area {found['area']:.4f}")
    axes.set(xlim=(0, 1), xlabel="coverage: share that is kept, the surest first", ylabel="risk: share judged wrongly")
    axes.set_ylim(bottom=0)
    axes.set_title("Coverage and risk")
    axes.legend()


def robustness(axes: Axes, report: Report) -> None:
    """AUC over the level of each perturbation."""
    clean, cells = report["robustness"]["clean"]["auc"]["value"], report["robustness"]["cells"]
    names = list(dict.fromkeys(name.split(":")[0] for name in cells))
    for name in names:
        own = {int(cell.split(":")[1]): value for cell, value in cells.items() if cell.split(":")[0] == name}
        aucs = [clean, *(own[level]["auc"]["value"] for level in sorted(own))]
        axes.plot([CLEAN_LEVEL, *sorted(own)], aucs, marker="o", markersize=4, label=name)
    axes.set(xlabel="level (0: clean)", ylabel="AUC")
    axes.set_title(f"Robustness, {report['robustness']['clean']['n']} clips in each cell")
    axes.legend(fontsize=8, ncols=2)


def families(axes: Axes, report: Report) -> None:
    """AUC of each family with its interval, the worst first."""
    table = report["families"]["table"]
    names = sorted(table, key=lambda name: -table[name]["auc"]["value"])
    bars(axes, [(name.replace("_", " "), table[name]["auc"], COLOURS[table[name]["kind"]]) for name in names])
    for kind, colour in COLOURS.items():
        if any(one["kind"] == kind for one in table.values()):
            axes.bar([0], [0], color=colour, label=kind.replace("_", " "))
    axes.set_title("AUC by family, people that were never trained on")
    axes.legend(loc="lower left", fontsize=8)


def systems(axes: Axes, report: Report) -> None:
    """AUC of each system on all videos and on matched pairs."""
    places = [place for place in ("overall", "matched pairs") if place in report["auc"]]
    shades = {"overall": "#7a7a7a", "matched pairs": COLOURS["held_out"]}
    rows = [
        (f"{system}, {place}", report["auc"][place][system], shades[place])
        for system in reversed(report["auc"]["overall"])
        for place in reversed(places)
    ]
    bars(axes, rows)
    axes.set_title(f"AUC on {report['auc']['overall']['Aura']['n']} videos from the wild")


def bars(axes: Axes, rows: Sequence[tuple[str, Report, str]]) -> None:
    """Horizontal bars with intervals: what, its figure, its colour; from below."""
    values = np.array([figure["value"] for _, figure, _ in rows])
    lows, highs = (
        np.array([figure[end] if figure[end] is not None else figure["value"] for _, figure, _ in rows])
        for end in ("low", "high")
    )
    reach = np.maximum(np.stack([values - lows, highs - values]), 0)
    places = np.arange(len(rows))
    axes.barh(places, values, xerr=reach, color=[colour for _, _, colour in rows], height=0.7, capsize=3)
    axes.set_yticks(places, [name for name, _, _ in rows])
    axes.axvline(0.5, color="grey", linestyle=":")
    axes.set(xlim=(min(0.4, float(lows.min())), 1.0), xlabel="AUC with its 95 % interval")


PAIRS: Mapping[str, Callable[[Axes, Report], None]] = {
    "reliability": reliability,
    "coverage_risk": selective,
    "robustness": robustness,
    "families": families,
}
WILD: Mapping[str, Callable[[Axes, Report], None]] = {"wild": systems}


if __name__ == "__main__":
    sys.exit(main())
