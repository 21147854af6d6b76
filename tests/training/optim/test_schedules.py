import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from aura_model.config import Config
from training.optim.schedules import Schedule

Make = Callable[..., tuple[Schedule, torch.optim.Optimizer]]


@pytest.fixture
def make(make_config: Callable[..., Config]) -> Make:
    """A schedule of an optimiser with rate 1 that has done a step; further settings of `training`."""

    def build(name: str, *settings: str, warmup: int = 0) -> tuple[Schedule, torch.optim.Optimizer]:
        overrides = ("learning_rate=1", f"warmup_steps={warmup}", f"scheduler.name={name}", *settings)
        config = make_config(*(f"training.{setting}" for setting in overrides)).training
        weight = torch.nn.Parameter(torch.ones(1))
        optimizer = torch.optim.SGD([weight], lr=config.learning_rate)
        schedule = Schedule(optimizer, config)
        weight.grad = torch.ones(1)
        with schedule.warmed(0):
            optimizer.step()
        return schedule, optimizer

    return build


def rates(schedule: Schedule, monitored: list[float | None]) -> list[float]:
    """The rate of each epoch, the first one included."""
    found = [schedule.rate(10**9)]
    for figure in monitored:
        schedule.end_epoch(figure)
        found.append(schedule.rate(10**9))
    return found


def test_a_cosine_restarts_after_longer_and_longer_periods(make: Make) -> None:
    schedule, _ = make("cosine_restarts", "scheduler.period=2", "scheduler.multiplier=2", "scheduler.floor=0.1")
    first = [1.0, 0.55]
    second = [0.1 + 0.9 * (1 + math.cos(math.pi * share)) / 2 for share in (0, 0.25, 0.5, 0.75)]
    assert rates(schedule, [None] * 6) == pytest.approx([*first, *second, 1.0])


def test_a_plateau_lowers_the_rate_down_to_the_floor(make: Make) -> None:
    schedule, _ = make("plateau", "scheduler.factor=0.5", "scheduler.patience=1", "scheduler.floor=0.2")
    figures: list[float | None] = [0.5, 0.6, 0.6, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]
    expected = [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]
    assert rates(schedule, figures) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("mode", "delta", "figures", "last"),
    [
        ("max", 0.0, [0.1, 0.2, 0.3], 1.0),
        ("min", 0.0, [0.1, 0.2, 0.3], 0.25),
        ("min", 0.0, [0.3, 0.2, 0.1], 1.0),
        ("max", 0.15, [0.1, 0.2, 0.3], 0.5),
    ],
)
def test_a_plateau_sees_what_the_monitor_sees(
    make: Make, mode: str, delta: float, figures: list[float | None], last: float
) -> None:
    schedule, _ = make(
        "plateau",
        "scheduler.factor=0.5",
        "scheduler.patience=0",
        "scheduler.floor=0",
        f"monitor.mode={mode}",
        f"monitor.min_delta={delta}",
    )
    assert rates(schedule, figures)[-1] == pytest.approx(last)


@pytest.mark.parametrize("figure", [None, math.nan])
def test_an_undefined_figure_does_not_count_for_a_plateau(make: Make, figure: float | None) -> None:
    schedule, _ = make("plateau", "scheduler.factor=0.5", "scheduler.patience=1", "scheduler.floor=0")
    assert rates(schedule, [0.5, *[figure] * 5, 0.5])[-1] == 1
    assert rates(schedule, [0.5])[-1] == 0.5


def test_a_constant_rate_stays(make: Make) -> None:
    schedule, _ = make("constant")
    assert rates(schedule, [0.5, 0.4, None]) == [1.0] * 4
    assert schedule.scheduler is None


def test_the_rate_warms_up_step_by_step(make: Make) -> None:
    schedule, optimizer = make("constant", warmup=4)
    seen = []
    for step in range(6):
        with schedule.warmed(step):
            seen.append(optimizer.param_groups[0]["lr"])
        assert schedule.rate(step) == seen[-1]
        assert optimizer.param_groups[0]["lr"] == 1
    assert seen == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_a_failing_step_leaves_the_rate_as_it_was(make: Make) -> None:
    schedule, optimizer = make("constant", warmup=4)
    with pytest.raises(RuntimeError, match="boom"), schedule.warmed(0):
        raise RuntimeError("boom")
    assert optimizer.param_groups[0]["lr"] == 1


@pytest.mark.parametrize("name", ["cosine_restarts", "plateau"])
def test_the_warm_up_disturbs_no_scheduler(make: Make, name: str) -> None:
    """Epochs that end while it still warms up leave the same rates and state as epochs without one."""
    settings = ("scheduler.period=3", "scheduler.patience=0", "scheduler.factor=0.5")
    plain, _ = make(name, *settings)
    warmed, optimizer = make(name, *settings, warmup=100)
    for epoch in range(5):
        with warmed.warmed(epoch):
            optimizer.step()
        for schedule in (plain, warmed):
            schedule.end_epoch(0.5)
        assert warmed.rate(100) == plain.rate(100)
    assert plain.scheduler is not None
    assert warmed.scheduler is not None
    assert warmed.scheduler.state_dict() == plain.scheduler.state_dict()


def settings_of(name: str) -> tuple[str, ...]:
    return (name, "scheduler.period=3", "scheduler.multiplier=2", "scheduler.patience=1", "scheduler.factor=0.5")


@pytest.mark.parametrize("name", ["cosine_restarts", "plateau", "constant"])
def test_it_goes_on_where_it_stood(make: Make, name: str) -> None:
    (first, old), (second, new) = make(*settings_of(name)), make(*settings_of(name))
    rates(first, [0.5, 0.5])
    state: dict[str, Any] | None = None if first.scheduler is None else first.scheduler.state_dict()
    assert second.fits(state)
    new.load_state_dict(old.state_dict())
    second.restore(state)
    assert rates(second, [0.5, 0.6, 0.6, 0.6, 0.6]) == rates(first, [0.5, 0.6, 0.6, 0.6, 0.6])


@pytest.mark.parametrize("ours", ["cosine_restarts", "plateau", "constant"])
@pytest.mark.parametrize("theirs", ["cosine_restarts", "plateau", "constant"])
def test_the_state_of_another_scheduler_does_not_fit(make: Make, ours: str, theirs: str) -> None:
    other = make(theirs)[0].scheduler
    assert make(ours)[0].fits(None if other is None else other.state_dict()) is (ours == theirs)
