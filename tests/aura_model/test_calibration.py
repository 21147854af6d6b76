import math
from statistics import mean, median

import pytest
from pydantic import ValidationError

from aura_model.calibration import Calibration


@pytest.mark.parametrize(("log_odds", "expected"), [(0.0, -0.5), (1.0, 1.5), (-2.0, -4.5)])
def test_it_scales_and_shifts(log_odds: float, expected: float) -> None:
    assert Calibration(scale=2.0, bias=-0.5).apply(log_odds) == expected


@pytest.mark.parametrize("aggregate", [mean, median, max])
def test_aggregation_before_or_after_is_the_same(aggregate: object) -> None:
    assert callable(aggregate)
    calibration, clips = Calibration(scale=0.4, bias=1.2), [-3.0, 0.5, 2.0, 0.1]
    assert calibration.apply(aggregate(clips)) == pytest.approx(aggregate([calibration.apply(x) for x in clips]))


@pytest.mark.parametrize(
    "content",
    [
        {"scale": 0.0, "bias": 0.0},
        {"scale": -1.0, "bias": 0.0},
        {"scale": math.nan, "bias": 0.0},
        {"scale": math.inf, "bias": 0.0},
        {"scale": 1.0, "bias": math.nan},
        {"scale": 1.0},
        {"scale": 1.0, "bias": 0.0, "temperature": 2.0},
    ],
)
def test_what_would_turn_the_order_is_refused(content: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Calibration.model_validate(content)
