"""AUCs of several systems on the same videos, and their differences, with intervals from one set of resamples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from aura_model.intervals import LEVEL, MOST_LEFT_OUT, weighted_figures
from aura_model.metrics import compute_auc

Floats = npt.NDArray[np.float64]
RESAMPLES = 2000
LEAST_GROUPS = 5
"""With fewer there is no interval; nor where more than `MOST_LEFT_OUT` of the resamples lack a class."""


def draw_weights(groups: Sequence[str], seed: int = 0, resamples: int = RESAMPLES) -> Floats:
    """How often each sample counts in each resample of whole groups, [resamples, samples]."""
    names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    members = np.array([names[name] for name in groups])
    drawn = np.random.default_rng(seed).integers(len(names), size=(resamples, len(names)))
    counts = np.stack([np.bincount(one, minlength=len(names)) for one in drawn])
    return np.asarray(counts[:, members], np.float64)


def clustered_auc(labels: Sequence[int], scores: Floats, groups: Sequence[str]) -> dict[str, Any]:
    """AUC of probabilities, with its interval by groups."""
    return {
        "n": len(labels),
        "fakes": sum(labels),
        "groups": len(set(groups)),
        "value": compute_auc(labels, scores),
        **_interval(_resampled(labels, scores, draw_weights(groups)), groups),
    }


def lead(labels: Sequence[int], ours: Floats, theirs: Floats, groups: Sequence[str]) -> dict[str, Any]:
    """By how much our AUC is above theirs, with the interval of the difference on the same resamples."""
    weights = draw_weights(groups)
    gaps = _resampled(labels, ours, weights) - _resampled(labels, theirs, weights)
    both = [compute_auc(labels, one) for one in (ours, theirs)]
    value = None if both[0] is None or both[1] is None else both[0] - both[1]
    return {"value": value, **_interval(gaps, groups)}


def pairs_won(fakes: Floats, reals: Floats) -> float:
    """The share of matched pairs whose fake looks more fake; ties count half."""
    return float(np.mean((fakes > reals) + 0.5 * (fakes == reals)))


def auc_table(
    systems: Mapping[str, Floats], labels: Sequence[int], groups: Sequence[str], chosen: npt.NDArray[np.intp]
) -> dict[str, Any]:
    """`clustered_auc` of each system on the chosen samples; a sample chosen twice counts twice."""
    kept, among = [labels[place] for place in chosen], [groups[place] for place in chosen]
    return {name: clustered_auc(kept, scores[chosen], among) for name, scores in systems.items()}


def _resampled(labels: Sequence[int], scores: Floats, weights: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return weighted_figures(np.asarray(labels, np.int64), scores, weights)["auc"]


def _interval(values: Floats, groups: Sequence[str]) -> dict[str, float | None]:
    defined = values[~np.isnan(values)]
    if len(set(groups)) < LEAST_GROUPS or len(defined) < (1 - MOST_LEFT_OUT) * len(values):
        return {"low": None, "high": None}
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return {"low": low, "high": high}
