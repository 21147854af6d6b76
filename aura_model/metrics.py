"""How well scores tell fake (1) from real (0); what a set of labels leaves undefined is None, with the reason."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, brier_score_loss, confusion_matrix, roc_auc_score, roc_curve

from aura_model.atomic import replacing
from aura_model.plain import finite, to_plain

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

BINS = 15
"""Of equal width over 0..1, for calibration."""

FIGURES = (
    "auc",
    "ap",
    "fpr_at_95tpr",
    "tpr_at_1fpr",
    "eer",
    "brier",
    "ece",
    "accuracy",
    "precision",
    "recall",
    "f1",
)
"""The figures of `compute_metrics` that are shares or areas; a report tells each with its interval."""

EMPTY = "no samples"
NO_REAL = "no real samples"
NO_FAKE = "no fake samples"
NONE_CALLED = "nothing was called fake"
NO_FAKE_AT_ALL = "no fake samples, and nothing was called fake"


@dataclass(frozen=True)
class ReliabilityBin:
    """The samples whose probability lies in one stretch of 0..1."""

    low: float
    high: float
    count: int
    mean_probability: float
    fake_share: float


def compute_auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float | None:
    """The area under the ROC curve; ties count half. None unless both classes are there.

    Raises:
        ValueError: labels other than 0 and 1, scores that are not finite, or different lengths; so in all functions.
    """
    truth, values = check_scores(labels, scores)
    return None if _one_class(truth) else float(roc_auc_score(truth, values))


def compute_ap(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float | None:
    """Average precision, the step-wise area under the precision-recall curve. None unless both classes are there."""
    truth, values = check_scores(labels, scores)
    return None if _one_class(truth) else float(average_precision_score(truth, values))


def compute_fpr_at_tpr(labels: npt.ArrayLike, scores: npt.ArrayLike, tpr: float = 0.95) -> float | None:
    """The least share of real samples called fake at a threshold that finds `tpr` of the fakes or more.

    None unless both classes are there.
    """
    truth, values = check_scores(labels, scores)
    if _one_class(truth):
        return None
    false_rate, true_rate, _ = roc_curve(truth, values, drop_intermediate=False)
    return float(false_rate[true_rate >= tpr].min())


def compute_tpr_at_fpr(labels: npt.ArrayLike, scores: npt.ArrayLike, fpr: float = 0.01) -> float | None:
    """The largest share of fakes found at a threshold that calls at most `fpr` of the real samples fake.

    With fewer than `1 / fpr` real samples none of them may be called fake. None unless both classes are there.
    """
    truth, values = check_scores(labels, scores)
    if _one_class(truth):
        return None
    false_rate, true_rate, _ = roc_curve(truth, values, drop_intermediate=False)
    return float(true_rate[false_rate <= fpr].max())


def compute_eer(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float | None:
    """The equal error rate: where the ROC curve, drawn in straight lines, misses as many fakes as it accuses reals.

    None unless both classes are there.
    """
    truth, values = check_scores(labels, scores)
    if _one_class(truth):
        return None
    false_rate, true_rate, _ = roc_curve(truth, values, drop_intermediate=False)
    excess = false_rate - (1 - true_rate)  # from -1 up to 1
    after = int(np.argmax(excess >= 0))
    before = after - 1
    share = -excess[before] / (excess[after] - excess[before])
    return float(false_rate[before] + share * (false_rate[after] - false_rate[before]))


def reliability(labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = BINS) -> list[ReliabilityBin]:
    """Stated against found: each bin of equal width that holds samples, from low to high."""
    truth, values = check_probabilities(labels, probabilities)
    places = bin_of(values, bins)
    return [_reliability_bin(truth, values, places == place, place, bins) for place in np.unique(places).tolist()]


def compute_ece(labels: npt.ArrayLike, probabilities: npt.ArrayLike, bins: int = BINS) -> float | None:
    """Expected calibration error: how far the stated probability of fake is from the share of fakes, mean over samples.

    Over bins of equal width (Naeini et al., 2015; Guo et al., 2017). None without samples.
    """
    found = reliability(labels, probabilities, bins)
    total = sum(one.count for one in found)
    return sum(one.count * abs(one.mean_probability - one.fake_share) for one in found) / total if total else None


def bin_of(probabilities: Scores, bins: int = BINS) -> npt.NDArray[np.int64]:
    """The bin of each probability, from 0; a bin holds its lower bound, the last one its upper bound too."""
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)


def compute_metrics(labels: npt.ArrayLike, probabilities: npt.ArrayLike, threshold: float = 0.5) -> dict[str, Any]:
    """Every figure of one evaluation, as plain types.

    Args:
        labels: [N] 0 real, 1 fake.
        probabilities: [N] of fake, 0..1.
        threshold: a probability at or above it is called fake.

    Returns:
        n, positives, threshold, auc, ap, fpr_at_95tpr, tpr_at_1fpr, eer, brier, ece, accuracy, precision, recall, f1,
        confusion (tn, fp, fn, tp), and `undefined`: a reason for each figure that is None.
    """
    truth, values = check_probabilities(labels, probabilities)
    figures = _ranking(truth, values) | _decisions(truth, values >= threshold)
    reasons = _reasons(truth)
    return {
        "n": len(truth),
        "positives": int(truth.sum()),
        "threshold": float(threshold),
        **figures,
        "undefined": {name: reasons[name] for name, value in figures.items() if value is None},
    }


def save_metrics_json(metrics: Mapping[str, Any], path: Path) -> None:
    """Write metrics as JSON, whole or not at all; a number that is not finite becomes null.

    Raises:
        TypeError: something in there is not plain data; the text names its key.
    """
    text = json.dumps(finite(to_plain(metrics)), indent=2, allow_nan=False)
    with replacing(path, ".metrics-") as file:
        file.write(f"{text}\n".encode())


def check_probabilities(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> tuple[Labels, Scores]:
    """Both as arrays; raises as `check_scores` does, and where a probability lies outside 0..1."""
    truth, values = check_scores(labels, probabilities)
    if np.any((values < 0) | (values > 1)):
        raise ValueError("a probability lies outside 0..1")
    return truth, values


def check_scores(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Labels, Scores]:
    """Both as arrays; raises `ValueError`, see `compute_auc`."""
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise ValueError(f"labels and scores must be two lists of one length, got {truth.shape} and {values.shape}")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("labels must be 0 (real) or 1 (fake)")
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite")
    return truth.astype(np.int64), values


def _reliability_bin(
    truth: Labels, values: Scores, inside: npt.NDArray[np.bool_], place: int, bins: int
) -> ReliabilityBin:
    low, high = place / bins, (place + 1) / bins
    return ReliabilityBin(low, high, int(inside.sum()), float(values[inside].mean()), float(truth[inside].mean()))


def _one_class(truth: Labels) -> bool:
    return len(np.unique(truth)) < 2


def _ranking(truth: Labels, values: Scores) -> dict[str, float | None]:
    return {
        "auc": compute_auc(truth, values),
        "ap": compute_ap(truth, values),
        "fpr_at_95tpr": compute_fpr_at_tpr(truth, values, tpr=0.95),
        "tpr_at_1fpr": compute_tpr_at_fpr(truth, values, fpr=0.01),
        "eer": compute_eer(truth, values),
        "brier": float(brier_score_loss(truth, values, pos_label=1)) if len(truth) else None,
        "ece": compute_ece(truth, values),
    }


def _decisions(truth: Labels, called: npt.NDArray[np.bool_]) -> dict[str, Any]:
    tn, fp, fn, tp = confusion_matrix(truth, called, labels=[0, 1]).ravel().tolist() if len(truth) else (0, 0, 0, 0)
    return {
        "accuracy": _ratio(tp + tn, tp + tn + fp + fn),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "confusion": {"tn": tn, "fp": fp, "fn": fn, "tp": tp},
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _reasons(truth: Labels) -> dict[str, str]:
    """Why a figure would be undefined for these labels."""
    missing = EMPTY if not len(truth) else NO_REAL if truth.all() else NO_FAKE
    reasons = dict.fromkeys(FIGURES, missing)
    if not len(truth):
        return reasons
    return reasons | {"precision": NONE_CALLED, "recall": NO_FAKE, "f1": NO_FAKE_AT_ALL}
