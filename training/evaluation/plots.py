"""The plots of an evaluation as inline SVG that takes its ink from the page, so that it suits light, dark and print."""

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from aura_model.metrics import BINS, Labels, Scores, compute_tpr_at_fpr, reliability
from aura_model.selective import coverage_risk

REAL, FAKE = "#2f7ed8", "#d9622b"
INK, MUTED, LINE = "#010203", "#040506", "#070809"
"""Stand for colours of the page, see `PAGE_COLOURS`."""
PAGE_COLOURS = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)"}
WIDE, HALF = (10.0, 4.3), (5.4, 4.3)
"""Inches."""
HISTOGRAM_BINS = 20
MARKED = (0.01, 0.05)
"""False positive rates that are marked on the ROC curve."""
STYLE: Mapping[Any, Any] = MappingProxyType(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "aura",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Verdana"],
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": LINE,
        "xtick.color": INK,
        "ytick.color": INK,
        "legend.frameon": False,
        "legend.fontsize": 9,
    }
)


def roc_plot(labels: Labels, probabilities: Scores) -> str:
    """The ROC curve, linear and with a logarithmic false positive rate, there with marked points."""
    false_rate, true_rate, _ = roc_curve(labels, probabilities, drop_intermediate=False)
    reals = int((labels == 0).sum())

    def draw(figure: Figure) -> None:
        """The same curve twice."""
        whole, low = figure.subplots(1, 2)
        for axes in (whole, low):
            axes.plot(false_rate, true_rate, color=FAKE, linewidth=1.8)
            _label(axes, f"false positive rate (share of {_count(reals, 'real video')})", "")
            axes.set_ylim(0, 1.03)
        whole.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
        whole.set_xlim(0, 1)
        whole.set_ylabel(f"true positive rate (share of {_count(len(labels) - reals, 'fake video')})")
        low.set_xscale("log")
        low.set_xlim(10.0 ** min(-3, -np.ceil(np.log10(reals))), 1)
        low.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        _mark(low, labels, probabilities)

    return _svg(draw, WIDE, "roc", "ROC curve, linear and with a logarithmic false positive rate")


def precision_recall_plot(labels: Labels, probabilities: Scores) -> str:
    """Precision over recall, and the precision of calling everything fake."""
    precision, recall, _ = precision_recall_curve(labels, probabilities)
    base = float(labels.mean())

    def draw(figure: Figure) -> None:
        """The curve over the base rate."""
        axes = figure.subplots()
        axes.step(recall, precision, where="post", color=FAKE, linewidth=1.8)
        axes.axhline(base, color=MUTED, linewidth=1.2, linestyle="--", label=f"base rate {base:.3f}")
        axes.set(xlim=(0, 1), ylim=(0, 1.03))
        _label(
            axes, f"recall (share of {_count(int(labels.sum()), 'fake video')})", "precision (share of those called)"
        )
        axes.legend(loc="lower left")

    return _svg(draw, HALF, "pr", "Precision-recall curve")


def reliability_plot(labels: Labels, probabilities: Scores) -> str:
    """How often a stated probability comes true, over the number of videos it is stated for."""
    bins = reliability(labels, probabilities)

    def draw(figure: Figure) -> None:
        """Shares above, counts below."""
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.2])
        upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="as stated")
        means, shares = [one.mean_probability for one in bins], [one.fake_share for one in bins]
        upper.plot(means, shares, color=FAKE, linewidth=1.4, marker="o", markersize=5, label="found")
        upper.set(xlim=(0, 1), ylim=(-0.03, 1.03))
        upper.set_ylabel("share of fakes")
        upper.legend(loc="upper left")
        middles = [(one.low + one.high) / 2 for one in bins]
        bars = lower.bar(middles, [one.count for one in bins], width=0.9 / BINS, color=MUTED)
        lower.bar_label(bars, fontsize=7.5, padding=1, color=INK)
        lower.margins(y=0.3)
        _label(lower, "fake probability", "videos")
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))

    return _svg(draw, HALF, "reliability", f"Reliability in {BINS} bins, with the number of videos in each")


def coverage_risk_plot(labels: Labels, probabilities: Scores, threshold: float) -> str:
    """The share of errors among the surest samples, over the share that is kept."""
    curve = coverage_risk(labels, probabilities, threshold)

    def draw(figure: Figure) -> None:
        """The curve over the error of all."""
        axes = figure.subplots()
        if curve is not None:
            axes.step(curve.coverage, curve.risk, where="post", color=FAKE, linewidth=1.8, label="the surest")
            axes.axhline(curve.risk[-1], color=MUTED, linewidth=1.2, linestyle="--", label=f"all: {curve.risk[-1]:.3f}")
            axes.legend(loc="upper left")
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        _label(axes, f"coverage (share of {_count(len(labels), 'video')} that is kept)", "share judged wrongly")

    return _svg(draw, HALF, "coverage", "Share of errors among the surest videos over the share that is kept")


def histogram_plot(labels: Labels, probabilities: Scores, threshold: float) -> str:
    """Where the scores of each class lie."""
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)

    def draw(figure: Figure) -> None:
        """Both classes over each other."""
        axes = figure.subplots()
        for label, name, colour, line in ((0, "real", REAL, "-"), (1, "fake", FAKE, (0, (4, 1.5)))):
            counts, _ = np.histogram(probabilities[labels == label], edges)
            total = int(counts.sum())
            shares = counts / max(total, 1)
            axes.stairs(shares, edges, fill=True, facecolor=(*mpl.colors.to_rgb(colour), 0.25))
            axes.stairs(shares, edges, color=colour, linewidth=1.6, linestyle=line, label=f"{name}, n = {total}")
        axes.axvline(threshold, color=INK, linewidth=1.2, linestyle=":", label=f"threshold {threshold:g}")
        axes.set_xlim(0, 1)
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        _label(axes, f"fake probability ({HISTOGRAM_BINS} bins)", "share of the class's videos")
        figure.legend(loc="outside upper center", ncols=3, columnspacing=1.2, handlelength=1.8)

    return _svg(draw, HALF, "histogram", "Histogram of fake probabilities of real and of fake videos")


def _mark(axes: Axes, labels: Labels, probabilities: Scores) -> None:
    for rate, left in zip(MARKED, (True, False), strict=True):
        found = compute_tpr_at_fpr(labels, probabilities, rate) or 0.0
        axes.axvline(rate, color=MUTED, linewidth=1, linestyle=":")
        axes.plot([rate], [found], marker="o", markersize=6, color=FAKE)
        text, place = f"{found:.3f} at {100 * rate:g} %", (-8.0, 6.0) if left else (8.0, -14.0)
        side: Literal["left", "right"] = "right" if left else "left"
        axes.annotate(text, (rate, found), place, textcoords="offset points", fontsize=9, ha=side)


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _svg(draw: Callable[[Figure], None], size: tuple[float, float], name: str, title: str) -> str:
    """The drawing as an `svg` element whose ids begin with `name`; the same drawing gives the same text."""
    with _style():
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text[text.index("<svg") :])
    text = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', _opening(title), text, count=1)
    for stand_in, colour in PAGE_COLOURS.items():
        text = text.replace(stand_in, colour)
    return text


def _opening(title: str) -> str:
    link = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
    return rf'<svg viewBox="\1" {link} xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{title}">'


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's defaults with ours over them, whatever the user has set; as before afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield
