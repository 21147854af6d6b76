"""The limit on the requests of each caller, on a clock that stands still until it is moved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.rates import Rates


class Clock:
    def __init__(self) -> None:
        self.now = 12345.678

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def admitted(rates: Rates, caller: str | None, tries: int) -> int:
    return sum(rates.take(caller) == 0 for _ in range(tries))


@pytest.mark.parametrize("per_minute", [1, 7, 60, 600])
def test_a_minutes_worth_at_once_then_as_many_as_the_limit_says(clock: Clock, per_minute: int) -> None:
    rates = Rates(per_minute, clock)
    assert admitted(rates, "a", 2 * per_minute) == per_minute
    for _ in range(10):
        clock.now += 60.001
        assert admitted(rates, "a", 2 * per_minute) == per_minute


def test_the_bucket_fills_evenly_and_no_further_than_full(clock: Clock) -> None:
    rates = Rates(60, clock)
    admitted(rates, "a", 60)
    clock.now += 10.001
    assert admitted(rates, "a", 60) == 10
    clock.now += 3600
    assert admitted(rates, "a", 1000) == 60


def test_each_caller_has_a_bucket(clock: Clock) -> None:
    rates = Rates(5, clock)
    assert [admitted(rates, caller, 9) for caller in ("a", "b", None)] == [5, 5, 5]
    assert [admitted(rates, caller, 9) for caller in ("a", "b", None)] == [0, 0, 0]


@given(st.integers(1, 300), st.floats(0, 1))
def test_what_a_refusal_says_is_true(per_minute: int, part: float) -> None:
    """After the seconds it names the next request is let in, and a good second earlier it is not."""
    clock = Clock()
    rates = Rates(per_minute, clock)
    admitted(rates, "a", per_minute)
    clock.now += part * 59 / per_minute
    seconds = rates.take("a")
    assert seconds >= 1
    clock.now += max(0.0, seconds - 1.001)  # the clock's numbers are rounded
    assert rates.take("a") > 0
    clock.now += 1.002
    assert rates.take("a") == 0


def test_refused_requests_take_nothing_out(clock: Clock) -> None:
    rates = Rates(6, clock)
    admitted(rates, "a", 1000)
    clock.now += 10.001
    assert rates.take("a") == 0
