"""How an extraction tells of itself: a live bar on a terminal, a line now and then elsewhere."""

import math
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 10.0
"""Between two plain lines, at least."""


class ExtractionProgress:
    """Counts reports, each video once, and shows the counts, the rate and the time left."""

    def __init__(self, console: Console, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Show `total` videos on `console`; `clock` gives seconds."""
        self._console, self._total, self._clock = console, total, clock
        self._seen = set[str]()
        self._clips = self._skipped = 0
        self._first = math.inf
        self._told = -math.inf
        self._bar = Progress(
            TextColumn("extracting"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("videos  {task.fields[counts]}  time left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, counts="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def hear(self, report: Mapping[str, Any]) -> None:
        """Count one video."""
        if report["video_id"] in self._seen:
            return
        self._first = min(self._first, self._clock())
        self._seen.add(report["video_id"])
        self._clips += report["clips"]
        self._skipped += bool(report["code"])
        self._bar.update(self._task, completed=len(self._seen), counts=self._counts())
        if not self._console.is_terminal:
            self._tell()

    def _counts(self) -> str:
        rate = f", {self._rate():.2f} videos/s" if self._rate() else ""
        return f"{self._clips} clips, {self._skipped} skipped{rate}"

    def _rate(self) -> float:
        """Videos per second since the first one; the actors' start does not count."""
        return (len(self._seen) - 1) / max(self._clock() - self._first, 1e-3)

    def _tell(self) -> None:
        now, done, rate = self._clock(), len(self._seen), self._rate()
        if now - self._told < PLAIN_SECONDS and done < self._total:
            return
        self._told = now
        left = f", about {(self._total - done) / rate:.0f} s left" if rate and done < self._total else ""
        self._console.print(f"{done}/{self._total} videos, {self._counts()}{left}")
