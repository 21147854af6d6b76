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
from aura_model.config import Config, RestorationConfig
from training.data.splits import Split
from training.rows import PLACES, Columns, Row, to_columns
from training.stream import BALANCE
from training.worker import batches
from training.worker.batches import (
    Part,
    Parts,
    grouped,
    in_place,
    prepare,
    scored_clip,
    targets_of,
    training_clip,
    training_side,
    worker_parts,
)
from training.worker.tally import Skip

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
    assert part.targets.labels.tolist() == [1, 0]
    assert part.targets.labels.dtype == torch.int64
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
    assert (part.rows, part.targets.labels.tolist(), len(part.skips)) == ((), [], 2)


@pytest.mark.parametrize(("split", "augmented"), [("train", True), ("val", False)])
def test_training_clips_are_augmented_and_others_are_as_they_will_be_scored(
    make_row: MakeRow, config: Config, split: str, augmented: bool
) -> None:
    row = make_row("a", 1, split)
    batch = prepare([row], config).batch
    assert batch is not None
    plain, changed = (to_batch([clip], config) for clip in (scored_clip(row, config), training_clip(row, config)))
    expected = changed if augmented else plain
    assert torch.equal(cast("Any", batch.video), cast("Any", expected.video))
    assert torch.equal(cast("Any", batch.audio), cast("Any", expected.audio))
    assert not torch.equal(cast("Any", plain.video), cast("Any", changed.video))


def test_validation_restores_faces_as_serving_does(make_row: MakeRow, config: Config) -> None:
    """The clips of these tests are noise."""
    row = make_row("a", 1, "val")
    assert not np.array_equal(scored_clip(row, config).frames, row["frames"])
    steps = dict.fromkeys(config.inference.restoration.model_dump())
    off = config.inference.model_copy(update={"restoration": RestorationConfig.model_validate(steps)})
    assert np.array_equal(scored_clip(row, config.model_copy(update={"inference": off})).frames, row["frames"])


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


# Pairs


def pair_rows(make_row: MakeRow, video_id: str = "a") -> list[Row]:
    """A genuine clip, and its forgery of which a corner was changed."""
    real = make_row(video_id) | {"variant": "#0", "has_places": True}
    places, frames = real["places"].copy(), real["frames"].copy()
    places[:, :8, :8] = 255
    frames[:, :16, :16] //= 2
    return [real, real | {"label": 1, "variant": "#0 self_blend", "places": places, "frames": frames}]


def test_targets_hold_the_labels_and_the_places_that_are_known(make_row: MakeRow) -> None:
    targets = targets_of([*pair_rows(make_row), make_row("b", 1)])
    assert targets.labels.tolist() == [0, 1, 1]
    assert targets.labels.dtype == torch.int64
    assert targets.known is not None
    assert targets.known.tolist() == [True, True, False]
    assert targets.places is not None
    assert targets.places.shape == (3, 2, PLACES, PLACES)
    assert targets.places.dtype == torch.float32
    assert targets.places[1, :, :8, :8].unique().tolist() == [1.0]
    assert targets.places.sum() == 2 * 8 * 8


def test_where_no_place_is_known_there_are_labels_alone(make_row: MakeRow) -> None:
    targets = targets_of([make_row("a"), make_row("b", 1)])
    assert (targets.labels.tolist(), targets.places, targets.known) == ([0, 1], None, None)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_part_tells_the_clips_of_a_pair_apart(make_row: MakeRow, config: Config, split: str) -> None:
    part = prepare([row | {"split": split} for row in pair_rows(make_row)], config)
    assert [row["variant"] for row in part.rows] == ["#0", "#0 self_blend"]
    assert part.targets.labels.tolist() == [0, 1]
    assert part.targets.places is not None


CHANGES = {
    "horizontal_flip": "1.0",
    "crop": "{probability: 1.0, range: [0.5, 0.5]}",
    "color_jitter": "{probability: 1.0, range: [0.3, 0.3]}",
    "blur": "{probability: 1.0, range: [3.0, 3.0]}",
    "noise": "{probability: 1.0, range: [9.0, 9.0]}",
}
NONE = "{horizontal_flip: 0, crop: {probability: 0}, color_jitter: {probability: 0}, blur: {probability: 0}, "
NONE += "noise: {probability: 0}, jpeg: {probability: 0}, h264: {probability: 0}}"


