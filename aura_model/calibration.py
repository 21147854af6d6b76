"""From the model's log-odds to calibrated ones, and from a calibrated probability to a verdict's bounds."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from aura_model.config import Finite, InferenceConfig, OperatingPointName, Probability

Band = tuple[float, float]
"""Low and high: a probability of fake below the first is `real`, above the second `fake`, else `uncertain`."""
Count = Annotated[int, Field(ge=1, le=2**53)]

PLAIN_BAND: Band = (0.35, 0.65)
"""For a model that brings no operating points along: nobody has measured what it is worth."""


class Calibration(BaseModel):
    """Platt scaling (1999), fitted on held-out videos and stored with the weights.

    The scale is positive, so a calibrated mean, median or maximum of log-odds equals that of calibrated ones: it is
    applied to each clip and holds for the video, whatever the aggregation. With a bias of 0 it is temperature scaling
    (Guo et al., 2017), the scale being the inverse of the temperature.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: Annotated[Finite, Field(gt=0)]
    bias: Finite

    def apply(self, log_odds: float) -> float:
        """Calibrated log-odds."""
        return self.scale * log_odds + self.bias

    def undo(self, log_odds: float) -> float:
        """What `apply` made these calibrated log-odds of."""
        return (log_odds - self.bias) / self.scale


class OperatingPoint(BaseModel):
    """A named band of calibrated probabilities, and how it did on held-out samples; see `training.calibration`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: OperatingPointName
    low: Probability = Field(description="A fake probability below it is called real.")
    high: Probability = Field(description="A fake probability above it is called fake; in between it is uncertain.")
    false_positive_rate: Probability = Field(description="Share of the held-out reals that were called fake.")
    false_positive_interval: tuple[Probability, Probability] = Field(description="Of that share, at 95 %.")
    true_positive_rate: Probability = Field(description="Share of the held-out fakes that were called fake.")
    real_abstention: Probability = Field(description="Share of the held-out reals that were uncertain.")
    fake_abstention: Probability = Field(description="Share of the held-out fakes that were uncertain.")
    reals: Count = Field(description="Held-out reals.")
    fakes: Count = Field(description="Held-out fakes.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        least, most = self.false_positive_interval
        if self.low > self.high or not least <= self.false_positive_rate <= most:
            raise ValueError("low lies above high, or a rate outside its interval")
        return self

    @property
    def band(self) -> Band:
        """Where it abstains."""
        return self.low, self.high


class OperatingPoints(BaseModel):
    """The operating points of a model, from the most suspicious one to the most careful one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    screening: OperatingPoint = Field(description="At most 10 % of reals are called fake.")
    balanced: OperatingPoint = Field(description="At most 5 %.")
    strict: OperatingPoint = Field(description="At most 1 %.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        points = list(self.ordered)
        if [point.name for point in points] != list(type(self).model_fields):
            raise ValueError("a point stands under another's name")
        if points != sorted(points, key=lambda point: point.low) or points != sorted(points, key=lambda one: one.high):
            raise ValueError("screening must accuse before balanced does, and balanced before strict")
        return self

    @property
    def ordered(self) -> tuple[OperatingPoint, ...]:
        """All of them."""
        return self.screening, self.balanced, self.strict

    def named(self, name: OperatingPointName) -> OperatingPoint:
        """The point of this name."""
        return {point.name: point for point in self.ordered}[name]


def point_in_force(points: OperatingPoints | None, inference: InferenceConfig) -> OperatingPoint | None:
    """The operating point that decides; None where the model has none, or `inference.uncertain_band` overrides it."""
    return points.named(inference.operating_point) if points and inference.uncertain_band is None else None


def band_in_force(points: OperatingPoints | None, inference: InferenceConfig) -> Band:
    """The band that decides: that of the configuration, else of the operating point, else `PLAIN_BAND`."""
    point = point_in_force(points, inference)
    return point.band if point else inference.uncertain_band or PLAIN_BAND
