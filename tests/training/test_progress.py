import json
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from training.progress import EpochLog, epoch_line, follow, skip_lines

METRICS: dict[str, Any] = {
    "epoch": 2,
    "loss": 0.61234,
    "clips_per_second": 12.34,
    "data_wait_share": 0.256,
    "skipped": [],
    "val_skipped": [],
    "val_auc": 0.98765,
    "val": {"undefined": {}},
}


def test_lines_come_as_they_are_written_until_the_end(tmp_path: Path) -> None:
    log, done, first_read = tmp_path / "epochs.jsonl", threading.Event(), threading.Event()
    log.touch()
    writer = EpochLog(log)
    writer.after_report(None, [{"epoch": 1}, {"epoch": "of another worker"}], None)

    def write_more() -> None:
        first_read.wait(10)
        writer.after_report(None, [{"epoch": 2, "loss": 0.5}], None)
        done.set()

    thread = threading.Thread(target=write_more)
    thread.start()
    seen = []
    for metrics in follow(log, done.is_set, seconds=0.001):
        seen.append(metrics)
        first_read.set()
    thread.join()
    assert seen == [{"epoch": 1}, {"epoch": 2, "loss": 0.5}]


def test_a_line_is_told_only_when_it_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "epochs.jsonl"
    log.write_text('{"epoch": 1}\n{"epo')
    steps = iter(["wait", "write", "end"])

    def done() -> bool:
        step = next(steps)
        if step == "write":
            with log.open("a") as file:
                file.write('ch": 2}\n')
        return step == "end"

    assert list(follow(log, done, seconds=0)) == [{"epoch": 1}, {"epoch": 2}]


def test_what_is_logged_is_json(tmp_path: Path) -> None:
    EpochLog(tmp_path / "log").after_report(None, [METRICS], None)
    assert json.loads((tmp_path / "log").read_text()) == METRICS


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "[bold]2/20[/]  loss 0.6123  validation AUC 0.9877  12.3 clips/s  waiting for data 26%"),
        ({"val_auc": None, "val": {"undefined": {"auc": "no real samples"}}}, "validation AUC none (no real samples)"),
        ({"skipped": [{}], "val_skipped": [{}, {}]}, "[yellow]skipped 3[/]"),
    ],
)
def test_an_epoch_is_told_in_a_line(change: dict[str, Any], said: str) -> None:
    assert said in epoch_line(METRICS | change, 20)


def test_nothing_skipped_is_not_mentioned() -> None:
    assert "skipped" not in epoch_line(METRICS, 20)


def test_each_skipped_video_is_told_once() -> None:
    skips = [{"video_id": name, "path": f"{name}[x].mp4", "code": "empty_file", "detail": "no bytes"} for name in "ab"]
    told: set[str] = set()
    first = list(skip_lines(METRICS | {"skipped": skips[:1], "val_skipped": skips}, told))
    assert [Text.from_markup(line).plain for line in first] == [
        "  skipped a[x].mp4: empty_file, no bytes",
        "  skipped b[x].mp4: empty_file, no bytes",
    ]
    assert list(skip_lines(METRICS | {"skipped": skips}, told)) == []
