"""Rows become the parts of a pass: cut where turn or split changes, of so many usable clips, augmented in training."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch
from ray.data import DataIterator

from aura_model.batch import to_batch
from aura_model.clips import Clip
from aura_model.config import Config
from training import batches
from training.batches import Part, Parts, grouped, prepare, training_clip, worker_parts
from training.data.splits import Split
from training.rows import Columns, Row, clip_from_row, to_columns
from training.stream import BALANCE
from training.tally import Skip

MakeRow = Callable[..., Row]
SIZES: dict[Split, int] = {"train": 2, "val": 3}


def rows_from(make_row: MakeRow, text: str) -> list[Row]:
    """`1t` is a usable training row of turn 1, `2v` one of validation in turn 2, `1t!` an unusable one."""
    slots: dict[str, int] = {}
    rows = []
    for word in text.split():
        turn, split, phase = int(word[0]), {"t": "train", "v": "val"}[word[1]], word[:2]
        slots[phase] = slots.get(phase, -1) + 1
        error = "corrupt_video" if word.endswith("!") else ""
        rows.append(make_row(f"{word[1]}{slots[phase]}", slots[phase] % 2, split, turn, slots[phase], error))
    return rows


def words(group: list[Row]) -> str:
    """What `rows_from` was told."""
    return " ".join(f"{row['turn']}{row['split'][0]}{'!' if row['error'] else ''}" for row in group)


@pytest.mark.parametrize(
    ("told", "groups"),
    [
        ("", []),
        ("1t", ["1t"]),
        ("1t 1t 1t", ["1t 1t", "1t"]),
        ("1v 1v 1v 1v", ["1v 1v 1v", "1v"]),
        ("1t 1t 1t 1v 1v 2t 2v", ["1t 1t", "1t", "1v 1v", "2t", "2v"]),
        ("1t 2t", ["1t", "2t"]),
        ("1v 2v 2v", ["1v", "2v 2v"]),
        ("1t! 1t 1t! 1t! 1t 1t", ["1t! 1t 1t! 1t! 1t", "1t"]),
        ("1t 1t! 1v!", ["1t 1t!", "1v!"]),
        ("1t 1t 1t!", ["1t 1t", "1t!"]),
    ],
)
def test_rows_are_grouped_within_their_pass_by_the_usable_ones(make_row: MakeRow, told: str, groups: list[str]) -> None:
    rows = rows_from(make_row, told)
    found = list(grouped(rows, SIZES))
    assert [words(group) for group in found] == groups
    assert [id(row) for group in found for row in group] == [id(row) for row in rows]


def test_a_full_group_is_given_out_without_waiting_for_the_next_row(make_row: MakeRow) -> None:
    def source() -> Iterator[Row]:
        yield from rows_from(make_row, "1t 1t")
        pytest.fail("waited for a row that is not needed")

    assert words(next(grouped(source(), SIZES))) == "1t 1t"


def part_of(make_row: MakeRow, config: Config, told: str) -> Part:
    return prepare(rows_from(make_row, told), config)


def test_a_part_holds_clips_labels_and_what_was_skipped(make_row: MakeRow, config: Config) -> None:
    part = part_of(make_row, config, "3v! 3v 3v 3v!")
    assert (part.turn, part.split, part.slot) == (3, "val", 3)
    assert [row["video_id"] for row in part.rows] == ["v1", "v2"]
    assert part.labels.tolist() == [1, 0]
    assert part.labels.dtype == torch.int64
    assert part.batch is not None
    assert part.batch.video is not None
    assert len(part.batch.video) == 2
    assert part.skips == tuple(
        Skip(name, f"/videos/{name}.mp4", "val", "corrupt_video", "why") for name in ("v0", "v3")
    )


def test_a_part_does_not_keep_the_rows_arrays(make_row: MakeRow, config: Config) -> None:
    (row,) = part_of(make_row, config, "1t").rows
    assert not any(isinstance(value, np.ndarray) for value in row.values())
    assert {name: row[name] for name in ("split", "turn", "has_video", "has_audio", "track_id")} == {
        "split": "train", "turn": 1, "has_video": True, "has_audio": True, "track_id": 0,
    }  # fmt: skip


def test_a_part_of_unusable_videos_alone_holds_nothing_but_the_skips(make_row: MakeRow, config: Config) -> None:
    part = part_of(make_row, config, "1t! 1t!")
    assert part.batch is None
    assert (part.rows, part.labels.tolist(), len(part.skips)) == ((), [], 2)


@pytest.mark.parametrize(("split", "augmented"), [("train", True), ("val", False)])
def test_training_clips_are_augmented_and_others_are_not(
    make_row: MakeRow, config: Config, split: str, augmented: bool
) -> None:
    row = make_row("a", 1, split)
    batch = prepare([row], config).batch
    assert batch is not None
    plain, changed = (to_batch([clip], config) for clip in (clip_from_row(row), training_clip(row, config)))
    expected = changed if augmented else plain
    assert torch.equal(cast("Any", batch.video), cast("Any", expected.video))
    assert torch.equal(cast("Any", batch.audio), cast("Any", expected.audio))
    assert not torch.equal(cast("Any", plain.video), cast("Any", changed.video))


def content(clip: Clip) -> bytes:
    assert clip.frames is not None
    assert clip.wave is not None
    return clip.frames.tobytes() + clip.wave.tobytes()


def test_augmentation_depends_on_seed_epoch_video_and_clip_alone(
    make_config: Callable[..., Config], make_row: MakeRow
) -> None:
    config, row = make_config(), make_row("a")
    first = content(training_clip(row, config))
    same = row | {"slot": 9, "path": "/elsewhere.mp4", "label": 1, "turn": 5}
    assert content(training_clip(same, config)) == first
    others = [
        training_clip(row, make_config("seed=1")),
        training_clip(row | {"epoch": 2}, config),
        training_clip(row | {"video_id": "b"}, config),
        training_clip(row | {"clip": 1}, config),
    ]
    assert len({first, *map(content, others)}) == 5


def test_augmentation_leaves_the_row_alone(make_row: MakeRow, config: Config) -> None:
    row = make_row("a")
    frames, wave = row["frames"].copy(), row["wave"].copy()
    row["frames"].flags.writeable = row["wave"].flags.writeable = False  # as they come from Ray
    training_clip(row, config)
    np.testing.assert_array_equal(row["frames"], frames)
    np.testing.assert_array_equal(row["wave"], wave)
    row["frames"].flags.writeable = row["wave"].flags.writeable = True


def test_augmentation_can_be_switched_off(make_config: Callable[..., Config], make_row: MakeRow) -> None:
    row = make_row("a")
    clip = training_clip(row, make_config("dataset.augmentation.enabled=false"))
    np.testing.assert_array_equal(cast("Any", clip.frames), row["frames"])
    np.testing.assert_array_equal(cast("Any", clip.wave), row["wave"])


class Stream:
    """Rows in blocks, as a worker's share of the stream gives them."""

    def __init__(self, rows: list[Row], block: int) -> None:
        self._blocks = [rows[begin : begin + block] for begin in range(0, len(rows), block)]

    def iter_batches(self, *, batch_size: int | None, batch_format: str) -> Iterator[Columns]:
        assert (batch_size, batch_format) == (None, "numpy")
        for block in self._blocks:
            columns = [to_columns(row) for row in block]
            yield {name: np.concatenate([one[name] for one in columns]) for name in columns[0]}


