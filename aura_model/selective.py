"""What abstaining buys: the error among the samples that are kept when the least sure ones are left out."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aura_model.metrics import Scores, check_probabilities


@dataclass(frozen=True, eq=False)
class CoverageRisk:
    """A coverage-risk curve (El-Yaniv and Wiener, 2010), from the surest samples to all of them."""

    coverage: Scores
    """[K] share of the samples that are kept, rising to 1."""
    risk: Scores
    """[K] share of these that are judged wrongly."""
    area: float
    """The mean risk over all coverages (AURC: Geifman and El-Yaniv, 2019); 0 is best."""

    def risk_at(self, coverage: float) -> float:
        """The risk where at least this share, above 0 to 1, is kept."""
        return float(self.risk[np.searchsorted(self.coverage, coverage - 1e-9)])


def coverage_risk(labels: npt.ArrayLike, probabilities: npt.ArrayLike, threshold: float = 0.5) -> CoverageRisk | None:
    """The curve of leaving out the samples whose probability is nearest to the threshold.

    Samples that are equally sure are kept or left out together.

    Args:
        labels: [N] 0 real, 1 fake.
        probabilities: [N] of fake, 0..1.
        threshold: a probability at or above it is called fake.

    Returns:
        None without samples.

    Raises:
        ValueError: as in `aura_model.metrics.compute_metrics`.
    """
    truth, values = check_probabilities(labels, probabilities)
    if not len(truth):
        return None
    confidence = np.abs(values - threshold)
    order = np.argsort(-confidence, kind="stable")
    wrong = ((values >= threshold) != (truth == 1))[order]
    ends = np.append(np.flatnonzero(np.diff(confidence[order])), len(order) - 1)  # of each run of equal confidence
    kept = ends + 1
    risk = np.cumsum(wrong)[ends] / kept
    return CoverageRisk(kept / len(order), risk, float(np.diff(kept, prepend=0) @ risk / len(order)))
