"""How sure a figure is: percentile bootstrap over clusters of samples (Efron, 1979; Field and Welsh, 2007)."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aura_model.metrics import BINS, FIGURES, Labels, Scores, bin_of, check_probabilities

LEVEL = 0.95
RESAMPLES = 1000
LEAST_CLUSTERS = 10
"""With fewer the resamples are too much alike to say anything."""
MOST_LEFT_OUT = 0.05
"""The largest share of resamples in which a figure may be undefined; above, the rest would be a biased choice."""
CELLS = 2**19
"""Weights handled at once, resamples times samples: a few arrays of 4 MB."""


@dataclass(frozen=True)
class Interval:
    """From where to where 95 % of the resamples lie; None, with the reason, where that cannot be told."""

    low: float | None
    high: float | None
    left_out: int = 0
    """Resamples in which the figure is undefined."""
    reason: str = ""


def bootstrap_intervals(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    clusters: Sequence[Hashable],
    *,
    threshold: float = 0.5,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Interval]:
    """The interval of each of `FIGURES`.

    Whole clusters are drawn with replacement, as many as there are, because samples of one video or one person are
    alike. The same arguments give the same intervals.

    Args:
        labels: [N] 0 real, 1 fake.
        probabilities: [N] of fake, 0..1.
        clusters: [N] what a sample belongs to, such as its video.
        threshold: a probability at or above it is called fake.
        seed: of the draws.
        resamples: how many are drawn.

    Raises:
        ValueError: as in `compute_metrics`, or not one cluster a sample.
    """
    truth, values = check_probabilities(labels, probabilities)
    if len(clusters) != len(truth):
        raise ValueError(f"{len(truth)} samples need as many clusters, got {len(clusters)}")
    numbers: dict[Hashable, int] = {}
    members = np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], np.int64)
    if len(numbers) < LEAST_CLUSTERS:
        reason = f"only {len(numbers)} independent samples, and an interval needs {LEAST_CLUSTERS}"
        return dict.fromkeys(FIGURES, Interval(None, None, reason=reason))
    rng, size = np.random.default_rng(seed), max(1, CELLS // len(truth))
    parts = [
        weighted_figures(truth, values, _draw(rng, min(size, resamples - done), len(numbers))[:, members], threshold)
        for done in range(0, resamples, size)
    ]
    return {name: _interval(np.concatenate([part[name] for part in parts])) for name in FIGURES}


def weighted_figures(
    labels: Labels, probabilities: Scores, weights: Scores, threshold: float = 0.5
) -> dict[str, Scores]:
    """Each of `FIGURES` for R weightings of the same samples; not a number where it is undefined.

    Args:
        labels: [N].
        probabilities: [N].
        weights: [R, N] how often each sample counts.
        threshold: a probability at or above it is called fake.

    Returns:
        [R] for each figure.
    """
    order = np.argsort(-probabilities, kind="stable")
    truth, values, counts = labels[order], probabilities[order], weights[:, order]
    ends = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)  # of each run of equal probabilities
    fakes = _from_zero(np.cumsum(counts * truth, axis=1)[:, ends])
    reals = _from_zero(np.cumsum(counts * (1 - truth), axis=1)[:, ends])
    called = values >= threshold
    with np.errstate(divide="ignore", invalid="ignore"):
        return _ranking(fakes, reals) | _calibration(truth, values, counts) | _decisions(truth, called, counts)


def _draw(rng: np.random.Generator, resamples: int, clusters: int) -> Scores:
    """How often each cluster is drawn in each resample, [resamples, clusters]."""
    drawn = rng.integers(clusters, size=(resamples, clusters)) + clusters * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * clusters).reshape(resamples, clusters).astype(np.float64)


def _interval(values: Scores) -> Interval:
    defined = values[~np.isnan(values)]
    left_out = len(values) - len(defined)
    if left_out > MOST_LEFT_OUT * len(values):
        return Interval(None, None, left_out, f"undefined in {left_out} of {len(values)} resamples")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Interval(low, high, left_out)


def _from_zero(sums: Scores) -> Scores:
    """With the threshold above all samples in front."""
    return np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)


def _ranking(fakes: Scores, reals: Scores) -> dict[str, Scores]:
    """From the fakes found and the reals accused, [R, thresholds + 1], from the highest threshold down."""
    found, accused = fakes / fakes[:, -1:], reals / reals[:, -1:]
    called = fakes + reals
    precision = np.divide(fakes, called, out=np.zeros_like(fakes), where=called > 0)
    figures = {
        "auc": (np.diff(accused) * (found[:, 1:] + found[:, :-1])).sum(axis=1) / 2,
        "ap": (np.diff(found) * precision[:, 1:]).sum(axis=1),
        "fpr_at_95tpr": np.where(found >= 0.95, accused, np.inf).min(axis=1),
        "tpr_at_1fpr": np.where(accused <= 0.01, found, -np.inf).max(axis=1),
        "eer": _equal_error(found, accused),
    }
    both = (fakes[:, -1] > 0) & (reals[:, -1] > 0)
    return {name: np.where(both, values, np.nan) for name, values in figures.items()}


def _equal_error(found: Scores, accused: Scores) -> Scores:
    excess = accused - (1 - found)  # from -1 up to 1
    after = np.argmax(excess >= 0, axis=1)[:, None]
    before = np.maximum(after - 1, 0)
    (low, high), (left, right) = (
        [np.take_along_axis(values, place, axis=1)[:, 0] for place in (before, after)] for values in (excess, accused)
    )
    return np.asarray(left - low / (high - low) * (right - left), np.float64)


def _calibration(truth: Labels, values: Scores, counts: Scores) -> dict[str, Scores]:
    gaps = np.zeros((len(values), BINS))
    gaps[np.arange(len(values)), bin_of(values)] = values - truth
    total = counts.sum(axis=1)
    return {"brier": counts @ (values - truth) ** 2 / total, "ece": np.abs(counts @ gaps).sum(axis=1) / total}


def _decisions(truth: Labels, called: npt.NDArray[np.bool_], counts: Scores) -> dict[str, Scores]:
    fake = truth == 1
    cells = (~called & ~fake, called & ~fake, ~called & fake, called & fake)
    tn, fp, fn, tp = (counts @ members.astype(np.float64) for members in cells)
    return {
        "accuracy": (tp + tn) / (tp + tn + fp + fn),
        "precision": tp / (tp + fp),
        "recall": tp / (tp + fn),
        "f1": 2 * tp / (2 * tp + fp + fn),
    }
