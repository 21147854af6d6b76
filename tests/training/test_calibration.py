"""What is fitted to held-out samples: known answers, and what conformal bounds promise."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from aura_model.analysis import probability
from aura_model.calibration import OperatingPoints
from training.calibration import (
    FALSE_POSITIVES,
    LEAST_FAKES,
    LEAST_REALS,
    MISSES,
    CalibrationError,
    HeldOut,
    fit,
    fit_calibration,
    fit_points,
    lower_bound,
    share_interval,
    sigmoid,
    upper_bound,
)

Floats = npt.NDArray[np.float64]


def held_out(labels: npt.ArrayLike, log_odds: npt.ArrayLike) -> HeldOut:
    return HeldOut.of(labels, log_odds, range(len(np.asarray(labels))))


def drawn(scale: float, bias: float = 0.0, count: int = 40_000, seed: int = 0) -> HeldOut:
    """Labels that are true with the probability that `scale` and `bias` make of the log-odds."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(0, 3, count)
    labels = (rng.random(count) < sigmoid(scale * log_odds + bias)).astype(int)
    return held_out(labels, log_odds)


def apart(gap: float, count: int = 1000, seed: int = 0) -> HeldOut:
    """Two bells, `gap` deviations from each other."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], count)
    return held_out(labels, rng.normal(0, 1, 2 * count) + gap * (labels - 0.5))


# --- samples


@pytest.mark.parametrize(("reals", "fakes"), [(98, 500), (500, 18), (0, 500), (500, 0), (0, 0)])
def test_too_few_samples_are_told_with_what_is_needed(reals: int, fakes: int) -> None:
    labels = np.repeat([0, 1], [reals, fakes])
    with pytest.raises(
        CalibrationError, match=rf"reals of 99 people or videos and fakes of 19; there are {reals} and {fakes}$"
    ) as caught:
        held_out(labels, labels.astype(float))
    assert caught.value.code == "too_few_samples"


def test_samples_of_one_person_count_once() -> None:
    """A person who is seen two hundred times promises nothing of others."""
    labels = np.repeat([0, 1], 200)
    log_odds = np.arange(400.0) - 200
    for people in (1, 98):
        with pytest.raises(CalibrationError, match=f"there are {people} and {people}$"):
            HeldOut.of(labels, log_odds, [place % people for place in range(400)])
    assert HeldOut.of(labels, log_odds, [place % 99 for place in range(400)]).labels.tolist() == labels.tolist()


def test_just_enough_samples_are_enough() -> None:
    labels = np.repeat([0, 1], [LEAST_REALS, LEAST_FAKES])
    points = fit(held_out(labels, np.arange(len(labels)) - 98.5)).points
    assert (points.strict.reals, points.strict.fakes) == (99, 19)


@pytest.mark.parametrize(
    ("labels", "log_odds", "clusters"),
    [([0, 2], [0.0, 1.0], 2), ([0, 1], [0.0, math.nan], 2), ([0, 1], [0.0], 2), ([0, 1], [0.0, 1.0], 3)],
)
def test_what_no_samples_are(labels: list[int], log_odds: list[float], clusters: int) -> None:
    with pytest.raises(ValueError, match=r"labels|finite|clusters"):
        HeldOut.of(labels, log_odds, range(clusters))


# --- temperature


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.0, 2.0])
def test_a_known_temperature_is_found(scale: float) -> None:
    fitted = fit_calibration(drawn(scale))
    assert fitted.scale == pytest.approx(scale, rel=0.05)
    assert fitted.bias == 0


@pytest.mark.parametrize(("scale", "bias"), [(0.5, 1.0), (2.0, -1.5), (1.0, 0.0)])
def test_a_known_bias_is_found_where_it_is_asked_for(scale: float, bias: float) -> None:
    fitted = fit_calibration(drawn(scale, bias), with_bias=True)
    assert fitted.scale == pytest.approx(scale, rel=0.05)
    assert fitted.bias == pytest.approx(bias, abs=0.08)


@pytest.mark.parametrize("factor", [1e-3, 10.0, 1e5])
def test_the_unit_of_the_scores_does_not_matter(factor: float) -> None:
    samples = drawn(0.5, count=2000)
    scaled = held_out(samples.labels, samples.log_odds * factor)
    assert fit_calibration(scaled).scale * factor == pytest.approx(fit_calibration(samples).scale, rel=1e-6)


def test_the_likelihood_is_the_greatest() -> None:
    samples = drawn(0.7, count=3000)
    scale = fit_calibration(samples).scale

    def loss(value: float) -> float:
        odds = value * samples.log_odds
        return float((np.logaddexp(0, odds) - samples.labels * odds).mean())

    assert loss(scale) < min(loss(scale * 0.97), loss(scale * 1.03))


def test_calibrated_probabilities_are_true() -> None:
    fitted = fit(drawn(0.3, count=20_000))
    assert fitted.before.ece > 0.1
    assert fitted.after.ece < 0.02
    assert fitted.after.nll < fitted.before.nll


@pytest.mark.parametrize("gap", [20.0, 1000.0])
def test_classes_without_an_overlap_give_a_finite_temperature(gap: float) -> None:
    samples = apart(gap)
    calibration = fit_calibration(samples)
    surest = probability(calibration.apply(gap / 2))
    assert 0.99 < surest < 0.9999  # a thousand samples allow to be so sure, and no surer
    assert surest == pytest.approx(1001 / 1002, abs=2e-3)


@pytest.mark.parametrize("turn", [lambda odds: -odds, np.zeros_like], ids=["turned", "constant"])
def test_scores_that_do_not_rise_are_refused(turn: Callable[[Floats], Floats]) -> None:
    samples = apart(2.0)
    with pytest.raises(CalibrationError) as caught:
        fit(held_out(samples.labels, turn(samples.log_odds)))
    assert caught.value.code == "inseparable"


def test_classes_on_one_side_of_zero_need_a_bias() -> None:
    """Many reals far above zero outweigh a few fakes still higher, at any temperature."""
    labels = np.repeat([0, 1], [500, 50])
    samples = held_out(labels, 9.0 + 3 * labels)
    with pytest.raises(CalibrationError, match=r"AUC 1\.000.*fit a bias") as caught:
        fit(samples)
    assert caught.value.code == "inseparable"
    fitted = fit_calibration(samples, with_bias=True)
    assert fitted.apply(9.0) < -5
    assert fitted.apply(12.0) > 3


def test_a_bias_makes_up_for_any_shift() -> None:
    samples = apart(3.0)
    plain, moved = (
        fit_calibration(held_out(samples.labels, samples.log_odds + shift), with_bias=True) for shift in (0, 40)
    )
    assert moved.scale == pytest.approx(plain.scale)
    assert moved.apply(40.0) == pytest.approx(plain.apply(0.0), abs=1e-6)


# --- conformal bounds


def bound(which: Callable[[Floats, Floats, int], float], scores: Floats, percent: int) -> float:
    """Of people with one score each."""
    return which(scores, np.ones(len(scores)), percent)


@pytest.mark.parametrize(
    ("count", "percent", "upper", "lower"),
    [
        (9, 10, 8, 0),
        (19, 5, 18, 0),
        (99, 1, 98, 0),
        (198, 1, 197, 0),
        (199, 1, 197, 1),
        (39, 5, 37, 1),
        (100, 10, 90, 9),
    ],
)
def test_the_rank_of_a_bound(count: int, percent: int, upper: int, lower: int) -> None:
    scores = np.random.default_rng(0).permutation(count).astype(float)
    assert (bound(upper_bound, scores, percent), bound(lower_bound, scores, percent)) == (upper, lower)


@pytest.mark.parametrize(("count", "percent"), [(8, 10), (18, 5), (98, 1), (0, 5)])
def test_no_bound_with_fewer_people(count: int, percent: int) -> None:
    for which in (upper_bound, lower_bound):
        with pytest.raises(ValueError, match=f"needs {100 // percent - 1} people"):
            bound(which, np.zeros(count), percent)


@pytest.mark.parametrize("percent", [1, 5, 10])
@pytest.mark.parametrize("size", [99, 120, 300])
def test_a_fresh_score_lies_beyond_no_more_often_than_promised(size: int, percent: int) -> None:
    """Over draws of the held-out scores, from any distribution, such as one with heavy tails. Nor far less often."""
    rng = np.random.default_rng(size + percent)
    trials = 4000
    scores = np.sort(rng.standard_cauchy((trials, size)), axis=1)
    fresh = rng.standard_cauchy((trials, 50))
    above = np.mean([(new > bound(upper_bound, old, percent)).mean() for old, new in zip(scores, fresh, strict=True)])
    below = np.mean([(new < bound(lower_bound, old, percent)).mean() for old, new in zip(scores, fresh, strict=True)])
    slack = 4 * math.sqrt(percent / 100 / trials / 10)  # the trials are means themselves, not independent within
    for rate in (above, below):
        assert percent / 100 - 1 / (size + 1) - slack <= rate <= percent / 100 + slack


@pytest.mark.parametrize("percent", [1, 5, 10])
def test_ties_keep_the_promise(percent: int) -> None:
    scores = np.repeat([0.1, 0.5, 0.9], 100)
    assert (scores > bound(upper_bound, scores, percent)).mean() <= percent / 100
    assert (scores < bound(lower_bound, scores, percent)).mean() <= percent / 100


@pytest.mark.parametrize(("percent", "upper"), [(1, 98), (2, 97), (10, 89)])
def test_a_bound_weighs_people(percent: int, upper: float) -> None:
    """Ninety-eight people with one score at 0 to 97 each, and one with five at 98 and five at -1."""
    scores = np.concatenate([np.arange(98), np.repeat([98.0, -1.0], 5)])
    weights = np.concatenate([np.ones(98), np.full(10, 0.1)])
    assert upper_bound(scores, weights, percent) == upper
    assert lower_bound(-scores, weights, percent) == -upper


@pytest.mark.parametrize("percent", [1, 5, 10])
@pytest.mark.parametrize("samples", [2, 3, 7, 10, 49])
def test_a_bound_does_not_lose_a_score_to_rounding(percent: int, samples: int) -> None:
    scores = np.random.default_rng(0).permutation(199).astype(float)
    many, weights = np.repeat(scores, samples), np.full(199 * samples, 1 / samples)
    assert upper_bound(many, weights, percent) == bound(upper_bound, scores, percent)


def test_a_person_with_many_samples_weighs_no_more_than_another() -> None:
    """Ninety-nine people with one sample and one with four hundred: a fresh person is accused as promised."""
    rng = np.random.default_rng(0)
    weights = np.repeat([1, 1 / 400], [99, 400])
    accused = dict.fromkeys(FALSE_POSITIVES.values(), 0.0)
    for _ in range(1000):
        scores = np.concatenate([rng.normal(size=99), rng.normal() + 0.2 * rng.normal(size=400)])
        fresh = rng.normal(size=500)
        for percent in accused:
            accused[percent] += float((fresh > upper_bound(scores, weights, percent)).mean()) / 1000
    assert all(rate <= percent / 100 + 0.003 for percent, rate in accused.items())


# --- operating points


def points_of(samples: HeldOut) -> OperatingPoints:
    return fit_points(samples, sigmoid(samples.log_odds))


@pytest.mark.parametrize("gap", [0.5, 1.0, 2.0, 3.0, 4.0, 8.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_no_point_accuses_or_clears_more_than_it_may(gap: float, seed: int) -> None:
    points = points_of(apart(gap, seed=seed))
    for point in points.ordered:
        assert point.false_positive_rate <= FALSE_POSITIVES[point.name] / 100
        assert 1 - point.true_positive_rate - point.fake_abstention <= MISSES / 100 + 1e-12
        assert point.false_positive_interval[0] <= point.false_positive_rate <= point.false_positive_interval[1]


@pytest.mark.parametrize("gap", [0.0, 0.5, 2.0, 4.0, 30.0])
def test_points_grow_more_careful(gap: float) -> None:
    screening, balanced, strict = points_of(apart(gap)).ordered
    assert screening.high <= balanced.high <= strict.high
    assert screening.low <= balanced.low <= strict.low
    assert screening.true_positive_rate >= balanced.true_positive_rate >= strict.true_positive_rate


def test_overlapping_classes_leave_much_uncertain() -> None:
    balanced = points_of(apart(1.0)).balanced
    assert balanced.real_abstention > 0.6
    assert balanced.fake_abstention > 0.6
    assert 0.04 < balanced.false_positive_rate <= 0.05


def test_classes_without_an_overlap_change_the_bounds_places() -> None:
    """Between them lies what looks like neither."""
    samples = apart(20.0)
    reals, fakes = (np.sort(sigmoid(samples.log_odds[samples.labels == label])) for label in (0, 1))
    balanced = points_of(samples).balanced
    assert balanced.low == bound(upper_bound, reals, 5) < 0.5 < balanced.high == bound(lower_bound, fakes, 5)
    assert balanced.false_positive_rate == 0
    assert balanced.true_positive_rate == pytest.approx(0.95, abs=0.002)
    assert balanced.real_abstention == pytest.approx(0.05, abs=0.002)


def test_scores_that_tell_nothing_leave_nine_in_ten_uncertain() -> None:
    balanced = points_of(apart(0.0, count=5000)).balanced
    assert balanced.real_abstention == pytest.approx(0.9, abs=0.02)
    assert balanced.true_positive_rate == pytest.approx(0.05, abs=0.02)


def test_known_points() -> None:
    """A hundred reals at 0.000 to 0.099, and twenty fakes from 0.05 in steps of 0.01."""
    labels = np.repeat([0, 1], [100, 20])
    probabilities = np.concatenate([np.arange(100), 50 + 10 * np.arange(20)]) / 1000
    points = fit_points(held_out(labels, probabilities), probabilities)
    assert [point.high for point in points.ordered] == pytest.approx([0.09, 0.095, 0.099])
    assert {point.low for point in points.ordered} == {0.05}
    strict = points.strict
    assert (strict.false_positive_rate, strict.true_positive_rate) == (0, 0.75)
    assert (strict.real_abstention, strict.fake_abstention) == (0.5, 0.25)
    assert points.screening.false_positive_rate == pytest.approx(0.09)
    assert points.screening.true_positive_rate == 0.75  # the fake on the bound is not beyond it
    assert (strict.reals, strict.fakes) == (100, 20)


def test_each_person_counts_once() -> None:
    """Each real ten times over and each fake thrice: points, rates and intervals are those of one sample each."""
    samples = apart(2.0, count=400)
    times = np.where(samples.labels == 1, 3, 10)
    many = HeldOut.of(
        np.repeat(samples.labels, times), np.repeat(samples.log_odds, times), np.arange(800).repeat(times)
    )
    for alone, shared in zip(points_of(samples).ordered, points_of(many).ordered, strict=True):
        assert (shared.reals, shared.fakes) == (4000, 1200)
        assert shared.band == alone.band
        assert shared.false_positive_interval == pytest.approx(alone.false_positive_interval)
        rates = [name for name in type(alone).model_fields if name.endswith(("rate", "abstention"))]
        assert [getattr(shared, name) for name in rates] == pytest.approx([getattr(alone, name) for name in rates])


def test_a_person_with_many_samples_does_not_set_the_temperature() -> None:
    """A real who looks like a fake, four hundred times."""
    samples = apart(4.0, count=100)
    labels, log_odds = np.append(samples.labels, 0), np.append(samples.log_odds, 2.0)
    times = np.append(np.ones(200, dtype=int), 400)
    many = HeldOut.of(np.repeat(labels, times), np.repeat(log_odds, times), np.arange(201).repeat(times))
    once, often = fit(held_out(labels, log_odds)), fit(many)
    assert often.calibration.scale == pytest.approx(once.calibration.scale, rel=0.15)
    assert often.before.nll == pytest.approx(once.before.nll)


def test_a_person_may_be_among_the_reals_and_the_fakes() -> None:
    """Both clips of a pair are of one person, who counts once for each label."""
    labels = np.repeat([0, 1], 200)
    samples = HeldOut.of(labels, np.arange(400.0), [place % 100 for place in range(400)])
    assert samples.weights.tolist() == [0.5] * 400
    assert (samples.people(0), samples.people(1)) == (100, 100)


@pytest.mark.parametrize(
    ("share", "count", "low", "high"),
    [(0.0, 10, 0.0, 0.2775), (0.05, 100, 0.0215, 0.1118), (0.5, 100, 0.4038, 0.5962), (1.0, 10, 0.7225, 1.0)],
)
def test_the_interval_of_a_share_is_wilsons(share: float, count: int, low: float, high: float) -> None:
    assert share_interval(share, count) == pytest.approx((low, high), abs=1e-4)


def test_the_points_are_of_calibrated_probabilities() -> None:
    samples = apart(3.0)
    fitted = fit(held_out(samples.labels, 7 * samples.log_odds))
    highest = np.sort(7 * samples.log_odds[samples.labels == 0])[1000 - 50]
    assert fitted.points.balanced.high == pytest.approx(probability(fitted.calibration.apply(float(highest))))
    assert fitted.auc == pytest.approx(fit(samples).auc)
    assert fitted.points.balanced.band == pytest.approx(fit(samples).points.balanced.band)
