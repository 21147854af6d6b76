from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest
from ray.data import DataIterator

from aura_model.clips import Clip, Clips
from aura_model.config import Config
from training.batches import training_clip, usable_batches
from training.rows import ClipShape, Columns, Row, error_row, rows_of, to_columns
from training.tally import Tally


class Stream:
    """Rows in batches, as a `DataIterator` gives them."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    def iter_batches(self, *, batch_size: int, batch_format: str) -> Iterator[Columns]:
        assert batch_format == "numpy"
        for start in range(0, len(self._rows), batch_size):
            batch = [to_columns(row) for row in self._rows[start : start + batch_size]]
            yield {name: np.concatenate([columns[name] for columns in batch]) for name in batch[0]}


@pytest.fixture
def make_row(config: Config, make_clip: Callable[..., Clip], make_clips: Callable[..., Clips]) -> Callable[..., Row]:
    def build(video_id: str, error: str = "", **kind: Any) -> Row:
        source, shape = {"video_id": video_id, "path": f"{video_id}.mp4", "label": 1, "epoch": 1}, ClipShape.of(config)
        if error:
            return error_row(error, "what was wrong", source, shape)
        return rows_of(make_clips(make_clip(**kind)), source, shape)[0]

    return build


def batches(rows: list[Row], size: int) -> tuple[list[list[str]], Tally]:
    tally = Tally()
    stream = cast("DataIterator", Stream(rows))
    return [[str(row["video_id"]) for row in batch] for batch in usable_batches(stream, size, tally)], tally


def test_error_rows_are_left_out_and_told(make_row: Callable[..., Row]) -> None:
    rows = [
        make_row("a"),
        make_row("b", "corrupt_video"),
        make_row("c"),
        make_row("d", "empty_file"),
        make_row("e", "no_clips"),
        make_row("f"),
    ]
    found, tally = batches(rows, 2)
    assert found == [["a"], ["c"], ["f"]]
    assert [(skip.video_id, skip.path, skip.code, skip.detail) for skip in tally.skipped] == [
        ("b", "b.mp4", "corrupt_video", "what was wrong"),
        ("d", "d.mp4", "empty_file", "what was wrong"),
        ("e", "e.mp4", "no_clips", "what was wrong"),
    ]


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (4, [4]), (9, [4, 4, 1])])
def test_every_usable_row_is_in_one_batch(make_row: Callable[..., Row], count: int, sizes: list[int]) -> None:
    found, tally = batches([make_row(str(number)) for number in range(count)], 4)
    assert [len(batch) for batch in found] == sizes
    assert [video_id for batch in found for video_id in batch] == [str(number) for number in range(count)]
    assert tally.skipped == []


def test_a_batch_that_is_all_errors_is_passed_over(make_row: Callable[..., Row]) -> None:
    found, tally = batches([make_row("a", "empty_file"), make_row("b", "empty_file"), make_row("c")], 2)
    assert found == [["c"]]
    assert len(tally.skipped) == 2


def test_augmentation_depends_on_seed_epoch_video_and_clip_alone(
    make_config: Callable[..., Config], make_row: Callable[..., Row]
) -> None:
    config, row = make_config(), make_row("a")

    def samples(config: Config, row: Row) -> bytes:
        clip = training_clip(row, config)
        assert clip.frames is not None
        assert clip.wave is not None
        return clip.frames.tobytes() + clip.wave.tobytes()

    first = samples(config, row)
    assert samples(config, dict(row)) == first
    others = [
        samples(make_config("seed=1"), row),
        samples(config, row | {"epoch": 2}),
        samples(config, row | {"video_id": "b"}),
        samples(config, row | {"clip": 1}),
    ]
    assert len({first, *others}) == 5


def test_augmentation_can_be_switched_off(make_config: Callable[..., Config], make_row: Callable[..., Row]) -> None:
    row = make_row("a")
    clip = training_clip(row, make_config("dataset.augmentation.enabled=false"))
    np.testing.assert_array_equal(cast("Any", clip.frames), row["frames"])
    np.testing.assert_array_equal(cast("Any", clip.wave), row["wave"])
