import csv
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.watch.run_files import SKIP_FIELDS, SKIPS_PERIOD, EpochsFile, SkipsFile


def epoch(number: int, **figures: Any) -> dict[str, Any]:
    return {"kind": "epoch", "epoch": number, **figures}


def skip(video: str = "a", split: str = "train", **change: Any) -> dict[str, Any]:
    given = {"video_id": video, "path": f"videos/{video}.mp4", "split": split}
    return {"kind": "skip", **given, "code": "empty_file", "detail": "no bytes", **change}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def epochs_path(tmp_path: Path) -> Path:
    return tmp_path / "epochs.jsonl"


@pytest.fixture
def skips_path(tmp_path: Path) -> Path:
    return tmp_path / "skipped.csv"


def test_an_epoch_is_a_line_with_all_figures_as_soon_as_it_is_heard(epochs_path: Path) -> None:
    file = EpochsFile(epochs_path)
    figures = {"loss": 0.5, "val": {"auc": 0.9, "undefined": {}}, "checkpoint": "one.pth"}
    file.hear(epoch(1, **figures))
    assert lines(epochs_path) == [{"epoch": 1, **figures}]
    file.hear(epoch(2))
    assert epochs_path.read_text().count("\n") == 2


def test_other_events_are_no_epochs(epochs_path: Path) -> None:
    file = EpochsFile(epochs_path)
    for event in ({"kind": "progress", "epoch": 1}, {"kind": "restart", "epoch": 0}, skip()):
        file.hear(event)
    file.close()
    assert not epochs_path.exists()


@pytest.mark.parametrize(
    ("heard", "kept"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([1, 2, 2], [1, 2]),
        ([1, 2, 3, 2], [1, 2]),
        ([1, 2, 3, 2, 3, 4], [1, 2, 3, 4]),
        ([1, 2, 1], [1]),
        ([5, 6], [5, 6]),
    ],
)
def test_an_epoch_that_comes_again_counts_and_drops_later_ones(
    epochs_path: Path, heard: list[int], kept: list[int]
) -> None:
    file = EpochsFile(epochs_path)
    for turn, number in enumerate(heard):
        file.hear(epoch(number, turn=turn))
    last = {number: turn for turn, number in enumerate(heard)}
    assert lines(epochs_path) == [{"epoch": number, "turn": last[number]} for number in kept]
    assert list(file.epochs) == lines(epochs_path)


def test_a_resumed_run_goes_on_in_the_file(epochs_path: Path) -> None:
    for number in (1, 2, 3):
        EpochsFile(epochs_path).hear(epoch(number, run="first"))
    resumed = EpochsFile(epochs_path)
    assert [one["epoch"] for one in resumed.epochs] == [1, 2, 3]
    resumed.hear(epoch(3, run="second"))
    assert [one["run"] for one in lines(epochs_path)] == ["first", "first", "second"]


@pytest.mark.parametrize(
    "foreign", ['{"epoch": 2, "lo', "", "[1, 2]", '"text"', '{"loss": 1}', '{"epoch": "2"}', "\ufffd\x00"]
)
def test_a_torn_or_foreign_line_is_dropped(epochs_path: Path, foreign: str) -> None:
    epochs_path.write_text('{"epoch": 1}\n' + foreign)
    file = EpochsFile(epochs_path)
    assert file.epochs == ({"epoch": 1},)
    file.hear(epoch(2))
    assert lines(epochs_path) == [{"epoch": 1}, {"epoch": 2}]


def test_bytes_that_are_no_text_are_dropped(epochs_path: Path) -> None:
    epochs_path.write_bytes(b'{"epoch": 1}\n\xff\xfe\n')
    assert EpochsFile(epochs_path).epochs == ({"epoch": 1},)


def test_figures_that_json_cannot_hold_are_null(epochs_path: Path) -> None:
    EpochsFile(epochs_path).hear(epoch(1, loss=math.nan, val={"auc": np.float32(0.5), "eer": math.inf}))
    assert lines(epochs_path) == [{"epoch": 1, "loss": None, "val": {"auc": 0.5, "eer": None}}]


def test_names_in_any_script_stay_one_line(epochs_path: Path) -> None:
    EpochsFile(epochs_path).hear(epoch(1, checkpoint="é\u2028\n"))
    assert EpochsFile(epochs_path).epochs[0]["checkpoint"] == "é\u2028\n"


KILLED = """
import os, signal, sys
from pathlib import Path
from training.watch.run_files import EpochsFile
file = EpochsFile(Path(sys.argv[1]))
file.hear({"kind": "epoch", "epoch": 1, "loss": 1.0})
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
file.hear({"kind": "epoch", "epoch": 2, "loss": 2.0})
"""


