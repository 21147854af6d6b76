"""What is fitted to held-out samples after the training: how sure the model is, and from where on it accuses.

Sources: temperature scaling, Guo et al. (2017), with the smoothed labels of Platt (1999); class-conditional split
conformal prediction, Vovk (2012), where people have several samples, Lee, Barber and Willett (2023); the interval of a
share, Wilson (1927).
"""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from types import MappingProxyType
from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from aura_model.calibration import Band, Calibration, OperatingPoint, OperatingPoints
from aura_model.config import OperatingPointName
from aura_model.errors import AuraError
from aura_model.metrics import Labels, Scores, check_scores, compute_auc, compute_ece

FALSE_POSITIVES: Mapping[OperatingPointName, int] = MappingProxyType({"screening": 10, "balanced": 5, "strict": 1})
"""Per cent of reals that each point may call fake."""
MISSES = 5
"""Per cent of fakes that any point may call real."""
LEAST_REALS = 100 // min(FALSE_POSITIVES.values()) - 1
LEAST_FAKES = 100 // MISSES - 1
"""With samples of fewer people no bound holds what it promises."""
QUANTILE = NormalDist().inv_cdf(0.975)
TOLERANCE = 1e-10
ROUNDING = 1e-9
"""By so much a sum of weights may be off."""
ORDERED = 0.6
"""From this AUC on the scores are said to rank the samples."""


class CalibrationError(AuraError):
    """Nothing can be fitted; `code` is too_few_samples, inseparable, foreign_scores or scoring_failed."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Samples that the weights were not fitted to."""

    labels: Labels
    """[N] 0 real, 1 fake."""
    log_odds: Scores
    """[N] of fake, as the model gives them, without any calibration."""
    clusters: Sequence[Hashable]
    """[N] what a sample belongs to, such as its person: samples of one cluster are alike."""

    @classmethod
    def of(cls, labels: npt.ArrayLike, log_odds: npt.ArrayLike, clusters: Sequence[Hashable]) -> Self:
        """Checked samples, of enough clusters.

        Raises:
            CalibrationError: too_few_samples.
            ValueError: labels other than 0 and 1, log-odds that are not finite, or different lengths.
        """
        truth, values = check_scores(labels, log_odds)
        if len(clusters) != len(truth):
            raise ValueError(f"{len(truth)} samples need as many clusters, got {len(clusters)}")
        held_out = cls(truth, values, clusters)
        check_enough(held_out.people(0), held_out.people(1))
        return held_out

    @cached_property
    def weights(self) -> Scores:
        """[N] one by the number of samples that its cluster has with its label: each cluster counts once a label."""
        groups = list(zip(self.clusters, self.labels.tolist(), strict=True))
        sizes = Counter(groups)
        return np.array([1 / sizes[group] for group in groups])

    def people(self, label: int) -> int:
        """How many clusters have samples with this label."""
        return round(float(self.weights[self.labels == label].sum()))


def check_enough(reals: int, fakes: int) -> None:
    """Refuse so few people, or other clusters, that the strictest bound would promise nothing.

    However many samples one person gives, they tell nothing of the next person.

    Raises:
        CalibrationError: too_few_samples.
    """
    if reals < LEAST_REALS or fakes < LEAST_FAKES:
        need = f"the operating points need held-out reals of {LEAST_REALS} people or videos and fakes of {LEAST_FAKES}"
        raise CalibrationError("too_few_samples", f"{need}; there are {reals} and {fakes}")


@dataclass(frozen=True)
class Quality:
    """How well probabilities say what is true."""

    ece: float
    """Expected calibration error over samples, see `compute_ece`."""
    nll: float
    """Negative log-likelihood, mean over people."""


@dataclass(frozen=True)
class Fit:
    """What was fitted, and how good it is on the samples that it was fitted to."""

    calibration: Calibration
    points: OperatingPoints
    auc: float
    before: Quality
    after: Quality


def fit(held_out: HeldOut, *, with_bias: bool = False) -> Fit:
    """Fit the calibration, then the operating points on calibrated probabilities.

    Raises:
        CalibrationError: inseparable.
    """
    calibration = fit_calibration(held_out, with_bias=with_bias)
    log_odds = calibration.scale * held_out.log_odds + calibration.bias
    return Fit(
        calibration=calibration,
        points=fit_points(held_out, sigmoid(log_odds)),
        auc=compute_auc(held_out.labels, held_out.log_odds) or 0.0,
        before=_quality(held_out, held_out.log_odds),
        after=_quality(held_out, log_odds),
    )


def fit_calibration(held_out: HeldOut, *, with_bias: bool = False) -> Calibration:
    """The scale, and the bias where it is asked for, with the greatest likelihood.

    The labels are drawn towards the middle, as if each class had one sample more on the other side: so the scale
    stays finite where the scores tell the classes apart without an error.

    Raises:
        CalibrationError: inseparable: higher log-odds do not go with fakes.
    """
    spread = float(held_out.log_odds.std())
    scale, bias = _likeliest(held_out, spread, with_bias=with_bias) if spread else (0.0, 0.0)
    if scale <= 0:
        raise CalibrationError("inseparable", _why_not(held_out, with_bias=with_bias))
    return Calibration(scale=scale, bias=bias)