@pytest.mark.parametrize("change", CHANGES)
def test_a_clip_whose_places_are_known_is_changed_but_not_moved(
    make_config: Callable[..., Config], make_row: MakeRow, change: str
) -> None:
    """The forged corner stays where the places say that it is."""
    config = make_config(f"dataset.augmentation={NONE}", f"dataset.augmentation.{change}={CHANGES[change]}")
    pair = pair_rows(make_row)
    real, fake = (training_clip(row, config) for row in pair)
    moves = change in ("horizontal_flip", "crop")
    np.testing.assert_array_equal(cast("Any", real.landmarks), pair[0]["landmarks"])
    different = np.abs(cast("Any", real.frames).astype(float) - cast("Any", fake.frames)).mean((0, 3))
    assert different[:16, :16].mean() > 5 * different[24:, 24:].mean()
    assert bool((cast("Any", real.frames) != pair[0]["frames"]).any()) != moves
    free = training_clip(pair[0] | {"has_places": False}, config)
    assert bool((cast("Any", free.frames) != pair[0]["frames"]).any())


def test_both_clips_of_a_pair_are_changed_alike(make_config: Callable[..., Config], make_row: MakeRow) -> None:
    real, _ = pair_rows(make_row)
    same = real | {"variant": "#0 null_blend", "label": 1}
    for epoch in range(1, 9):
        assert content(training_clip(real | {"epoch": epoch}, make_config())) == content(
            training_clip(same | {"epoch": epoch}, make_config())
        )


def test_in_place_only_what_moves_is_switched_off(make_config: Callable[..., Config]) -> None:
    augmentation = make_config("dataset.augmentation.horizontal_flip=0.5").dataset.augmentation
    still = in_place(augmentation)
    assert (still.horizontal_flip, still.crop.probability, still.crop.range) == (0.0, 0.0, augmentation.crop.range)
    others = set(type(still).model_fields) - {"horizontal_flip", "crop"}
    assert all(getattr(still, name) == getattr(augmentation, name) for name in others)


# Low resolution


@pytest.mark.parametrize(
    ("epochs", "sides"), [(0, [None, None, None]), (1, [40, None, None]), (2, [40, 40, None]), (9, [40, 40, 40])]
)
def test_the_first_epochs_are_of_smaller_pictures(
    make_config: Callable[..., Config], epochs: int, sides: list[int | None]
) -> None:
    config = make_config(f"training.low_resolution={{epochs: {epochs}, size: 40}}")
    assert [training_side(epoch, config) for epoch in (1, 2, 3)] == sides


@pytest.mark.parametrize(("split", "turn", "side"), [("train", 1, 40), ("train", 2, 64), ("val", 1, 64)])
def test_only_training_sees_smaller_pictures(
    make_config: Callable[..., Config], make_row: MakeRow, split: str, turn: int, side: int
) -> None:
    config = make_config("training.low_resolution={epochs: 1, size: 40}")
    batch = prepare([make_row("a", 0, split, turn)], config).batch
    assert batch is not None
    assert batch.video is not None
    assert batch.video.shape == (1, 2, 3, side, side)


def test_a_smaller_picture_shows_the_same(make_config: Callable[..., Config], make_row: MakeRow) -> None:
    config, row = make_config("dataset.augmentation.enabled=false"), make_row("a")
    small = training_clip(row, config, 32)
    assert small.frames is not None
    assert small.landmarks is not None
    np.testing.assert_allclose(small.frames, row["frames"].reshape(2, 32, 2, 32, 2, 3).mean(axis=(2, 4)), atol=0.51)
    np.testing.assert_allclose(small.landmarks, row["landmarks"] / 2)
    assert small.frames.dtype == np.uint8
    assert small.landmarks.dtype == np.float32


def test_a_clip_that_is_only_heard_has_no_size(make_config: Callable[..., Config], make_row: MakeRow) -> None:
    clip = training_clip(make_row("a", video=False), make_config(), 32)
    assert clip.frames is None
    assert clip.wave is not None


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
