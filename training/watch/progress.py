"""How a run is told to whoever watches it: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from training.watch.listeners import Event
from training.watch.story import PHASES, Clock, Story, figure, progress_line, speed

SILENCE = 30.0
"""Seconds without a line after which a plain view tells where the run is."""
BAR = 30
"""Characters of a bar."""


class PlainView:
    """Lines for a pipe or a log: epochs, skipped videos, restarts, and a sign of life in between."""

    def __init__(self, console: Console, story: Story, clock: Clock) -> None:
        """See `make_view`."""
        self._console, self._story, self._clock = console, story, clock
        self._told, self._closed = clock(), False

    def hear(self, event: Event) -> None:
        """Tell what is worth a line."""
        for line in self._story.hear(event):
            self.say(line)
        if self._clock() - self._told >= SILENCE and self._story.progress:
            self.say(progress_line(self._story.progress, self._story.left()))

    def say(self, line: str) -> None:
        """Print one line with console markup; characters that the console's encoding lacks are escaped."""
        encoding = self._console.encoding
        text = line.encode(encoding, "backslashreplace").decode(encoding)
        self._console.print(text, highlight=False, soft_wrap=True)
        self._told = self._clock()

    def close(self) -> None:
        """Tell the last lines, once."""
        if not self._closed:
            self._closed = True
            for line in self._story.end():
                self.say(line)


class LiveView(PlainView):
    """Bars at the foot of a terminal, with the lines above them; they go when the view is closed."""

    def __init__(self, console: Console, story: Story, clock: Clock) -> None:
        """See `make_view`. The bars are there from now on, until `close`."""
        super().__init__(console, story, clock)
        self._live = Live(
            Spinner("line", "starting the workers"),
            console=console,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start()

    def hear(self, event: Event) -> None:
        """Tell what is worth a line, and move the bars."""
        for line in self._story.hear(event):
            self.say(line)
        if self._story.epochs:
            self._live.update(bars(self._story))

    def close(self) -> None:
        """Give the terminal back, and tell the last lines."""
        self._live.stop()
        super().close()


def make_view(
    console: Console, skips: Path, earlier: Sequence[Mapping[str, Any]] = (), clock: Clock = time.monotonic
) -> PlainView:
    """A view of a run: `LiveView` on a terminal that can move its cursor, `PlainView` elsewhere.

    Args:
        console: where to tell it.
        skips: the file that lists skipped videos, to be named.
        earlier: the epochs of the run so far, as `EpochsFile.epochs` holds them.
        clock: gives seconds.
    """
    view = LiveView if console.is_interactive else PlainView
    return view(console, Story(skips, earlier, clock), clock)


def bars(story: Story) -> RenderableType:
    """The bars of the run and of the epoch's phase, and the latest figures; `story` has heard how many epochs."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=max(map(len, PHASES.values())))  # else the bars move when the phase changes
    epoch = f"epoch {min(story.done + 1, story.epochs)}/{story.epochs}"
    table.add_row("run", _bar((story.done + story.pace.position()) / story.epochs), f"{epoch}   {story.left()}")
    event = story.progress
    if event is None:
        waiting = "finishing" if story.done == story.epochs else "preparing"
        table.add_row(waiting, ProgressBar(pulse=True, width=BAR), "")
        return Group(table, Text(story.auc()))
    skipped = f"   skipped {len(story.skipped)}" if story.skipped else ""
    place = f"{event['share']:.0%}   step {event['step']}{skipped}"
    table.add_row(PHASES[event["phase"]], _bar(event["share"]), place)
    figures = f"loss {figure(event['loss'])}   {story.auc()}   {speed(event, '   ')}"
    return Group(table, Text(figures))


def _bar(share: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=share, width=BAR)
