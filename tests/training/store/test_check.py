"""The table of skipped videos, the share that is too much, and one file in two splits."""

import csv
from pathlib import Path
from typing import Any

import pytest

from training.store.check import SHOWN, same_media, skip_summary, too_many_skipped, write_skipped
from training.store.files import StoreFiles
from training.store.index import StoredVideo


def video(number: int, code: str = "", split: Any = "train", sha256: str = "") -> StoredVideo:
    return StoredVideo(
        video_id=f"v{number}",
        label=0,
        split=split,
        path=f"/{number}.mp4",
        columns={},
        clips=0 if code else 4,
        code=code,
        detail=f"why {number}" if code else "",
        sha256=sha256,
    )


def test_the_table_holds_each_skipped_video_sorted(tmp_path: Path) -> None:
    write_skipped(StoreFiles(str(tmp_path)), [video(3, "b"), video(2, "a", "val"), video(1), video(0, "a")])
    with (tmp_path / "skipped.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["video_id", "path", "split", "code", "detail"],
        ["v0", "/0.mp4", "train", "a", "why 0"],
        ["v3", "/3.mp4", "train", "b", "why 3"],
        ["v2", "/2.mp4", "val", "a", "why 2"],
    ]


def test_the_table_is_written_anew(tmp_path: Path) -> None:
    for videos in ([video(1, "a")], [video(2, "b")], []):
        write_skipped(StoreFiles(str(tmp_path)), videos)
    assert (tmp_path / "skipped.csv").read_text().splitlines() == ["video_id,path,split,code,detail"]


def test_codes_are_counted() -> None:
    assert skip_summary([video(1, "b"), video(2, "a"), video(3, "c"), video(4, "c"), video(5)]) == [
        "2 skipped: c",
        "1 skipped: a",
        "1 skipped: b",
    ]


@pytest.mark.parametrize(("most", "refused"), [(0.5, False), (0.49, True), (0.0, True), (1.0, False)])
def test_a_share_above_the_bound_is_told_with_the_videos(most: float, refused: bool) -> None:
    videos = [video(1, "a", "val"), video(2, "", "val"), *(video(number) for number in range(3, 30))]
    found = list(too_many_skipped(videos, most))
    assert bool(found) == refused
    if refused:
        assert "1 of 2 videos of the split val" in found[0]
        assert found[1:] == ["  /1.mp4: a, why 1"]


def test_a_long_list_is_cut() -> None:
    found = list(too_many_skipped([video(number, "a") for number in range(SHOWN + 5)], 0.5))
    assert len(found) == SHOWN + 2
    assert "5 more" in found[-1]


def test_one_file_in_two_splits_is_told_by_both_names() -> None:
    videos = [video(1, sha256="x"), video(2, sha256="x"), video(3, split="test", sha256="x"), video(4, sha256="y")]
    [line] = same_media(videos)
    assert "'v1' (train, /1.mp4) and 'v3' (test, /3.mp4)" in line
    assert list(same_media([*videos[:2], video(5), video(6, split="val")])) == []
