"""What is left to do: whole groups that do not move, and no video that is another one in the store."""

from dataclasses import replace
from typing import Any

import pytest

from training.data.errors import DatasetError
from training.data.manifest import Sample
from training.store.files import StoreError
from training.store.index import StoredLocation, StoredVideo
from training.store.work import Work, plan_work


def sample(number: int, split: Any = "train", **fields: Any) -> Sample:
    return replace(Sample(f"v{number}", number % 2, split, f"/{number}.mp4", {"identity": f"p{number}"}), **fields)


def stored(one: Sample) -> StoredLocation:
    video = StoredVideo(
        video_id=one.video_id,
        label=1 if one.label else 0,
        split=one.split,
        path=one.path,
        columns=dict(one.columns),
        clips=1,
        code="",
        detail="",
        sha256="",
    )
    return StoredLocation("file.parquet", 0, video)


def ids(work: Work) -> list[list[str]]:
    return [[one.video_id for one in group] for group in work.groups]


def test_groups_are_of_one_split_and_in_the_order_of_the_data_set() -> None:
    samples = [sample(1, "val"), sample(2), sample(3), sample(4, "test"), sample(5), sample(6, "val")]
    work = plan_work(samples, [], 2)
    assert ids(work) == [["v2", "v3"], ["v5"], ["v1", "v6"], ["v4"]]
    assert (work.total, work.done, work.foreign) == (6, 0, 0)


def test_done_videos_are_left_out_and_groups_stay() -> None:
    samples = [sample(number) for number in range(7)]
    everything = plan_work(samples, [], 3)
    left = plan_work(samples, map(stored, samples[:3]), 3)
    assert left.groups == everything.groups[1:]
    assert (left.total, left.done) == (4, 3)
    assert ids(plan_work(samples, map(stored, samples[2:5]), 3)) == [["v0", "v1"], ["v5"], ["v6"]]


def test_nothing_is_left_of_a_finished_store() -> None:
    samples = [sample(number) for number in range(4)]
    work = plan_work(samples, map(stored, [*samples, sample(9)]), 3)
    assert (work.groups, work.done, work.foreign) == ((), 4, 1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"label": 0}, "label"),
        ({"split": "val"}, "split"),
        ({"path": "/other.mp4"}, "path"),
        ({"columns": {}}, "columns"),
    ],
)
def test_a_video_that_is_another_one_in_the_store_is_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(StoreError, match=f"'v1' has the {named} .* file.parquet") as caught:
        plan_work([sample(0), sample(1)], [stored(sample(1, **change))], 3)
    assert caught.value.code == "store_mixed"


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(DatasetError, match="no video"):
        plan_work([], [], 3)


@pytest.mark.parametrize("change", [{"path": "/\udcff.mp4"}, {"video_id": "\ud800"}, {"columns": {"a": "\ud800"}}])
def test_text_that_cannot_be_stored_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DatasetError, match="Unicode") as caught:
        plan_work([sample(1, **change)], [], 3)
    caught.value.detail.encode()
