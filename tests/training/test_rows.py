from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from aura_model.clips import Clip, Clips
from aura_model.config import Config
from training.rows import PLACES, ClipShape, Row, clip_from_row, error_row, rows_of, rows_to_clips, to_columns, to_rows

SOURCE: Mapping[str, Any] = {
    "video_id": "one", "path": "/videos/one.mp4", "label": 1, "split": "train", "epoch": 2, "slot": 6,
}  # fmt: skip


@pytest.fixture
def shape(config: Config) -> ClipShape:
    return ClipShape.of(config)


def same(left: npt.NDArray[Any] | None, right: npt.NDArray[Any] | None) -> bool:
    if left is None or right is None:
        return left is right
    return left.dtype == right.dtype and bool(np.array_equal(left, right))


def assert_same_clip(left: Clip, right: Clip) -> None:
    for name in ("times", "frames", "boxes", "landmarks", "wave"):
        assert same(getattr(left, name), getattr(right, name)), name
    assert (left.seconds, left.track_id) == (right.seconds, right.track_id)


def travel(row: Row) -> Row:
    """What a batch of one row gives back."""
    (back,) = to_rows(to_columns(row))
    return back


@pytest.mark.parametrize(("video", "audio"), [(True, True), (True, False), (False, True)])
def test_a_clip_comes_back_as_it_was(
    make_clip: Callable[..., Clip], make_clips: Callable[..., Clips], shape: ClipShape, video: bool, audio: bool
) -> None:
    clip = make_clip(3, video, audio, track_id=2)
    (row,) = rows_of(make_clips(clip), SOURCE, shape)
    assert_same_clip(clip_from_row(travel(row)), clip)


def test_every_row_has_the_same_columns_types_and_shapes(
    make_clip: Callable[..., Clip], make_clips: Callable[..., Clips], shape: ClipShape
) -> None:
    rows = [
        *rows_of(make_clips(make_clip(0, audio=False), make_clip(1, video=False)), SOURCE, shape),
        *rows_of(make_clips(), SOURCE, shape),
        error_row("corrupt_video", "The stream cannot be decoded.", SOURCE, shape),
    ]
    forms = [{name: (column.dtype.kind, column.shape) for name, column in to_columns(row).items()} for row in rows]
    assert all(form == forms[0] for form in forms)


def test_rows_say_where_they_come_from(
    make_clip: Callable[..., Clip], make_clips: Callable[..., Clips], shape: ClipShape
) -> None:
    rows = [*rows_of(make_clips(make_clip(0), make_clip(1, video=False)), SOURCE, shape)]
    rows.append(error_row("corrupt_video", "The stream cannot be decoded.", SOURCE, shape))
    assert all({name: row[name] for name in SOURCE} == SOURCE for row in rows)
    assert [(row["clip"], row["track_id"], row["error"], row["detail"]) for row in rows] == [
        (0, 0, "", ""),
        (1, -1, "", ""),
        (-1, -1, "corrupt_video", "The stream cannot be decoded."),
    ]


def test_of_clips_as_they_are_no_place_is_known_to_be_forged(
    make_clip: Callable[..., Clip], make_clips: Callable[..., Clips], shape: ClipShape
) -> None:
    rows = [*rows_of(make_clips(make_clip()), SOURCE, shape), error_row("corrupt_video", "no frame", SOURCE, shape)]
    for row in rows:
        assert (row["variant"], row["has_places"]) == ("", False)
        assert row["places"].dtype == np.uint8
        assert row["places"].shape == (shape.frames, PLACES, PLACES)
        assert not row["places"].any()


def test_the_facts_of_a_source_may_be_numpy_scalars_and_become_plain(
    make_clip: Callable[..., Clip], make_clips: Callable[..., Clips], shape: ClipShape
) -> None:
    source = {name: np.array([value])[0] for name, value in SOURCE.items()}
    (row,) = rows_of(make_clips(make_clip()), source, shape)
    assert {name: (type(row[name]), row[name]) for name in SOURCE} == {
        name: (type(value), value) for name, value in SOURCE.items()
    }


def test_a_video_without_clips_is_one_error_row_that_keeps_the_facts(
    make_clips: Callable[..., Clips], shape: ClipShape
) -> None:
    clips = make_clips(notes=("no_face", "no_audio"))
    (row,) = rows_of(clips, SOURCE, shape)
    assert (row["error"], row["clip"], row["notes"]) == ("no_clips", -1, "no_face,no_audio")
    back = rows_to_clips([travel(row)])
    assert (back.clips, back.media, back.notes) == ((), clips.media, clips.notes)


def test_the_clips_of_a_video_come_back_in_order_with_their_facts(
    make_clip: Callable[..., Clip], make_clips: Callable[..., Clips], shape: ClipShape
) -> None:
    clips = make_clips(*(make_clip(seed) for seed in range(12)), notes=("truncated",))
    back = rows_to_clips([travel(row) for row in reversed(rows_of(clips, SOURCE, shape))])
    for left, right in zip(back.clips, clips.clips, strict=True):
        assert_same_clip(left, right)
    assert (back.media, back.notes) == (clips.media, clips.notes)


def test_only_the_rows_of_one_decodable_video_make_clips(
    make_clip: Callable[..., Clip], make_clips: Callable[..., Clips], shape: ClipShape
) -> None:
    (row,) = rows_of(make_clips(make_clip()), SOURCE, shape)
    for rows in ([], [row, row | {"video_id": "two"}]):
        with pytest.raises(ValueError, match="one video"):
            rows_to_clips(rows)
    with pytest.raises(ValueError, match=r"/videos/one.mp4 could not be decoded: empty_file"):
        rows_to_clips([error_row("empty_file", "The file has no bytes.", SOURCE, shape)])


@pytest.mark.parametrize(
    "change",
    [
        {"times": np.zeros(3)},
        {"frames": np.zeros((2, 32, 32, 3), np.uint8)},
        {"boxes": None},
        {"landmarks": np.zeros((2, 4, 2), np.float32)},
        {"wave": np.zeros(3999, np.float32)},
    ],
)
def test_another_shape_is_refused(
    make_clip: Callable[..., Clip], make_clips: Callable[..., Clips], shape: ClipShape, change: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="the configuration says"):
        rows_of(make_clips(replace(make_clip(), **change)), SOURCE, shape)


def test_shapes_follow_the_configuration(make_config: Callable[..., Config]) -> None:
    config = make_config("dataset.video.temporal_window=10", "dataset.video.frame_rate=4", "dataset.face.size=96")
    assert ClipShape.of(config) == ClipShape(frames=10, size=96, samples=40000)
