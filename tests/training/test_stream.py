"""The order of a run: what comes when, and that nothing but seed and epoch decides it."""

import pickle
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from aura_model.config import Config
from aura_model.settings import load_config
from training import dataset, stream
from training.data.debugset import MEDIA
from training.data.manifest import Sample
from training.rows import ClipShape, Row, to_rows
from training.stream import (
    BALANCE,
    BLOCK_BYTES,
    LEAST_CLIPS,
    Course,
    CourseExtractor,
    Visit,
    balances,
    block_target,
    clips_per_block,
    epoch_order,
    kept_together,
    lists_of,
    spans_of,
)

TRAIN, VAL = 7, 3
PASS = TRAIN + VAL


@pytest.fixture
def make_course(make_sample: Callable[..., Sample]) -> Callable[..., Course]:
    train = tuple(make_sample(f"t{number}", number % 2) for number in range(TRAIN))
    val = tuple(make_sample(f"v{number}", number % 2, "val") for number in range(VAL))
    return lambda first=1, last=4, seed=0: Course(train, val, seed, first, last)


def visits(course: Course) -> list[Visit]:
    return [course.at(index) for index in range(len(course))]


def column(taken: list[Visit], name: str) -> list[Any]:
    return [visit.path_row[name] for visit in taken]


def test_every_epoch_is_each_training_video_once_and_then_each_validation_video_in_order(
    make_course: Callable[..., Course],
) -> None:
    taken = visits(make_course(first=2, last=4))
    assert len(taken) == 3 * PASS
    for epoch in (2, 3, 4):
        turn, taken = taken[:PASS], taken[PASS:]
        train, val = turn[:TRAIN], turn[TRAIN:]
        assert {visit.turn for visit in turn} == {epoch}
        assert sorted(column(train, "video_id")) == [f"t{number}" for number in range(TRAIN)]
        assert column(val, "video_id") == [f"v{number}" for number in range(VAL)]
        assert set(column(train, "epoch")) == {epoch}
        assert set(column(val, "epoch")) == {-1}
        assert column(turn, "slot") == [*range(TRAIN), *range(VAL)]
        assert column(turn, "split") == ["train"] * TRAIN + ["val"] * VAL


def test_a_place_holds_the_facts_of_its_sample(make_course: Callable[..., Course]) -> None:
    course = make_course()
    samples = {sample.video_id: sample for sample in (*course.train, *course.val)}
    for visit in visits(course):
        sample = samples[visit.path_row["video_id"]]
        assert (visit.path_row["path"], visit.path_row["label"]) == (sample.path, sample.label)


@pytest.mark.parametrize("first", [1, 2, 4])
def test_a_run_that_begins_later_is_the_tail_of_the_whole_run(make_course: Callable[..., Course], first: int) -> None:
    assert visits(make_course(first=first)) == visits(make_course())[(first - 1) * PASS :]


def test_the_order_follows_from_seed_and_epoch_alone(make_course: Callable[..., Course]) -> None:
    orders = [tuple(epoch_order(24, seed, epoch)) for seed in (0, 1) for epoch in (1, 2)]
    assert len({*orders, tuple(range(24))}) == 5
    before = visits(make_course())
    random.seed(5)
    np.random.seed(5)  # must not matter
    epoch_order.cache_clear()
    assert visits(pickle.loads(pickle.dumps(make_course()))) == before  # as Ray sends it
    assert visits(make_course(seed=1)) != before


def test_a_longer_run_begins_alike(make_course: Callable[..., Course]) -> None:
    assert visits(make_course(last=9))[: 4 * PASS] == visits(make_course(last=4))


def bounds(spans: list[dict[str, int]]) -> list[tuple[int, int]]:
    return [(span["begin"], span["end"]) for span in spans]


def lengths(course: Course, workers: int, most: int = 4096) -> set[int]:
    return {end - begin for begin, end in bounds(spans_of(course, workers, most))}


def many(videos: int, **facts: int) -> Course:
    return Course(tuple(Sample(f"v{number}", 0, "train", "v.mp4") for number in range(videos)), (), 0, **facts)


def test_each_span_is_of_one_pass(make_course: Callable[..., Course]) -> None:
    assert bounds(spans_of(make_course(last=1), 1, 4096)) == [(slot, slot + 1) for slot in range(PASS)]
    assert bounds(spans_of(make_course(last=2), 1, 1)) == [(0, 7), (7, 10), (10, 17), (17, 20)]