@pytest.mark.parametrize("block", [1, 3, 100])
def test_a_worker_has_the_parts_of_its_stream_however_it_is_blocked(
    make_config: Callable[..., Config], make_row: MakeRow, block: int
) -> None:
    config = make_config("training.batch_size=2", "inference.batch_clips=3", "training.prefetch=3")
    rows = rows_from(make_row, "1t 1t! 1t 1t 1v 1v 1v 1v 2t 2t 2v!")
    balance = [row | {"turn": BALANCE} for row in rows_from(make_row, "1t! 1t!")]
    parts = list(worker_parts(cast("DataIterator", Stream([*balance, *rows], block)), config))
    assert [(part.turn, part.split, len(part.rows), len(part.skips)) for part in parts] == [
        (1, "train", 2, 1), (1, "train", 1, 0), (1, "val", 3, 0), (1, "val", 1, 0), (2, "train", 2, 0),
        (2, "val", 0, 1),
    ]  # fmt: skip
    expected = prepare(rows[:3], config)
    assert torch.equal(cast("Any", parts[0].batch).video, cast("Any", expected.batch).video)


def test_parts_are_prepared_while_the_worker_is_busy(
    make_config: Callable[..., Config], make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, second = batches.prepare, threading.Event()

    def watched(rows: list[Row], config: Config) -> Part:
        if rows[0]["slot"] == 1:
            second.set()
        return prepared(rows, config)

    monkeypatch.setattr(batches, "prepare", watched)
    config = make_config("training.batch_size=1")
    parts = worker_parts(cast("DataIterator", Stream(rows_from(make_row, "1t 1t 1t"), 1)), config)
    assert next(parts).slot == 0
    assert second.wait(20)  # nobody asked for it yet
    assert [part.slot for part in parts] == [1, 2]


@pytest.fixture
def make_parts(make_row: MakeRow, config: Config) -> Callable[[str], Parts]:
    def build(told: str) -> Parts:
        return Parts(prepare(group, config) for group in grouped(rows_from(make_row, told), SIZES))

    return build


def taken(parts: Parts, turn: int, split: Split) -> list[int]:
    """Clips in each part of a pass."""
    return [len(part.rows) for part in parts.of(turn, split)]


def test_parts_are_taken_one_pass_at_a_time(make_parts: Callable[[str], Parts]) -> None:
    parts = make_parts("1t 1t 1t 1v 2t 2t 2v 2v")
    assert taken(parts, 1, "train") == [2, 1]
    assert taken(parts, 1, "val") == [1]
    assert taken(parts, 2, "train") == [2]
    assert taken(parts, 2, "val") == [2]
    assert taken(parts, 3, "train") == []


def test_a_pass_of_which_a_worker_has_no_row_is_empty_and_loses_nothing(make_parts: Callable[[str], Parts]) -> None:
    parts = make_parts("1v 3t")
    assert taken(parts, 1, "train") == []
    assert taken(parts, 1, "val") == [1]
    assert taken(parts, 2, "train") == taken(parts, 2, "val") == []
    assert taken(parts, 3, "train") == [1]
    assert taken(parts, 3, "val") == []


def test_waiting_is_counted_and_the_first_wait_apart(
    make_row: MakeRow, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    groups = list(grouped(rows_from(make_row, "1t 1t 1t 1v"), SIZES))

    def slow() -> Iterator[Part]:
        nonlocal now
        for seconds, group in zip((5.0, 1.0, 2.0), groups, strict=True):
            now += seconds
            yield prepare(group, config)
        now += 4.0

    monkeypatch.setattr(batches.time, "perf_counter", lambda: now)
    parts = Parts(slow())
    seen = []
    for split in ("train", "val"):
        for _ in parts.of(1, cast("Split", split)):
            now += 50.0  # the model is busy
            seen.append(parts.waited)
    assert (parts.start_seconds, seen, parts.waited) == (5.0, [0.0, 1.0, 3.0], 7.0)
