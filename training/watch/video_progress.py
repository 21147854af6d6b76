"""How far a pass over videos is: bars on a terminal, a line now and then elsewhere."""

import math
import time
from collections.abc import Callable
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 10.0


class VideoProgress:
    """Counts videos, and the unusable ones among them. A context manager."""

    def __init__(self, total: int, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._console = console
        self._clock = clock
        self._done = self._errors = 0
        self._told = clock()
        self._first = math.inf
        self._bars = Progress(
            TextColumn("videos"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.2f} videos/s  {task.fields[errors]} unusable  left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bars.add_task("videos", total=total, rate=0.0, errors=0)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def advance(self, *, failed: bool) -> None:
        """One more video is done; `failed`: it is unusable."""
        self._first = min(self._first, self._clock())
        self._done += 1
        self._errors += failed
        self._bars.update(self._task, advance=1, rate=self._rate(), errors=self._errors)
        if not self._console.is_terminal and self._clock() - self._told >= LINE_SECONDS:
            self._told = self._clock()
            self._console.print(self._line())

    def _rate(self) -> float:
        """Videos per second since the first one: starting the actors says nothing of those to come."""
        return (self._done - 1) / max(self._clock() - self._first, 1e-9)

    def _line(self) -> str:
        rate, said = self._rate(), f"{self._done} of {self._total} videos, {self._errors} unusable"
        return f"{said}, {rate:.2f} videos/s, {(self._total - self._done) / rate:.0f} s left" if rate else said