def test_spans_are_short_enough_to_be_shared_out_and_no_longer_than_worth_while() -> None:
    assert lengths(many(31, first=1, last=1), workers=1) == {1}
    assert lengths(many(64, first=1, last=1), workers=1) == {4}
    assert lengths(many(64, first=1, last=1), workers=4) == {1}
    assert lengths(many(8000, first=1, last=1), workers=4) == {8}


@pytest.mark.parametrize(("workers", "most"), [(1, 4096), (4, 4096), (1, 10), (1, 1)])
@pytest.mark.parametrize("first", [2, 4])
def test_a_run_that_begins_later_has_the_spans_of_the_whole_run(first: int, workers: int, most: int) -> None:
    """Blocks of other visits would be shared out otherwise, and the resumed run would not be the same."""
    done = (first - 1) * 100
    later = bounds(spans_of(many(100, first=first, last=5), workers, most))
    whole = bounds(spans_of(many(100, first=1, last=5), workers, most))
    assert [(begin + done, end + done) for begin, end in later] == [one for one in whole if one[0] >= done]


@pytest.mark.parametrize("epochs", [1, 10, 500, 5000])
def test_spans_cover_all_in_order_and_are_not_too_many(make_course: Callable[..., Course], epochs: int) -> None:
    course = make_course(last=epochs)
    spans = bounds(spans_of(course, 1, 1000))
    assert [index for begin, end in spans for index in range(begin, end)] == list(range(len(course)))
    assert len(spans) <= 1000 + 2 * epochs


@pytest.mark.parametrize("dealt", [[0, 0], [5, 3], [3, 5], [9, 4, 4], [7]])
def test_balances_bring_a_fresh_sharing_to_where_it_stood(dealt: list[int]) -> None:
    """A block goes to the worker with the fewest rows, the first of equal ones."""
    had = [0] * len(dealt)
    for span in balances(dealt):
        assert span["begin"] == span["end"]
        assert span["balance"] > 0
        had[had.index(min(had))] += span["balance"]
    assert [rows - min(had) for rows in had] == [rows - min(dealt) for rows in dealt]


def test_a_new_run_needs_no_balance() -> None:
    assert balances(()) == []


