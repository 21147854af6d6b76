import numpy as np
import pytest

from aura_model.selective import coverage_risk


def curve(labels, probabilities, threshold=0.5):
    found = coverage_risk(labels, probabilities, threshold)
    assert found is not None
    return found


def test_the_surest_are_kept_first():
    # surest to least sure: 0.99 right, 0.05 right, 0.9 wrong, 0.4 wrong
    found = curve([1, 0, 0, 1], [0.99, 0.05, 0.9, 0.4])
    assert found.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert found.risk == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert found.area == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)


def test_the_last_point_is_the_error_of_all():
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 2, 500), rng.random(500)
    found = curve(labels, probabilities)
    assert found.coverage[-1] == 1
    assert found.risk[-1] == pytest.approx(np.mean((probabilities >= 0.5) != labels))


def test_samples_that_are_equally_sure_go_together():
    found = curve([1, 0, 1, 0], [0.75, 0.75, 0.25, 0.25])
    assert found.coverage.tolist() == [1.0]
    assert found.risk.tolist() == [0.5]
    assert found.area == 0.5


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]])
def test_the_order_of_the_samples_does_not_matter(order):
    labels, values = np.array([1, 0, 1, 0, 1]), np.array([0.75, 0.75, 0.25, 0.1, 0.6])
    first, second = curve(labels, values), curve(labels[order], values[order])
    assert first.risk.tolist() == second.risk.tolist()
    assert first.area == second.area


def test_confidence_that_tells_right_from_wrong_has_the_smaller_area():
    labels = [1, 1, 1, 0]
    wise, foolish = curve(labels, [0.9, 0.95, 0.99, 0.6]), curve(labels, [0.6, 0.7, 0.65, 0.99])
    assert wise.risk[-1] == foolish.risk[-1] == 0.25
    assert wise.area < 0.25 < foolish.area


@pytest.mark.parametrize(
    ("coverage", "risk"), [(0.1, 0.0), (0.25, 0.0), (0.5, 0.0), (0.6, 1 / 3), (0.75, 1 / 3), (1, 0.5)]
)
def test_the_risk_at_a_coverage_keeps_at_least_so_many(coverage, risk):
    assert curve([1, 0, 0, 1], [0.99, 0.05, 0.9, 0.4]).risk_at(coverage) == pytest.approx(risk)


def test_another_threshold_has_other_errors():
    assert curve([0, 1], [0.6, 0.8]).risk[-1] == 0.5
    assert curve([0, 1], [0.6, 0.8], threshold=0.7).risk[-1] == 0


def test_a_probability_at_the_threshold_is_called_fake():
    assert curve([1], [0.5]).risk.tolist() == [0]
    assert curve([0], [0.5]).risk.tolist() == [1]


def test_one_class_has_a_curve_and_no_samples_have_none():
    assert curve([0, 0], [0.1, 0.2]).area == 0
    assert coverage_risk([], []) is None


@pytest.mark.parametrize(
    ("labels", "probabilities"), [([0, 1], [0.5]), ([2], [0.5]), ([0], [1.5]), ([0], [float("nan")])]
)
def test_bad_samples_are_refused(labels, probabilities):
    with pytest.raises(ValueError, match=r"."):
        coverage_risk(labels, probabilities)
