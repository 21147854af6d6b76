import io

import pytest
from rich.console import Console

from training.watch.video_progress import VideoProgress


class Clock:
    """A clock that moves when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def run(clock: Clock, seconds: list[float], *, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, width=120, highlight=False, force_terminal=terminal)
    with VideoProgress(100, console, clock) as progress:
        for number, moment in enumerate(seconds):
            clock.now = 100.0 + moment
            progress.advance(failed=number % 4 == 1)
    return out.getvalue()


def test_elsewhere_than_on_a_terminal_a_line_comes_now_and_then(clock: Clock) -> None:
    assert run(clock, [5, 6, 7, 8, 9, 10, 14.5, 15, 21, 25], terminal=False).splitlines() == [
        "6 of 100 videos, 2 unusable, 1.00 videos/s, 94 s left",
        "9 of 100 videos, 2 unusable, 0.50 videos/s, 182 s left",
    ]


def test_one_video_says_nothing_of_the_speed(clock: Clock) -> None:
    assert run(clock, [60], terminal=False) == "1 of 100 videos, 0 unusable\n"


def test_a_terminal_shows_videos_speed_and_errors(clock: Clock) -> None:
    shown = run(clock, [10, 11, 12], terminal=True)
    assert "3/100" in shown
    assert "1.00 videos/s  1 unusable" in shown