@pytest.fixture
def _two_clips_a_video(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(path_row: Mapping[str, Any]) -> list[Row]:
        return [{**path_row, "clip": clip} for clip in range(2)]

    monkeypatch.setattr(dataset, "setup_logging", lambda config: None)
    monkeypatch.setattr(stream, "training_source", lambda config: rows)


def blocks(course: Course, config: Config, *spans: tuple[int, int]) -> Iterator[list[Row]]:
    extractor = CourseExtractor(config.plain(), course)
    for begin, end in spans:
        for columns in extractor({"begin": np.array([begin]), "end": np.array([end]), "balance": np.array([0])}):
            yield to_rows(columns)


@pytest.mark.usefixtures("_two_clips_a_video")
@pytest.mark.parametrize("spans", [[(0, 2 * PASS)], [(0, 3), (3, 12), (12, 2 * PASS)]])
def test_the_pool_gives_each_clip_of_each_place_with_its_turn(
    config: Config, make_course: Callable[..., Course], spans: list[tuple[int, int]]
) -> None:
    course = make_course(last=2)
    found = [
        (int(row["turn"]), int(row["slot"]), str(row["video_id"]), int(row["clip"]))
        for rows in blocks(course, config, *spans)
        for row in rows
    ]
    assert found == [
        (visit.turn, visit.path_row["slot"], visit.path_row["video_id"], clip)
        for visit in visits(course)
        for clip in range(2)
    ]


@pytest.mark.usefixtures("_two_clips_a_video")
@pytest.mark.parametrize(("frames", "sizes"), [(8, [8, 2]), (64, [6, 4]), (16, [6, 4])])
def test_large_clips_are_handed_on_in_smaller_blocks(
    make_course: Callable[..., Course], frames: int, sizes: list[int]
) -> None:
    config = load_config(env={}, settings={"dataset": {"video": {"temporal_window": frames}}})
    assert [len(rows) for rows in blocks(make_course(last=2), config, (0, 5))] == sizes


@pytest.mark.parametrize("frames", [1, 4, 8, 32, 64, 256])
@pytest.mark.parametrize("size", [64, 160, 224, 512])
def test_ray_neither_cuts_a_block_of_pairs_nor_joins_two(frames: int, size: int) -> None:
    """Ray Data hands a block on once it has the target's size, and cuts those of 1.5 times that."""
    shape = ClipShape(frames, size, samples=2000 * frames)
    enough, target = clips_per_block(shape), block_target(shape)
    assert enough * shape.bytes > target
    assert (enough + 1) * shape.bytes < 1.5 * target
    assert enough * shape.bytes <= max(BLOCK_BYTES, LEAST_CLIPS * shape.bytes)


@pytest.mark.usefixtures("_two_clips_a_video")
def test_the_rows_of_a_balance_come_together_and_belong_to_no_epoch(
    config: Config, make_course: Callable[..., Course]
) -> None:
    extractor = CourseExtractor(config.plain(), make_course())
    (columns,) = extractor({"begin": np.array([0]), "end": np.array([0]), "balance": np.array([3])})
    assert columns["turn"].tolist() == [BALANCE] * 3
    assert {len(values) for values in columns.values()} == {3}


def rows_of(text: str) -> list[Row]:
    """`ab` are the rows of a pair of the clip 0, of `c` there is one alone; `!` is a video that cannot be used."""
    words = enumerate(text.split())
    return [{"name": name, "clip": -1 if name == "!" else number} for number, word in words for name in word]


@pytest.mark.parametrize(
    ("enough", "videos", "lists"),
    [
        (2, ["ab cd", "ef"], "ab cd ef"),
        (3, ["ab cd", "ef"], "abcd ef"),
        (4, ["ab", "cd", "ef", "gh"], "abcd efgh"),
        (2, ["!", "ab", "cd"], "!ab cd"),
        (4, ["ab", "!", "cd", "ef"], "ab!cd ef"),
        (1, ["ab", "!", "c"], "ab ! c"),
        (2, ["a b c", "d"], "ab cd"),
        (9, ["ab"], "ab"),
        (2, [], ""),
    ],
)
def test_pairs_stay_together_and_others_are_cut_anywhere(enough: int, videos: list[str], lists: str) -> None:
    groups = (group for video in videos for group in kept_together(rows_of(video)))
    assert " ".join("".join(row["name"] for row in rows) for rows in lists_of(enough, groups)) == lists


def test_a_list_is_handed_on_without_waiting_for_the_next_video() -> None:
    def videos() -> Iterator[list[Row]]:
        yield rows_of("ab")
        pytest.fail("waited for a video that is not needed")

    (first, second) = next(lists_of(2, videos()))
    assert (first["name"], second["name"]) == ("a", "b")


@pytest.mark.parametrize("frames", [8, 16, 64])
def test_both_clips_of_a_pair_come_in_one_block(
    make_course: Callable[..., Course], monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    """Also behind a video that cannot be used."""

    def rows(path_row: Mapping[str, Any]) -> list[Row]:
        if path_row["slot"] == 1:
            return [{**path_row, "clip": -1, "variant": ""}]
        return [{**path_row, "clip": clip, "variant": f"#{clip}{kind}"} for clip in range(2) for kind in ("", " x")]

    monkeypatch.setattr(dataset, "setup_logging", lambda config: None)
    monkeypatch.setattr(stream, "training_source", lambda config: rows)
    config = load_config(env={}, settings={"dataset": {"video": {"temporal_window": frames}}})
    found = list(blocks(make_course(), config, (0, 5)))
    for block in found:
        counts = {(int(row["slot"]), int(row["clip"])): 0 for row in block}
        for row in block:
            counts[int(row["slot"]), int(row["clip"])] += 1
        assert {count for (_, clip), count in counts.items() if clip >= 0} <= {2}
    assert sum(map(len, found)) == 4 * 4 + 1


def test_the_stream_of_a_run_holds_pairs_where_they_are_asked_for(
    make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "setup_logging", lambda config: None)
    config = make_config("dataset.pseudo_fakes.enabled=true", "dataset.face.detect=false")
    course = Course((Sample("a", 0, "train", str(MEDIA / "face.jpg")),), (), 0, 1, 1)
    (rows,) = blocks(course, config, (0, 1))
    assert [(str(row["variant"]), int(row["label"]), int(row["turn"])) for row in rows] == [
        ("#0", 0, 1), ("#0 self_blend", 1, 1),
    ]  # fmt: skip
