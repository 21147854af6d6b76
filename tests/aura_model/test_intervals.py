import numpy as np
import pytest
from sklearn import metrics as sklearn

from aura_model.intervals import LEAST_CLUSTERS, Interval, bootstrap_intervals, weighted_figures
from aura_model.metrics import FIGURES, Labels, Scores, compute_metrics


def some(count: int = 80, seed: int = 0, decimals: int = 1) -> tuple[Labels, Scores]:
    """Labels and probabilities, with many ties."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    return labels, np.clip(rng.normal(0.35 + 0.3 * labels, 0.2), 0, 1).round(decimals)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_a_weighted_figure_is_that_of_the_repeated_samples(seed: int, threshold: float) -> None:
    labels, probabilities = some(60, seed)
    weights = np.random.default_rng(seed).integers(0, 4, (5, 60))
    found = weighted_figures(labels, probabilities, weights.astype(np.float64), threshold)
    assert set(found) == set(FIGURES)
    for row, counts in enumerate(weights):
        expected = compute_metrics(np.repeat(labels, counts), np.repeat(probabilities, counts), threshold)
        assert {name: found[name][row] for name in FIGURES} == pytest.approx({name: expected[name] for name in FIGURES})


@pytest.mark.parametrize("decimals", [1, 15])
def test_weighted_ranking_is_that_of_scikit_learn(decimals: int) -> None:
    labels, probabilities = some(200, decimals=decimals)
    weights = np.random.default_rng(1).random((3, 200))
    found = weighted_figures(labels, probabilities, weights)
    for row, counts in enumerate(weights):
        assert found["auc"][row] == pytest.approx(
            sklearn.roc_auc_score(labels, probabilities, sample_weight=counts), abs=1e-12
        )
        assert found["ap"][row] == pytest.approx(
            sklearn.average_precision_score(labels, probabilities, sample_weight=counts), abs=1e-12
        )
        assert found["brier"][row] == pytest.approx(
            sklearn.brier_score_loss(labels, probabilities, sample_weight=counts)
        )


def test_one_of_a_hundred_reals_is_one_percent() -> None:
    labels, probabilities = np.array([0] * 100 + [1, 1]), np.array([0.8, *[0.1] * 99, 0.9, 0.5])
    weights = np.ones((2, 102))
    weights[1, 1] = 0  # 99 reals are left
    assert weighted_figures(labels, probabilities, weights)["tpr_at_1fpr"].tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("counts", "undefined"),
    [
        ([1, 1, 0, 0], {"auc", "ap", "fpr_at_95tpr", "tpr_at_1fpr", "eer", "recall"}),
        ([0, 0, 1, 1], {"auc", "ap", "fpr_at_95tpr", "tpr_at_1fpr", "eer"}),
        ([1, 0, 1, 0], {"precision"}),
        ([1, 0, 0, 0], {"auc", "ap", "fpr_at_95tpr", "tpr_at_1fpr", "eer", "recall", "precision", "f1"}),
        ([1, 1, 1, 1], set()),
    ],
)
def test_what_a_resample_leaves_undefined_is_not_a_number(counts: list[int], undefined: set[str]) -> None:
    labels, probabilities = np.array([0, 0, 1, 1]), np.array([0.1, 0.9, 0.2, 0.8])
    found = weighted_figures(labels, probabilities, np.array([counts], np.float64))
    assert {name for name, values in found.items() if np.isnan(values[0])} == undefined


def test_the_interval_of_a_share_is_about_that_of_the_binomial() -> None:
    labels, probabilities = np.ones(400, np.int64), np.where(np.arange(400) < 300, 0.9, 0.1)
    recall = bootstrap_intervals(labels, probabilities, range(400))["recall"]
    spread = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert (recall.low, recall.high) == pytest.approx((0.75 - spread, 0.75 + spread), abs=0.008)
    assert recall.left_out == 0


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng, inside = np.random.default_rng(7), 0
    for seed in range(100):
        labels = rng.integers(0, 2, 150)
        scores = 1 / (1 + np.exp(-rng.normal(labels, 1.0)))
        auc = bootstrap_intervals(labels, scores, range(150), seed=seed, resamples=200)["auc"]
        assert auc.low is not None
        assert auc.high is not None
        inside += auc.low <= 0.7602 <= auc.high  # Phi(1 / sqrt(2))
    assert 88 <= inside <= 99


def test_samples_of_one_cluster_do_not_count_as_independent() -> None:
    labels, probabilities = some(100, decimals=15)
    alone = bootstrap_intervals(labels, probabilities, range(100))
    copied = bootstrap_intervals(np.repeat(labels, 9), np.repeat(probabilities, 9), np.repeat(range(100), 9).tolist())
    careless = bootstrap_intervals(np.repeat(labels, 9), np.repeat(probabilities, 9), range(900))
    assert [copied["auc"].low, copied["auc"].high] == pytest.approx([alone["auc"].low, alone["auc"].high])

    def width(found: Interval) -> float:
        assert found.low is not None
        assert found.high is not None
        return found.high - found.low

    assert width(careless["auc"]) < 0.5 * width(copied["auc"])


def test_it_depends_on_the_seed_alone() -> None:
    labels, probabilities = some()
    first = bootstrap_intervals(labels, probabilities, range(80), seed=3)
    assert bootstrap_intervals(labels, probabilities, range(80), seed=3) == first
    assert bootstrap_intervals(labels, probabilities, range(80), seed=4) != first


def test_clusters_may_have_any_names() -> None:
    labels, probabilities = some()
    names = [("identity", f"{number}") for number in range(80)]
    assert bootstrap_intervals(labels, probabilities, names) == bootstrap_intervals(labels, probabilities, range(80))


def test_many_samples_are_handled_in_parts_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, probabilities = some()
    whole = bootstrap_intervals(labels, probabilities, range(80), resamples=100)
    monkeypatch.setattr("aura_model.intervals.CELLS", 7 * 80)
    parts = bootstrap_intervals(labels, probabilities, range(80), resamples=100)
    for name in FIGURES:
        assert [parts[name].low, parts[name].high] == pytest.approx([whole[name].low, whole[name].high])


@pytest.mark.parametrize("clusters", [0, 1, LEAST_CLUSTERS - 1])
def test_too_few_clusters_have_no_interval(clusters: int) -> None:
    labels = np.arange(3 * clusters) % 2
    found = bootstrap_intervals(labels, labels / 2, [number // 3 for number in range(3 * clusters)])
    assert set(found) == set(FIGURES)
    assert set(found.values()) == {
        Interval(None, None, reason=f"only {clusters} independent samples, and an interval needs {LEAST_CLUSTERS}")
    }


def test_a_class_that_many_resamples_lack_gives_no_interval() -> None:
    labels, probabilities = np.array([1] + [0] * 49), np.linspace(0.9, 0.1, 50)
    found = bootstrap_intervals(labels, probabilities, range(50))
    auc = found["auc"]
    assert (auc.low, auc.high) == (None, None)
    assert auc.reason == f"undefined in {auc.left_out} of 1000 resamples"
    assert 300 < auc.left_out < 430  # (1 - 1/50) ** 50 is 0.36
    assert found["brier"].low is not None
    assert found["brier"].left_out == 0


def test_a_few_undefined_resamples_are_left_out_and_counted() -> None:
    labels, probabilities = np.array([1] * 4 + [0] * 46), np.linspace(0.9, 0.1, 50)
    auc = bootstrap_intervals(labels, probabilities, range(50))["auc"]
    assert 0 < auc.left_out < 50  # (1 - 4/50) ** 50 is 0.015
    assert (auc.low, auc.high, auc.reason) == (1.0, 1.0, "")


def test_one_class_has_no_interval_of_a_ranking() -> None:
    found = bootstrap_intervals([1] * 20, [0.7] * 20, range(20))
    assert found["auc"] == Interval(None, None, 1000, "undefined in 1000 of 1000 resamples")
    assert found["recall"] == Interval(1.0, 1.0)


@pytest.mark.parametrize(
    ("labels", "probabilities", "clusters", "said"),
    [
        ([0, 1], [0.1, 0.2], ["a"], "2 samples need as many clusters, got 1"),
        ([0, 1], [0.1, 1.2], ["a", "b"], "outside"),
        ([0, 2], [0.1, 0.2], ["a", "b"], "labels"),
    ],
)
def test_bad_input_is_an_error(labels: list[int], probabilities: list[float], clusters: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bootstrap_intervals(labels, probabilities, clusters)
