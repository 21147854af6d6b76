"""Operating points for tests."""

from typing import Any

from aura_model.calibration import OperatingPoint, OperatingPoints
from aura_model.config import OperatingPointName

RATES: dict[str, Any] = {
    "false_positive_rate": 0.01,
    "false_positive_interval": (0.005, 0.02),
    "true_positive_rate": 0.8,
    "real_abstention": 0.1,
    "fake_abstention": 0.15,
    "reals": 200,
    "fakes": 190,
}


def make_point(name: OperatingPointName, low: float = 0.3, high: float = 0.7, **changes: Any) -> OperatingPoint:
    return OperatingPoint(name=name, low=low, high=high, **{**RATES, **changes})


def make_points(
    screening: tuple[float, float] = (0.2, 0.4),
    balanced: tuple[float, float] = (0.3, 0.6),
    strict: tuple[float, float] = (0.3, 0.9),
) -> OperatingPoints:
    return OperatingPoints(
        screening=make_point("screening", *screening),
        balanced=make_point("balanced", *balanced),
        strict=make_point("strict", *strict),
    )
