"""Rows keep everything through the store but the last bits of pictures and sound; foreign rows are refused."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aura_model.clips import Clip, Clips
from aura_model.config import Config
from training.rows import ClipShape, Row, error_row, rows_of
from training.store.coding import decode_row, encode_row, stored_schema

SHAPE = ClipShape(frames=2, size=64, samples=4000)
SOURCE: Row = {"video_id": "v", "path": "/a/v.mp4", "label": 1, "split": "val", "epoch": 3, "slot": 5}
LOSSY = {"frames", "wave"}
COLUMNS = {"identity": "anna", "größe": "ü\n"}


def through_parquet(row: Row, columns: dict[str, str] | None = None, quality: int = 95) -> dict[str, Any]:
    """The stored form, as Arrow hands it back."""
    encoded = encode_row(row, columns or {}, quality)
    stored: dict[str, Any] = pa.Table.from_pylist([encoded], schema=stored_schema(SHAPE)).to_pylist()[0]
    return stored


def round_trip(row: Row) -> Row:
    return decode_row(through_parquet(row), SOURCE, SHAPE)


def smooth(seed: int) -> npt.NDArray[np.uint8]:
    """Pictures with strong colour edges, no noise: what a face is nearer to."""
    small = np.random.default_rng(seed).integers(0, 256, (SHAPE.frames, 8, 8, 3), dtype=np.uint8)
    return np.stack([cv2.resize(picture, (64, 64), interpolation=cv2.INTER_CUBIC) for picture in small]).astype(
        np.uint8
    )


@pytest.fixture
def row(make_clip: Callable[..., Clip], make_clips: Callable[..., Clips]) -> Callable[..., Row]:
    def build(**kind: Any) -> Row:
        [row] = rows_of(make_clips(make_clip(**kind), notes=("truncated", "corrupt_frames")), SOURCE, SHAPE)
        return row

    return build


@pytest.mark.parametrize(("video", "audio"), [(True, True), (True, False), (False, True)])
def test_a_clip_comes_back_with_all_but_pictures_and_sound_bit_for_bit(
    row: Callable[..., Row], video: bool, audio: bool
) -> None:
    before = row(seed=4, video=video, audio=audio, track_id=2)
    after = round_trip(before)
    assert set(after) == set(before)
    for name in set(before) - LOSSY:
        assert np.array_equal(after[name], before[name]), name
        assert type(after[name]) is type(before[name])
    for name in ("times", "boxes", "landmarks", "frames", "wave"):
        assert (after[name].dtype, after[name].shape) == (before[name].dtype, before[name].shape)
    assert np.abs(after["wave"] - before["wave"]).max() <= 0.5 / 32768
    assert video or not after["frames"].any()


def test_pictures_keep_their_colours_in_full_resolution(row: Callable[..., Row]) -> None:
    before = row() | {"frames": smooth(1)}
    after = round_trip(before)["frames"].astype(int)
    assert np.abs(after - before["frames"]).mean() < 1.5
    stripes = np.zeros_like(before["frames"])
    stripes[:, :, ::2, 0] = 255  # red columns of one pixel: halved colour would blur them
    assert np.abs(round_trip(before | {"frames": stripes})["frames"].astype(int) - stripes).mean() < 10


def test_quality_is_what_the_configuration_says(row: Callable[..., Row]) -> None:
    sizes = [len(through_parquet(row(), quality=quality)["crops"][0]) for quality in (30, 80, 100)]
    assert sizes == sorted(set(sizes))


def test_columns_of_the_data_set_are_stored(row: Callable[..., Row]) -> None:
    assert through_parquet(row(), COLUMNS)["columns"] == list(COLUMNS.items())


@settings(max_examples=30)
@given(
    times=arrays(np.float64, 2, elements=st.floats(allow_nan=False)),
    boxes=arrays(np.float32, (2, 4), elements=st.floats(width=32, allow_nan=False)),
    landmarks=arrays(np.float32, (2, 5, 2), elements=st.floats(width=32, allow_nan=False)),
    pcm=arrays(np.int16, 4000),
    text=st.text(st.characters(codec="utf-8")),
)
def test_any_number_and_text_survives(
    times: npt.NDArray[Any], boxes: npt.NDArray[Any], landmarks: npt.NDArray[Any], pcm: npt.NDArray[Any], text: str
) -> None:
    wave = pcm.astype(np.float32) / np.float32(32768)
    before = error_row("", "", SOURCE, SHAPE) | {"clip": 7, "notes": text, "has_video": True, "has_audio": True}
    before |= {"times": times, "boxes": boxes, "landmarks": landmarks, "wave": wave}
    after = round_trip(before)
    for name in ("times", "boxes", "landmarks", "wave", "notes", "clip"):
        assert np.array_equal(after[name], before[name]), name


def test_sound_beyond_full_scale_is_clipped(row: Callable[..., Row]) -> None:
    loud = np.full(4000, 1.7, np.float32)
    loud[0] = -3
    after = round_trip(row() | {"wave": loud})["wave"]
    assert after[0] == -1
    assert after[1:].min() == after[1:].max() == np.float32(32767 / 32768)


def test_an_error_row_is_stored_without_arrays() -> None:
    before = error_row("corrupt_video", "cannot be decoded", SOURCE, SHAPE)
    stored = through_parquet(before)
    assert [stored[name] for name in ("times", "boxes", "landmarks", "wave", "crops")] == [None] * 5
    after = decode_row(stored, SOURCE, SHAPE)
    for name, value in before.items():
        assert np.array_equal(after[name], value), name


def test_the_pass_gives_epoch_slot_split_and_label(row: Callable[..., Row]) -> None:
    source = SOURCE | {"epoch": 9, "slot": 1, "split": "train", "label": 0}
    after = decode_row(through_parquet(row()), source, SHAPE)
    assert {name: after[name] for name in source} == source


def jpeg(side: int) -> bytes:
    return bytes(cv2.imencode(".jpg", np.zeros((side, side, 3), np.uint8))[1].tobytes())


def claims(width: int, height: int) -> bytes:
    """A JPEG whose header was changed to another size."""
    data = bytearray(jpeg(64))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        {"crops": [jpeg(64), jpeg(32)]},
        {"crops": [jpeg(64), claims(65535, 65535)]},
        {"crops": [jpeg(64), jpeg(64)[:150]]},
        {"crops": [jpeg(64), b"not a picture"]},
        {"crops": [jpeg(64), b""]},
        {"crops": [jpeg(64), None]},
        {"crops": [jpeg(64)]},
        {"crops": []},
        {"boxes": None},
        {"landmarks": [None] * 20},
        {"times": None},
        {"wave": b"\0" * 7999},
        {"wave": b""},
        {"clip": None},
        {"media": None},
        {"error": None},
    ],
    ids=lambda change: f"{next(iter(change))}",
)
def test_a_row_of_another_form_is_refused(row: Callable[..., Row], change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"clip|picture|row lacks"):
        decode_row(through_parquet(row()) | change, SOURCE, SHAPE)


def test_shapes_of_a_whole_configuration_fit(config: Config) -> None:
    assert ClipShape.of(config) == SHAPE
