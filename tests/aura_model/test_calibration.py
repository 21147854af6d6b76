import itertools
import math
from statistics import mean, median
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from aura_model.calibration import (
    PLAIN_BAND,
    Band,
    Calibration,
    OperatingPoint,
    OperatingPoints,
    band_in_force,
    point_in_force,
)
from aura_model.config import InferenceConfig, OperatingPointName
from aura_model.settings import load_config
from tests.operating_points import make_point, make_points

NAMES: tuple[OperatingPointName, ...] = get_args(OperatingPointName)
POINTS = make_points()


def inference(**changes: Any) -> InferenceConfig:
    return load_config(env={}, settings={"inference": changes}).inference


# --- scaling


@pytest.mark.parametrize(("log_odds", "expected"), [(0.0, -0.5), (1.0, 1.5), (-2.0, -4.5)])
def test_it_scales_and_shifts(log_odds: float, expected: float) -> None:
    calibration = Calibration(scale=2.0, bias=-0.5)
    assert calibration.apply(log_odds) == expected
    assert calibration.undo(expected) == log_odds


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


# --- operating points


def test_points_survive_the_way_into_a_file() -> None:
    plain = POINTS.model_dump(mode="json")
    assert plain["strict"]["name"] == "strict"
    assert OperatingPoints.model_validate(plain) == POINTS


@pytest.mark.parametrize("name", NAMES)
def test_a_point_is_found_by_its_name(name: OperatingPointName) -> None:
    assert POINTS.named(name).name == name
    assert POINTS.named(name) == getattr(POINTS, name)


def test_the_order_is_that_of_the_names() -> None:
    assert tuple(point.name for point in POINTS.ordered) == NAMES


@pytest.mark.parametrize(
    "changes",
    [
        {"low": 0.8},
        {"low": -0.1},
        {"high": 1.1},
        {"high": math.nan},
        {"name": "lax"},
        {"false_positive_rate": 0.03},
        {"false_positive_rate": 0.001},
        {"false_positive_interval": (0.0,)},
        {"false_positive_interval": (0.02, 0.005)},
        {"true_positive_rate": 1.5},
        {"real_abstention": None},
        {"reals": 0},
        {"fakes": 2.5},
        {"fakes": 10**30},
        {"note": "mine"},
    ],
    ids=str,
)
def test_what_no_point_is(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OperatingPoint.model_validate(make_point("balanced").model_dump() | changes)


@pytest.mark.parametrize(
    ("screening", "balanced", "strict"),
    [
        ((0.2, 0.4), (0.3, 0.6), (0.3, 0.5)),
        ((0.2, 0.7), (0.3, 0.6), (0.3, 0.9)),
        ((0.2, 0.4), (0.3, 0.6), (0.1, 0.9)),
        ((0.35, 0.4), (0.3, 0.6), (0.4, 0.9)),
    ],
)
def test_a_more_careful_point_accuses_no_sooner(screening: Band, balanced: Band, strict: Band) -> None:
    with pytest.raises(ValidationError, match="before"):
        make_points(screening, balanced, strict)


def test_points_may_fall_together() -> None:
    band = (0.4, 0.5)
    assert {point.band for point in make_points(band, band, band).ordered} == {band}


@pytest.mark.parametrize(("place", "other"), list(itertools.permutations(NAMES, 2)))
def test_a_point_under_anothers_name_is_refused(place: str, other: OperatingPointName) -> None:
    with pytest.raises(ValidationError, match="another's name"):
        OperatingPoints.model_validate(POINTS.model_dump() | {place: make_point(other).model_dump()})


@pytest.mark.parametrize("name", NAMES)
def test_all_three_are_needed_and_no_fourth(name: str) -> None:
    plain = POINTS.model_dump()
    with pytest.raises(ValidationError):
        OperatingPoints.model_validate(plain | {"lax": plain[name]})
    del plain[name]
    with pytest.raises(ValidationError):
        OperatingPoints.model_validate(plain)


# --- what decides


@pytest.mark.parametrize("name", NAMES)
def test_the_chosen_point_decides(name: OperatingPointName) -> None:
    chosen = inference(operating_point=name)
    assert point_in_force(POINTS, chosen) == POINTS.named(name)
    assert band_in_force(POINTS, chosen) == POINTS.named(name).band


def test_balanced_is_chosen_where_nobody_says() -> None:
    assert point_in_force(POINTS, inference()) == POINTS.balanced


@pytest.mark.parametrize("points", [POINTS, None], ids=["points", "none"])
def test_a_band_of_the_configuration_overrides(points: OperatingPoints | None) -> None:
    chosen = inference(uncertain_band=[0.1, 0.9], operating_point="strict")
    assert point_in_force(points, chosen) is None
    assert band_in_force(points, chosen) == (0.1, 0.9)


@pytest.mark.parametrize("name", NAMES)
def test_without_points_the_plain_band_decides(name: OperatingPointName) -> None:
    assert point_in_force(None, inference(operating_point=name)) is None
    assert band_in_force(None, inference(operating_point=name)) == PLAIN_BAND
