"""How a run tells of itself: a JSON line per epoch in a file, which the console follows."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ray.train import Checkpoint, UserCallback
from rich.markup import escape


class EpochLog(UserCallback):
    """Appends the metrics of each epoch to a JSON lines file; runs in Ray Train's controller."""

    def __init__(self, path: Path) -> None:
        """Write to `path`, which lies on the machine that started the run."""
        self._path = path

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:  # noqa: ARG002
        """Append one line; all workers report the same metrics."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics[0]) + "\n")


def follow(path: Path, done: Callable[[], bool], seconds: float = 0.2) -> Iterator[dict[str, Any]]:
    """The lines of an `EpochLog` as they come, until `done` and the file is read to its end."""
    pause, rest = threading.Event(), ""
    with path.open(encoding="utf-8") as file:
        while True:
            last_round = done()
            *lines, rest = (rest + file.read()).split("\n")
            yield from map(json.loads, lines)
            if last_round:
                return
            pause.wait(seconds)


def skip_lines(metrics: Mapping[str, Any], told: set[str]) -> Iterator[str]:
    """A line on each skipped video that is not in `told`, which grows by it; with console markup."""
    for skip in (*metrics["skipped"], *metrics["val_skipped"]):
        if skip["video_id"] not in told:
            told.add(skip["video_id"])
            yield f"  [yellow]skipped[/] {escape(skip['path'])}: {skip['code']}, {escape(skip['detail'])}"


def epoch_line(metrics: Mapping[str, Any], epochs: int) -> str:
    """One line on an epoch, with console markup."""
    auc = metrics["val_auc"]
    known = f"{auc:.4f}" if auc is not None else f"none ({metrics['val']['undefined']['auc']})"
    skipped = len(metrics["skipped"]) + len(metrics["val_skipped"])
    return (
        f"epoch [bold]{metrics['epoch']}/{epochs}[/]  loss {metrics['loss']:.4f}  validation AUC {known}  "
        f"{metrics['clips_per_second']:.1f} clips/s  waiting for data {metrics['data_wait_share']:.0%}"
        + (f"  [yellow]skipped {skipped}[/]" if skipped else "")
    )
