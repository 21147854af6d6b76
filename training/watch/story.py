"""What a run's events mean to whoever watches it: the state of the run, and lines with console markup."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.markup import escape

from aura_model.logging import printable
from training.watch.listeners import Event
from training.watch.pace import Pace

SKIPS_TOLD = 20
"""Skipped videos that get a line of their own; the rest is counted."""

PHASES = {"train": "training", "val": "validation"}

Clock = Callable[[], float]


def epoch_line(metrics: Mapping[str, Any], epochs: int) -> str:
    """One line on an epoch, with console markup."""
    auc = metrics["val_auc"]
    known = f"{auc:.4f}" if auc is not None else f"none ({metrics['val']['undefined']['auc']})"
    skipped = metrics["skipped"] + metrics["val_skipped"]
    return (
        f"epoch [bold]{metrics['epoch']}/{epochs}[/]  loss {figure(metrics['loss'])}  validation AUC {known}  "
        f"{speed(metrics)}" + (f"  [yellow]skipped {skipped}[/]" if skipped else "")
    )


def stop_line(metrics: Mapping[str, Any]) -> str:
    """One line on a run that ends before its last epoch."""
    stale = metrics["monitor"]["stale"]
    return f"stopped early: {stale} epochs without an improvement (training.monitor.patience)"


def skip_line(event: Event) -> str:
    """One line on a skipped video, with console markup."""
    said = f"{event['path']}: {event['code']}, {event['detail']}"
    return f"  [yellow]skipped[/] {escape(printable(said))}"


def progress_line(event: Event, left: str) -> str:
    """One line on where a run is; `left` is the time until its end."""
    place = f"epoch {event['epoch']}/{event['epochs']}, {PHASES[event['phase']]} {event['share']:.0%}"
    return f"{place}  step {event['step']}  loss {figure(event['loss'])}  {speed(event)}  {left}"


def speed(event: Mapping[str, Any], gap: str = "  ") -> str:
    """How fast clips are used, and what share of the time their making takes."""
    return f"{event['clips_per_second']:.1f} clips/s{gap}waiting for data {event['data_wait_share']:.0%}"


def figure(value: float | None) -> str:
    """A number of which four decimals count."""
    return "unknown" if value is None else f"{value:.4f}"


class Story:
    """What is known of a run from its events, and the lines that they are worth."""

    def __init__(self, skips: Path, earlier: Sequence[Mapping[str, Any]], clock: Clock) -> None:
        """See `make_view`."""
        self._place = escape(printable(str(skips)))
        self.pace = Pace(clock)
        self.aucs: dict[int, float | None] = {one["epoch"]: one["val_auc"] for one in earlier}
        self.skipped: set[tuple[str, str]] = set()
        self.done, self.epochs = 0, 0
        self.progress: Event | None = None
        """The last one of this epoch; in validation it holds the loss of training."""
        self._under_way = False

    def hear(self, event: Event) -> list[str]:
        """Take one event; returns lines with console markup. Kinds that mean nothing here are passed over."""
        tellers = {"progress": self._progress, "epoch": self._epoch, "skip": self._skip, "restart": self._restart}
        tell = tellers.get(event["kind"])
        return tell(event) if tell else []

    def end(self) -> list[str]:
        """The last lines."""
        more = len(self.skipped) > SKIPS_TOLD
        return [f"[yellow]skipped {len(self.skipped)} videos[/]: see {self._place}"] if more else []

    def left(self) -> str:
        """The time until the run's end."""
        seconds = self.pace.left(self.epochs - self.done) if self.epochs else None
        return "time left unknown" if seconds is None else f"{timedelta(seconds=round(seconds))} left"

    def auc(self) -> str:
        """The AUC of the last epoch, and the best one."""
        if not self.aucs:
            return "no AUC yet"
        last = self.aucs[max(self.aucs)]
        known = [auc for auc in self.aucs.values() if auc is not None]
        return f"AUC {figure(last)}" + (f" (best {max(known):.4f})" if known else "")

    def _progress(self, event: Event) -> list[str]:
        if event["loss"] is None and self.progress:
            event = {**event, "loss": self.progress["loss"]}
        self.epochs, self.done, self.progress, self._under_way = event["epochs"], event["epoch"] - 1, event, True
        self.pace.at(event["phase"], event["share"])
        return []

    def _epoch(self, event: Event) -> list[str]:
        """Workers that go on after an epoch post it again: then it is known, and told already; an early stop is not."""
        known, ends = event["epoch"] in self.aucs, self.progress and self.progress["epoch"] == event["epoch"]
        self._forget_after(event["epoch"])
        self.epochs, self.done, self.progress = event["epochs"], event["epoch"], None
        self.aucs[event["epoch"]] = event["val_auc"]
        (self.pace.end if ends else self.pace.begin)()
        stopped = [stop_line(event)] if event.get("stop") and event["epoch"] < event["epochs"] else []
        return stopped if known else [epoch_line(event, event["epochs"]), *stopped]

    def _skip(self, event: Event) -> list[str]:
        before = len(self.skipped)
        self.skipped.add((event["split"], event["video_id"]))
        if len(self.skipped) == before or before > SKIPS_TOLD:
            return []
        if before == SKIPS_TOLD:
            return [f"  [yellow]skipped[/] more than {SKIPS_TOLD} videos: from here on see {self._place}"]
        return [skip_line(event)]

    def _restart(self, event: Event) -> list[str]:
        self._forget_after(event["epoch"])
        self.done, self.progress = event["epoch"], None
        self.pace.begin()
        going_on = f"going on after epoch {event['epoch']}" if event["epoch"] else "beginning with epoch 1 again"
        if self._under_way:
            return [f"[yellow]workers restarted[/]; {going_on}"]
        return [going_on] if event["epoch"] else []

    def _forget_after(self, epoch: int) -> None:
        self.aucs = {one: auc for one, auc in self.aucs.items() if one <= epoch}
