"""Figures of a set of scores with their intervals, as plain types; and how well cheap statistics do."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aura_model.calibration import Band
from aura_model.intervals import bootstrap_intervals
from aura_model.metrics import compute_auc, compute_ece, reliability
from aura_model.selective import coverage_risk

Floats = npt.NDArray[np.float64]
FOLDS = 5
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
POINTS = 100
"""Of a coverage-risk curve that are kept."""


def probabilities_of(log_odds: npt.ArrayLike) -> Floats:
    """The logistic function."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(log_odds, np.float64))))


def figure(labels: Sequence[int], log_odds: Sequence[float], people: Sequence[str]) -> dict[str, Any]:
    """AUC and ECE with their intervals, clustered by person; None where one cannot be told."""
    values = probabilities_of(log_odds)
    intervals = bootstrap_intervals(labels, values, people)
    return {
        "n": len(labels),
        "reals": len(labels) - sum(labels),
        "fakes": sum(labels),
        "people": len(set(people)),
        **{
            name: {"value": value, "low": intervals[name].low, "high": intervals[name].high}
            for name, value in (("auc", compute_auc(labels, values)), ("ece", compute_ece(labels, values)))
        },
    }


def reliability_bins(labels: Sequence[int], log_odds: Sequence[float]) -> list[dict[str, Any]]:
    """See `aura_model.metrics.reliability`."""
    return [asdict(one) for one in reliability(labels, probabilities_of(log_odds))]


def selective(labels: Sequence[int], log_odds: Sequence[float]) -> dict[str, Any]:
    """The coverage-risk curve, at most 100 points of it, its area, and the risk at some coverages."""
    curve = coverage_risk(labels, probabilities_of(log_odds))
    if curve is None:
        return {"area": None, "risk_at": {}, "curve": []}
    kept = np.unique(np.linspace(0, len(curve.risk) - 1, POINTS).round().astype(int))
    return {
        "area": curve.area,
        "risk_at": {str(share): curve.risk_at(share) for share in COVERAGES},
        "curve": np.stack([curve.coverage[kept], curve.risk[kept]], 1).round(5).tolist(),
    }


def decisions(labels: Sequence[int], log_odds: Sequence[float], bands: Mapping[str, Band]) -> dict[str, Any]:
    """For each band: the share of reals and of fakes that are called fake, real, or neither."""
    truth, values = np.asarray(labels), probabilities_of(log_odds)
    return {
        name: {side: _shares(values[truth == label], band) for label, side in enumerate(("reals", "fakes"))}
        for name, band in bands.items()
    }


def grouped_log_odds(statistics: npt.ArrayLike, labels: Sequence[int], people: Sequence[str]) -> Floats:
    """What a logistic regression says of each sample that was fitted on other people's samples."""
    table, truth, groups = np.asarray(statistics, np.float64), np.asarray(labels), np.asarray(people)
    said = np.zeros(len(truth))
    for fitted, asked in GroupKFold(min(FOLDS, len(set(people)))).split(table, truth, groups):
        model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
        said[asked] = model.fit(table[fitted], truth[fitted]).decision_function(table[asked])
    return said


def _shares(values: Floats, band: Band) -> dict[str, float | None]:
    if not len(values):
        return dict.fromkeys(("fake", "real", "uncertain"))
    fake, real = float(np.mean(values > band[1])), float(np.mean(values < band[0]))
    return {"fake": fake, "real": real, "uncertain": 1 - fake - real}
