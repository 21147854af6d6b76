"""How well scores tell fake (1) from real (0); what a set of labels leaves undefined is None, with the reason."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, brier_score_loss, confusion_matrix, roc_auc_score, roc_curve

from aura_model.atomic import replacing
from aura_model.plain import finite, to_plain

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

EMPTY = "no samples"
NO_REAL = "no real samples"
NO_FAKE = "no fake samples"
NONE_CALLED = "nothing was called fake"
NO_FAKE_AT_ALL = "no fake samples, and nothing was called fake"


def compute_auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float | None:
    """The area under the ROC curve; ties count half. None unless both classes are there.

    Raises:
        ValueError: labels other than 0 and 1, scores that are not finite, or different lengths; so in all functions.
    """
    truth, values = _checked(labels, scores)
    return None if _one_class(truth) else float(roc_auc_score(truth, values))


def compute_ap(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float | None:
    """Average precision, the step-wise area under the precision-recall curve. None unless both classes are there."""
    truth, values = _checked(labels, scores)
    return None if _one_class(truth) else float(average_precision_score(truth, values))


def compute_fpr_at_tpr(labels: npt.ArrayLike, scores: npt.ArrayLike, tpr: float = 0.95) -> float | None:
    """The least share of real samples called fake at a threshold that finds `tpr` of the fakes or more.

    None unless both classes are there.
    """
    truth, values = _checked(labels, scores)
    if _one_class(truth):
        return None
    false_rate, true_rate, _ = roc_curve(truth, values, drop_intermediate=False)
    return float(false_rate[true_rate >= tpr].min())


def compute_eer(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float | None:
    """The equal error rate: where the ROC curve, drawn in straight lines, misses as many fakes as it accuses reals.

    None unless both classes are there.
    """
    truth, values = _checked(labels, scores)
    if _one_class(truth):
        return None
    false_rate, true_rate, _ = roc_curve(truth, values, drop_intermediate=False)
    excess = false_rate - (1 - true_rate)  # from -1 up to 1
    after = int(np.argmax(excess >= 0))
    before = after - 1
    share = -excess[before] / (excess[after] - excess[before])
    return float(false_rate[before] + share * (false_rate[after] - false_rate[before]))


def compute_metrics(labels: npt.ArrayLike, probabilities: npt.ArrayLike, threshold: float = 0.5) -> dict[str, Any]:
    """Every figure of one evaluation, as plain types.

    Args:
        labels: [N] 0 real, 1 fake.
        probabilities: [N] of fake, 0..1.
        threshold: a probability at or above it is called fake.

    Returns:
        n, positives, threshold, auc, ap, fpr_at_95tpr, eer, brier, accuracy, precision, recall, f1, confusion (tn,
        fp, fn, tp), and `undefined`: a reason for each figure that is None.
    """
    truth, values = _checked(labels, probabilities)
    if np.any((values < 0) | (values > 1)):
        raise ValueError("a probability lies outside 0..1")
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


def _checked(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Labels, Scores]:
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise ValueError(f"labels and scores must be two lists of one length, got {truth.shape} and {values.shape}")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("labels must be 0 (real) or 1 (fake)")
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite")
    return truth.astype(np.int64), values


def _one_class(truth: Labels) -> bool:
    return len(np.unique(truth)) < 2


def _ranking(truth: Labels, values: Scores) -> dict[str, float | None]:
    return {
        "auc": compute_auc(truth, values),
        "ap": compute_ap(truth, values),
        "fpr_at_95tpr": compute_fpr_at_tpr(truth, values, tpr=0.95),
        "eer": compute_eer(truth, values),
        "brier": float(brier_score_loss(truth, values, pos_label=1)) if len(truth) else None,
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
    ranking = dict.fromkeys(("auc", "ap", "fpr_at_95tpr", "eer", "brier", "accuracy"), missing)
    if not len(truth):
        return ranking | dict.fromkeys(("precision", "recall", "f1"), EMPTY)
    return ranking | {"precision": NONE_CALLED, "recall": NO_FAKE, "f1": NO_FAKE_AT_ALL}
