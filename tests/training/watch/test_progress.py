import io
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from training.watch.progress import SILENCE, LiveView, PlainView, bars, make_view
from training.watch.story import Story

SKIPS = Path("runs/one/skipped.csv")
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def epoch(number: int, **change: Any) -> dict[str, Any]:
    figures = {"loss": 0.5, "clips_per_second": 12.34, "data_wait_share": 0.05, "skipped": 0, "val_skipped": 0}
    scores = {"val_auc": 0.75, "val": {"undefined": {}}}
    return {"kind": "epoch", "epoch": number, "epochs": 4, "step": 10, **figures, **scores, **change}


def progress(number: int = 1, phase: str = "train", share: float = 0.5, **change: Any) -> dict[str, Any]:
    figures = {"step": 15, "loss": 0.7, "clips_per_second": 12.34, "data_wait_share": 0.05}
    return {"kind": "progress", "epoch": number, "epochs": 4, "phase": phase, "share": share, **figures, **change}


def skip(path: str = "a.mp4", video: str = "a") -> dict[str, Any]:
    reason = {"code": "empty_file", "detail": "no bytes"}
    return {"kind": "skip", "video_id": video, "path": path, "split": "train", **reason}


def terminal(**options: Any) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=80, highlight=False, **{"color_system": None} | options
    )


def pipe() -> Console:
    return Console(file=io.StringIO(), width=80)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def view(clock: Clock) -> Iterator[Callable[[Console], PlainView]]:
    """Makes a view of a console, which is closed at the end."""
    views = []

    def make(console: Console) -> PlainView:
        views.append(make_view(console, SKIPS, clock=clock))
        return views[-1]

    yield make
    for one in views:
        one.close()


Make = Callable[[Console], PlainView]