def test_a_killed_process_leaves_whole_lines(epochs_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    ended = subprocess.run([sys.executable, "-c", KILLED, str(epochs_path)], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert lines(epochs_path) == [{"epoch": 1, "loss": 1.0}]
    EpochsFile(epochs_path).hear(epoch(2))
    assert [path.name for path in epochs_path.parent.iterdir()] == ["epochs.jsonl"]


def test_skipped_videos_are_rows_sorted_by_split_and_video(skips_path: Path) -> None:
    file = SkipsFile(skips_path)
    for event in (skip("b"), skip("c", "test"), skip("a"), skip("a", "val")):
        file.hear(event)
    file.close()
    header, *found = rows(skips_path)
    assert header == list(SKIP_FIELDS) == ["video_id", "path", "split", "code", "detail"]
    assert [(row[2], row[0]) for row in found] == [("test", "c"), ("train", "a"), ("train", "b"), ("val", "a")]
    assert found[1] == ["a", "videos/a.mp4", "train", "empty_file", "no bytes"]


def test_a_video_has_one_row_with_the_later_reason(skips_path: Path) -> None:
    file = SkipsFile(skips_path)
    for code in ("empty_file", "decode_timeout", "corrupt_video"):
        file.hear(skip(code=code))
    file.close()
    assert [row[3] for row in rows(skips_path)[1:]] == ["corrupt_video"]


def test_the_file_is_written_at_most_once_a_period(skips_path: Path) -> None:
    clock = Clock()
    file = SkipsFile(skips_path, clock)
    file.hear(skip("a"))
    assert len(rows(skips_path)) == 2
    clock.now += SKIPS_PERIOD - 0.1
    file.hear(skip("b"))
    assert len(rows(skips_path)) == 2
    clock.now += 0.1
    file.hear({"kind": "progress"})
    assert len(rows(skips_path)) == 3
    file.hear(skip("c"))
    file.close()
    assert len(rows(skips_path)) == 4


def test_what_is_known_already_is_not_written_again(skips_path: Path) -> None:
    clock = Clock()
    file = SkipsFile(skips_path, clock)
    file.hear(skip())
    skips_path.unlink()
    clock.now += 10 * SKIPS_PERIOD
    file.hear(skip())
    file.close()
    assert not skips_path.exists()


def test_a_run_that_skipped_nothing_leaves_the_header(skips_path: Path) -> None:
    file = SkipsFile(skips_path)
    file.close()
    assert rows(skips_path) == [list(SKIP_FIELDS)]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-rf", "'-rf"),
        ("@sum", "'@sum"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("'=1", "''=1"),
        ("''-", "'''-"),
        ("'quoted'", "'quoted'"),
        ("a=1", "a=1"),
        ("", ""),
    ],
)
def test_a_cell_never_begins_like_a_formula_and_reads_back_the_same(skips_path: Path, text: str, cell: str) -> None:
    first = SkipsFile(skips_path)
    first.hear(skip(text, detail=text))
    first.close()
    row = rows(skips_path)[1]
    assert (row[0], row[4]) == (cell, cell)
    resumed = SkipsFile(skips_path)
    resumed.hear(skip(text, detail=text))
    resumed.hear(skip("other"))
    resumed.close()
    assert sorted(one[0] for one in rows(skips_path)[1:]) == sorted([cell, "other"])


@pytest.mark.parametrize("name", ["a,b", 'a"b', "a\nb", "é", "\u202egpj", "a\r\nb", "\udcff raw byte", "a\x00b"])
def test_any_name_makes_one_row_that_is_known_again(skips_path: Path, name: str) -> None:
    for _ in range(2):
        file = SkipsFile(skips_path)
        file.hear(skip(name))
        file.close()
    _, *found = rows(skips_path)
    assert [row[0] for row in found] == [name.encode("utf-8", "backslashreplace").decode()]


def test_a_resumed_run_goes_on_in_the_table(skips_path: Path) -> None:
    for video in ("b", "a"):
        file = SkipsFile(skips_path)
        file.hear(skip(video))
        file.close()
    assert [row[0] for row in rows(skips_path)[1:]] == ["a", "b"]


def test_a_table_that_a_spreadsheet_saved_anew_does_not_end_the_run(skips_path: Path) -> None:
    skips_path.write_bytes("video_id;path\r\né;x\r\n".encode("latin-1"))
    file = SkipsFile(skips_path)
    file.hear(skip())
    file.close()
    assert rows(skips_path)[1:] == [["a", "videos/a.mp4", "train", "empty_file", "no bytes"]]
