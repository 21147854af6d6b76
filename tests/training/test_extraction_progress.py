"""Extraction tells its counts, its rate and what is left, on terminals and elsewhere."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from training.extraction_progress import ExtractionProgress


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def report(video_id: int, clips: int = 4, code: str = "") -> dict[str, Any]:
    return {"video_id": str(video_id), "clips": clips, "code": code}


def lines(clock: Clock, total: int, reports: Iterator[tuple[float, dict[str, Any]]]) -> list[str]:
    """What is printed where there is no terminal, for reports after so many seconds."""
    text = io.StringIO()
    with ExtractionProgress(Console(file=text, width=200), total, clock) as progress:
        for seconds, one in reports:
            clock.now += seconds
            progress.hear(one)
    return text.getvalue().splitlines()


def test_lines_come_now_and_then_and_at_the_end(clock: Clock) -> None:
    found = lines(clock, 50, ((1.0, report(number)) for number in range(50)))
    assert len(found) == 6
    assert found[0] == "1/50 videos, 4 clips, 0 skipped"
    assert found[1] == "11/50 videos, 44 clips, 0 skipped, 1.00 videos/s, about 39 s left"
    assert found[-1] == "50/50 videos, 200 clips, 0 skipped, 1.00 videos/s"


def test_skipped_videos_are_counted_and_reports_that_come_again_are_not(clock: Clock) -> None:
    found = lines(clock, 3, iter([(1, report(1)), (1, report(1)), (1, report(2, 0, "no_clips")), (2, report(3))]))
    assert found[-1] == "3/3 videos, 8 clips, 1 skipped, 0.50 videos/s"


def test_a_terminal_shows_a_bar(clock: Clock) -> None:
    text = io.StringIO()
    with ExtractionProgress(Console(file=text, force_terminal=True, width=120), 2, clock) as progress:
        for number in (1, 2):
            progress.hear(report(number))
    assert "2/2" in text.getvalue()
    assert "8 clips, 0 skipped" in text.getvalue()


def test_nothing_is_printed_for_nothing(clock: Clock) -> None:
    assert lines(clock, 3, iter(())) == []
