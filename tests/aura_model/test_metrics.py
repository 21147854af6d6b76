import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn

from aura_model.metrics import (
    compute_ap,
    compute_auc,
    compute_ece,
    compute_eer,
    compute_fpr_at_tpr,
    compute_metrics,
    compute_tpr_at_fpr,
    reliability,
    save_metrics_json,
)

RANKING = (compute_auc, compute_ap, compute_fpr_at_tpr, compute_tpr_at_fpr, compute_eer)


@pytest.mark.parametrize(
    ("labels", "scores", "auc", "ap", "fpr95", "eer"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 1.0, 1.0, 0.0, 0.0),
        ([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9], 0.0, 5 / 12, 1.0, 1.0),
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.75, 5 / 6, 0.5, 0.5),
        ([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5], 0.5, 0.5, 1.0, 0.5),
        ([0, 1, 1], [0.3, 0.3, 0.6], 0.75, 5 / 6, 1.0, 1 / 3),
        ([0, 0, 0, 1], [-3.0, 2.0, 5.0, 4.0], 2 / 3, 0.5, 1 / 3, 1 / 3),
    ],
)
def test_values_by_hand(
    labels: list[int], scores: list[float], auc: float, ap: float, fpr95: float, eer: float
) -> None:
    assert compute_auc(labels, scores) == pytest.approx(auc)
    assert compute_ap(labels, scores) == pytest.approx(ap)
    assert compute_fpr_at_tpr(labels, scores) == pytest.approx(fpr95)
    assert compute_eer(labels, scores) == pytest.approx(eer)


@pytest.mark.parametrize("seed", range(8))
def test_values_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 60)
    scores = np.clip(rng.normal(0.35 + 0.3 * labels, 0.2), 0, 1).round(2)  # with ties
    called = scores >= 0.4
    found = compute_metrics(labels, scores, threshold=0.4)
    expected = {
        "auc": sklearn.roc_auc_score(labels, scores),
        "ap": sklearn.average_precision_score(labels, scores),
        "brier": sklearn.brier_score_loss(labels, scores),
        "accuracy": sklearn.accuracy_score(labels, called),
        "precision": sklearn.precision_score(labels, called),
        "recall": sklearn.recall_score(labels, called),
        "f1": sklearn.f1_score(labels, called),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    counts = found["confusion"]
    assert [[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]] == sklearn.confusion_matrix(
        labels, called
    ).tolist()
    assert (found["n"], found["positives"], found["threshold"]) == (60, labels.sum(), 0.4)
    assert found["undefined"] == {}


@pytest.mark.parametrize("tpr", [0.5, 0.8, 0.95, 1.0])
def test_the_false_positive_rate_is_the_least_at_any_threshold_that_finds_enough(tpr: float) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 80)
    scores = rng.normal(labels, 1.0)
    rates = [
        (scores[labels == 0] >= threshold).mean()
        for threshold in scores
        if (scores[labels == 1] >= threshold).mean() >= tpr
    ]
    assert compute_fpr_at_tpr(labels, scores, tpr) == pytest.approx(min(rates))


def test_no_threshold_is_skipped_on_a_straight_stretch_of_the_curve() -> None:
    labels = [1, 1, 1, 0, 1, 0, 0, 0]
    scores = [0.9, 0.9, 0.8, 0.8, 0.7, 0.7, 0.1, 0.1]  # ROC: (0, 1/2), (1/4, 3/4), (1/2, 1)
    assert compute_fpr_at_tpr(labels, scores, tpr=0.75) == 0.25


def test_nineteen_of_twenty_are_ninety_five_percent() -> None:
    labels = [1] * 20 + [0] * 10
    scores = [0.9] * 19 + [0.1] + [0.5] * 10
    assert compute_fpr_at_tpr(labels, scores) == 0.0


@pytest.mark.parametrize(
    ("labels", "scores", "fpr", "found"),
    [
        ([0, 1, 1], [0.5, 0.9, 0.1], 0.01, 0.5),
        ([0, 1, 1], [0.9, 0.5, 0.1], 0.01, 0.0),
        ([0, 1, 1], [0.5, 0.5, 0.9], 0.01, 0.5),  # a tie goes with the real sample
        ([0] * 100 + [1, 1], [0.8, *[0.1] * 99, 0.9, 0.5], 0.01, 1.0),  # one of a hundred is one percent
        ([0] * 99 + [1, 1], [0.8, *[0.1] * 98, 0.9, 0.5], 0.01, 0.5),
        ([0, 0, 1, 1], [0.8, 0.1, 0.9, 0.5], 0.5, 1.0),
    ],
)
def test_the_share_of_fakes_found_at_a_false_positive_rate(
    labels: list[int], scores: list[float], fpr: float, found: float
) -> None:
    assert compute_tpr_at_fpr(labels, scores, fpr) == found


@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.3, 1.0])
def test_it_is_the_largest_at_any_threshold_that_accuses_few_enough(fpr: float) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 90)
    scores = rng.normal(labels, 1.0).round(1)
    rates = [
        (scores[labels == 1] >= threshold).mean()
        for threshold in [*scores, math.inf]
        if (scores[labels == 0] >= threshold).mean() <= fpr
    ]
    assert compute_tpr_at_fpr(labels, scores, fpr) == pytest.approx(max(rates))


@pytest.mark.parametrize(
    ("labels", "probabilities", "ece"),
    [
        ([0, 1], [0.0, 1.0], 0.0),
        ([1, 0], [0.0, 1.0], 1.0),
        ([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5], 0.0),
        ([1, 1, 0, 0], [0.8, 0.8, 0.8, 0.1], 0.75 * (0.8 - 2 / 3) + 0.25 * 0.1),
        ([0], [0.3], 0.3),
    ],
)
def test_calibration_error_by_hand(labels: list[int], probabilities: list[float], ece: float) -> None:
    assert compute_ece(labels, probabilities) == pytest.approx(ece)
    assert compute_metrics(labels, probabilities)["ece"] == pytest.approx(ece)