def _likeliest(held_out: HeldOut, unit: float, *, with_bias: bool) -> tuple[float, float]:
    """Scale and bias, found on log-odds in this unit."""
    fakes, count = int(held_out.labels.sum()), len(held_out.labels)
    targets = np.where(held_out.labels == 1, (fakes + 1) / (fakes + 2), 1 / (count - fakes + 2))
    model = LogisticRegression(C=np.inf, fit_intercept=with_bias, solver="newton-cholesky", tol=TOLERANCE)
    model.fit(
        np.tile(held_out.log_odds / unit, 2)[:, None],
        np.repeat([1, 0], count),  # every sample is partly a fake and partly a real
        sample_weight=np.concatenate([targets, 1 - targets]) * np.tile(held_out.weights, 2),
    )
    return float(model.coef_[0, 0]) / unit, float(np.ravel(model.intercept_)[0])


def _why_not(held_out: HeldOut, *, with_bias: bool) -> str:
    auc = compute_auc(held_out.labels, held_out.log_odds) or 0.0
    if auc > ORDERED and not with_bias:
        return f"the scores rank well (AUC {auc:.3f}), but real and fake lie on one side of 0: fit a bias, too"
    return f"the scores do not rise from real to fake (AUC {auc:.3f}): there is nothing to calibrate"


@dataclass(frozen=True, eq=False)
class _Class:
    """The samples with one label."""

    scores: Scores
    """[N] calibrated probabilities."""
    weights: Scores
    """[N] as `HeldOut.weights`."""

    def share(self, chosen: npt.NDArray[np.bool_]) -> float:
        """The share of these samples, each person counting once."""
        return float(np.average(chosen, weights=self.weights))


def fit_points(held_out: HeldOut, probabilities: Scores) -> OperatingPoints:
    """The operating points on calibrated probabilities [N] of these samples, and the rates there."""
    reals, fakes = (
        _Class(probabilities[held_out.labels == label], held_out.weights[held_out.labels == label]) for label in (0, 1)
    )
    low = lower_bound(fakes.scores, fakes.weights, MISSES)
    points = {}
    for name, percent in FALSE_POSITIVES.items():
        high = upper_bound(reals.scores, reals.weights, percent)
        points[name] = _measured(name, (min(low, high), max(low, high)), reals, fakes, held_out.people(0))
    return OperatingPoints(**points)


def upper_bound(scores: Scores, weights: Scores, percent: int) -> float:
    """The least of `scores` above which a fresh person's lies with a probability of at most `percent` in a hundred.

    That holds where the fresh person is exchangeable with those of the scores, over draws of all of them.

    Args:
        scores: [N].
        weights: [N] which add up to 1 for each person.
        percent: of all people, the fresh one among them, so many may lie beyond.

    Raises:
        ValueError: too few people.
    """
    people = round(float(weights.sum()))
    room = ((people + 1) * percent - 100) / 100  # from integers: a product of floats would lose a person now and then
    if room < 0:
        raise ValueError(f"a bound at {percent} % needs {math.ceil(100 / percent) - 1} people, got {people}")
    falling = np.argsort(-scores)
    beyond = np.searchsorted(np.cumsum(weights[falling]), room + ROUNDING, side="right")
    return float(scores[falling[beyond]])


def lower_bound(scores: Scores, weights: Scores, percent: int) -> float:
    """The greatest of `scores` below which a fresh one lies with such a probability; see `upper_bound`."""
    return -upper_bound(-scores, weights, percent)


def _measured(name: OperatingPointName, band: Band, reals: _Class, fakes: _Class, persons: int) -> OperatingPoint:
    low, high = band
    false_positives = reals.share(reals.scores > high)
    return OperatingPoint(
        name=name,
        low=low,
        high=high,
        false_positive_rate=false_positives,
        false_positive_interval=share_interval(false_positives, persons),
        true_positive_rate=fakes.share(fakes.scores > high),
        real_abstention=reals.share((reals.scores >= low) & (reals.scores <= high)),
        fake_abstention=fakes.share((fakes.scores >= low) & (fakes.scores <= high)),
        reals=len(reals.scores),
        fakes=len(fakes.scores),
    )


def share_interval(share: float, count: int) -> tuple[float, float]:
    """Where the true share lies, at 95 %, if this one was found in `count` independent samples."""
    square = QUANTILE**2 / count
    middle, shrink = (share + square / 2) / (1 + square), 1 / (1 + square)
    reach = QUANTILE * shrink * math.sqrt(share * (1 - share) / count + square / count / 4)
    return max(0.0, min(middle - reach, share)), min(1.0, max(middle + reach, share))


def sigmoid(log_odds: Scores) -> Scores:
    """Probabilities, without overflow; as `aura_model.analysis.probability`."""
    return 0.5 * (1.0 + np.tanh(0.5 * log_odds))


def _quality(held_out: HeldOut, log_odds: Scores) -> Quality:
    losses = np.logaddexp(0, log_odds) - held_out.labels * log_odds
    ece = compute_ece(held_out.labels, sigmoid(log_odds)) or 0.0
    return Quality(ece, float(np.average(losses, weights=held_out.weights)))