@pytest.mark.parametrize(
    ("console", "kind"),
    [
        (terminal(), LiveView),
        (terminal(force_interactive=False), PlainView),
        (pipe(), PlainView),
        (Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"}), PlainView),
    ],
)
def test_bars_are_for_terminals_that_can_move_their_cursor(view: Make, console: Console, kind: type[PlainView]) -> None:
    assert type(view(console)) is kind


@pytest.mark.parametrize("make", [terminal, pipe])
def test_epochs_skipped_videos_and_restarts_are_lines(view: Make, make: Callable[[], Console]) -> None:
    console = make()
    shown = view(console)
    for event in (progress(), skip("[x]" * 50), epoch(1), {"kind": "restart", "epoch": 1}, epoch(2)):
        shown.hear(event)
    shown.close()
    text = written(console)
    assert text.count("epoch 1/4  loss 0.5000  validation AUC 0.7500  12.3 clips/s  waiting for data 5%") == 1
    assert "epoch 2/4  loss" in text
    assert f"skipped {'[x]' * 50}: empty_file, no bytes" in text
    assert "workers restarted; going on after epoch 1" in text


def test_a_pipe_gets_whole_lines_and_no_escape_codes(view: Make) -> None:
    console = pipe()
    for event in (skip("long/" * 100 + "\x1b[2J"), epoch(1)):
        view(console).hear(event)
    assert "\x1b" not in written(console)
    assert len(written(console).splitlines()) == 2


def test_a_pipe_hears_a_sign_of_life_only_after_a_silence(view: Make, clock: Clock) -> None:
    console = pipe()
    shown = view(console)
    for _ in range(10):
        clock.now += SILENCE / 10 - 0.01
        shown.hear(progress())
    assert written(console) == ""
    for _ in range(10):
        clock.now += SILENCE / 10
        shown.hear(progress(share=0.6))
    assert written(console).splitlines() == [
        "epoch 1/4, training 60%  step 15  loss 0.7000  12.3 clips/s  waiting for data 5%  0:03:06 left"
    ]


def test_any_line_breaks_the_silence(view: Make, clock: Clock) -> None:
    console = pipe()
    shown = view(console)
    for event in (skip(), progress(), epoch(1), progress(2)):
        clock.now += SILENCE - 1
        shown.hear(event)
        clock.now += 1 if event["kind"] == "progress" else 0
    assert [line.split()[0] for line in written(console).splitlines()] == ["skipped", "epoch"]


def test_no_sign_of_life_before_there_is_any(view: Make, clock: Clock) -> None:
    console = pipe()
    clock.now += 10 * SILENCE
    view(console).hear({"kind": "restart", "epoch": 0})
    assert written(console) == ""


@pytest.mark.parametrize("name", ["é.mp4", "\udcff.mp4", "日本.mp4"])
def test_names_that_the_console_cannot_show_do_not_end_the_view(view: Make, name: str) -> None:
    raw = io.BytesIO()
    shown = view(Console(file=io.TextIOWrapper(raw, "ascii", write_through=True), width=80))
    shown.hear(skip(name))
    assert raw.getvalue().decode("ascii").startswith("  skipped \\")


def story_of(clock: Clock, *events: dict[str, Any]) -> Story:
    story = Story(SKIPS, [], clock)
    for event in events:
        story.hear(event)
    return story


def drawn(story: Story, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=True)
    console.print(bars(story))
    return [line.rstrip() for line in written(console).splitlines()]


def test_bars_tell_where_the_run_is(clock: Clock) -> None:
    story = story_of(clock, progress(1, share=0.0), skip())
    clock.now = 60
    for event in (progress(1, "val", 0.0), epoch(1), progress(2, share=0.5)):
        story.hear(event)
    run, phase, figures = drawn(story)
    assert run.startswith("run ")
    assert run.endswith("epoch 2/4   0:02:30 left")
    assert phase.startswith("training ")
    assert phase.endswith("50%   step 15   skipped 1")
    assert figures == "loss 0.7000   AUC 0.7500 (best 0.7500)   12.3 clips/s   waiting for data 5%"


def test_bars_grow_with_the_shares(clock: Clock) -> None:
    story = story_of(clock, progress(1, share=0.0), epoch(1), epoch(2), progress(3, share=0.5))
    run, phase, _ = drawn(story)
    # ━ is done where no colour tells it, and the rest is left blank
    assert run.count("━") == pytest.approx(30 * 2.5 / 4, abs=1)
    assert phase.count("━") == pytest.approx(30 / 2, abs=1)


def test_bars_keep_their_place_when_the_phase_changes(clock: Clock) -> None:
    lines = [drawn(story_of(clock, progress(1, phase)))[1] for phase in ("train", "val")]
    assert lines[0].index("━") == lines[1].index("━")


@pytest.mark.parametrize(
    ("events", "word"),
    [([progress(1), epoch(1)], "preparing"), ([progress(4), epoch(4)], "finishing")],
)
def test_between_epochs_nothing_is_made_up(clock: Clock, events: list[dict[str, Any]], word: str) -> None:
    _, phase, figures = drawn(story_of(clock, *events))
    assert phase.startswith(word)
    assert figures == "AUC 0.7500 (best 0.7500)"


def test_all_is_legible_in_eighty_columns(clock: Clock) -> None:
    worst = progress(1, "val", 1.0, step=1234567, clips_per_second=1234.5, data_wait_share=1.0)
    lines = drawn(story_of(clock, epoch(1), worst, skip()))
    assert len(lines) == 3
    assert all(len(line) <= 80 for line in lines)
    assert not any("…" in line for line in lines)


def test_bars_are_gone_and_the_cursor_is_back_after_the_end(view: Make) -> None:
    console = terminal()
    before = sys.stdout, sys.stderr
    shown = view(console)
    shown.hear(progress())
    shown.close()
    shown.close()
    text = written(console)
    assert text.count(HIDE_CURSOR) == text.count(SHOW_CURSOR) == 1
    assert text.index(HIDE_CURSOR) < text.index("training") < text.index(SHOW_CURSOR)
    assert (sys.stdout, sys.stderr) == before


def test_a_terminal_shows_life_before_the_first_event(view: Make) -> None:
    console = terminal()
    view(console).close()
    assert "starting the workers" in written(console)


def test_the_last_lines_are_told_once(view: Make) -> None:
    console = pipe()
    shown = view(console)
    for number in range(30):
        shown.hear(skip(video=str(number)))
    shown.close()
    shown.close()
    assert written(console).count(f"skipped 30 videos: see {SKIPS}") == 1


INTERRUPTED = """
import signal
import time
from pathlib import Path
from rich.console import Console
from training.watch.progress import make_view

signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may have started deaf to it
view = make_view(Console(), Path("skipped.csv"))
try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    view.close()
"""


def test_an_interrupted_run_gives_the_terminal_back() -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", INTERRUPTED]
    process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while b"ready" not in seen:
        seen += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    while chunk := read_from(ours):
        seen += chunk
    os.close(ours)
    assert process.wait() == -signal.SIGINT
    assert seen.count(HIDE_CURSOR.encode()) == seen.count(SHOW_CURSOR.encode()) == 1
    assert seen.index(SHOW_CURSOR.encode()) > seen.index(HIDE_CURSOR.encode())


def read_from(terminal_end: int) -> bytes:
    """What the process wrote; nothing once it has ended."""
    try:
        return os.read(terminal_end, 4096)
    except OSError:  # how Linux tells of the end
        return b""