def test_scores_that_mean_what_they_say_are_calibrated_and_overconfident_ones_are_not() -> None:
    rng = np.random.default_rng(4)
    probabilities = rng.random(20000)
    labels = (rng.random(20000) < probabilities).astype(int)
    sure = np.where(probabilities > 0.5, 0.99, 0.01)
    good, bad = compute_ece(labels, probabilities), compute_ece(labels, sure)
    assert good is not None
    assert bad is not None
    assert good < 0.02 < 0.2 < bad


def test_reliability_lists_each_bin_that_holds_samples() -> None:
    low, middle, high = reliability([0, 1, 0, 1, 1], [0.0, 0.05, 0.2, 0.95, 1.0])
    assert (low.low, low.high, low.count, low.mean_probability, low.fake_share) == (0, 1 / 15, 2, 0.025, 0.5)
    assert (middle.low, middle.count, middle.fake_share) == (3 / 15, 1, 0.0)  # a bound belongs to the bin above it
    assert (high.high, high.count) == (1.0, 2)
    assert reliability([], []) == []


def test_the_number_of_bins_matters() -> None:
    assert compute_ece([0, 1], [0.4, 0.6], bins=1) == pytest.approx(0)
    assert compute_ece([0, 1], [0.4, 0.6], bins=2) == pytest.approx(0.4)
    assert compute_ece([], []) is None


@pytest.mark.parametrize("measure", RANKING)
def test_ranking_sees_the_order_only(measure: Any) -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 50)
    log_odds = rng.normal(labels, 1.5)
    assert measure(labels, log_odds) == pytest.approx(measure(labels, 1 / (1 + np.exp(-log_odds))))


@pytest.mark.parametrize("at", [0.5, 0.49])
def test_a_probability_at_the_threshold_is_fake(at: float) -> None:
    found = compute_metrics([1, 0], [at, 0.1])
    assert found["recall"] == (1.0 if at >= 0.5 else 0.0)


@pytest.mark.parametrize(
    ("labels", "probabilities", "undefined"),
    [
        (
            [],
            [],
            dict.fromkeys(
                (
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
                ),
                "no samples",
            ),
        ),
        (
            [0, 0],
            [0.2, 0.9],
            dict.fromkeys(("auc", "ap", "fpr_at_95tpr", "tpr_at_1fpr", "eer", "recall"), "no fake samples"),
        ),
        (
            [0],
            [0.2],
            dict.fromkeys(("auc", "ap", "fpr_at_95tpr", "tpr_at_1fpr", "eer", "recall"), "no fake samples")
            | {"precision": "nothing was called fake", "f1": "no fake samples, and nothing was called fake"},
        ),
        (
            [1, 1],
            [0.2, 0.9],
            dict.fromkeys(("auc", "ap", "fpr_at_95tpr", "tpr_at_1fpr", "eer"), "no real samples"),
        ),
        ([0, 1], [0.2, 0.3], {"precision": "nothing was called fake"}),
    ],
)
def test_what_is_undefined_is_none_with_its_reason(
    labels: list[int], probabilities: list[float], undefined: dict[str, str]
) -> None:
    found = compute_metrics(labels, probabilities)
    assert found["undefined"] == undefined
    assert {name for name, value in found.items() if value is None} == set(undefined)
    assert json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("measure", RANKING)
@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1, 1]])
def test_one_class_has_no_ranking(measure: Any, labels: list[int]) -> None:
    assert measure(labels, [0.5] * len(labels)) is None


@pytest.mark.parametrize("measure", [*RANKING, compute_metrics])
@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 2], [0.1, 0.2], "0 .real. or 1 .fake."),
        ([0, -1], [0.1, 0.2], "0 .real. or 1 .fake."),
        ([0, 1], [0.1], "of one length"),
        ([[0, 1]], [[0.1, 0.2]], "two lists"),
        ([0, 1], [0.1, math.nan], "not finite"),
        ([0, 1], [0.1, math.inf], "not finite"),
    ],
)
def test_bad_input_is_an_error_and_not_a_figure(measure: Any, labels: Any, scores: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(labels, scores)


@pytest.mark.parametrize("bad", [-0.01, 1.01])
@pytest.mark.parametrize("measure", [compute_metrics, compute_ece, reliability])
def test_a_probability_lies_between_zero_and_one(measure: Any, bad: float) -> None:
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        measure([0, 1], [0.5, bad])


def test_every_figure_is_plain() -> None:
    found = compute_metrics(np.array([0, 1, 1]), np.array([0.1, 0.7, 0.9], dtype=np.float32), np.float64(0.5))
    leaves = [*found.values(), *found["confusion"].values()]
    assert {type(value) for value in leaves} <= {int, float, str, dict}


def test_the_file_is_json_without_nan(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "metrics.json"
    save_metrics_json({"auc": np.float32(0.5), "loss": math.nan, "path": Path("a"), "curve": np.array([1.0])}, path)
    assert json.loads(path.read_text()) == {"auc": 0.5, "loss": None, "path": "a", "curve": [1.0]}
    assert path.read_text().endswith("}\n")


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    save_metrics_json({"auc": 0.5}, path)
    with pytest.raises(TypeError, match="model is a object"):
        save_metrics_json({"model": object()}, path)
    assert json.loads(path.read_text()) == {"auc": 0.5}
    assert list(tmp_path.iterdir()) == [path]
