"""Where time goes."""

import pytest

from aura_model import stopwatch
from aura_model.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [100.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    return now


def test_a_new_watch_has_no_stages(clock):
    assert Stopwatch().seconds == {}


def test_laps_add_up_by_stage(clock):
    watch = Stopwatch()
    for step, stage in [(1.0, "open"), (0.5, "decode"), (2.0, "faces"), (0.25, "decode")]:
        clock[0] += step
        watch.lap(stage)
    assert watch.seconds == {"open": 1.0, "decode": 0.75, "faces": 2.0}


def test_nothing_is_lost_between_laps(clock):
    watch = Stopwatch()
    for index in range(10):
        clock[0] += index
        watch.lap(f"stage{index % 3}")
    assert sum(watch.seconds.values()) == sum(range(10))
