"""A row of a clip as it is stored in Parquet, and back: JPEG crops, 16-bit sound, everything else bit for bit.

Untrusted on the way back: a store may be damaged, or written by someone else.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aura_model.stills import still_size
from training.rows import ClipShape, Row, error_row

StoredRow = dict[str, Any]
"""One clip, or one unusable video, as `stored_schema` says; without a face, `crops`, `boxes` and `landmarks` are None,
without speech `wave`, and for an unusable video `times` too."""

PCM_SCALE = 32768.0
"""Full scale of 16-bit sound: each of its values is one float32 and comes back as the same."""
_FACTS = ("video_id", "path", "label", "split", "clip", "seconds", "track_id", "media", "notes", "error", "detail")
_READ_BACK = ("clip", "seconds", "track_id", "media", "notes", "error", "detail")
"""What a stored row says of itself; which video it belongs to, and in which pass, the path row says."""


def stored_schema(shape: ClipShape) -> pa.Schema:
    """The columns of a file of the store.

    `crops` holds T JPEG pictures of `shape.size` pixels a side, `wave` S little-endian int16, `boxes` T x 4 and
    `landmarks` T x 5 x 2 numbers in C order; `columns` is what else the data set says of the video.
    """
    text, real, count = pa.string(), pa.float32(), shape.frames
    return pa.schema(
        {
            "video_id": text,
            "path": text,
            "label": pa.int8(),
            "split": text,
            "columns": pa.map_(text, text),
            "clip": pa.int32(),
            "seconds": pa.float64(),
            "track_id": pa.int32(),
            "media": text,
            "notes": text,
            "error": text,
            "detail": text,
            "times": pa.list_(pa.float64(), count),
            "boxes": pa.list_(real, count * 4),
            "landmarks": pa.list_(real, count * 10),
            "wave": pa.binary(),
            "crops": pa.list_(pa.binary()),
        }
    )


def encode_row(row: Mapping[str, Any], columns: Mapping[str, str], jpeg_quality: int) -> StoredRow:
    """A row as it is stored; `columns` are those of its sample.

    Lossless but for JPEG (4:4:4, so that colour keeps its resolution) and for the step of 16-bit sound.
    """
    seen, heard, usable = bool(row["has_video"]), bool(row["has_audio"]), not row["error"]
    return {name: row[name] for name in _FACTS} | {
        "columns": list(columns.items()),
        "times": _flat(row["times"]) if usable else None,
        "boxes": _flat(row["boxes"]) if seen else None,
        "landmarks": _flat(row["landmarks"]) if seen else None,
        "wave": _encode_wave(row["wave"]) if heard else None,
        "crops": [_encode_crop(crop, jpeg_quality) for crop in row["frames"]] if seen else None,
    }


def decode_row(stored: Mapping[str, Any], source: Mapping[str, Any], shape: ClipShape) -> Row:
    """The row that was stored, for this pass over its video.

    Args:
        stored: of `stored_schema`'s types; its values are not trusted.
        source: the path row: video_id, path, label, split, epoch and slot are taken from it.
        shape: of the arrays.

    Raises:
        ValueError: a value is missing or has another size than `shape` says.
    """
    if any(stored[name] is None for name in _READ_BACK):
        raise ValueError("a row lacks a value")
    blank = error_row("", "", source, shape) | {name: stored[name] for name in _READ_BACK}
    if stored["error"]:
        return blank
    times = _array(stored["times"], np.float64, (shape.frames,))
    return blank | {"times": times} | _sight(stored, shape) | _hearing(stored, shape)


def _sight(stored: Mapping[str, Any], shape: ClipShape) -> Row:
    if stored["crops"] is None:
        return {}
    return {
        "has_video": True,
        "frames": _decode_crops(stored["crops"], shape),
        "boxes": _array(stored["boxes"], np.float32, (shape.frames, 4)),
        "landmarks": _array(stored["landmarks"], np.float32, (shape.frames, 5, 2)),
    }


def _hearing(stored: Mapping[str, Any], shape: ClipShape) -> Row:
    if stored["wave"] is None:
        return {}
    return {"has_audio": True, "wave": _decode_wave(stored["wave"], shape.samples)}


def _flat(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(array).reshape(-1)


def _array(values: Sequence[float] | None, kind: type[np.generic], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if values is None or any(value is None for value in values):
        raise ValueError("a clip lacks its times, boxes or landmarks")
    return np.array(values, kind).reshape(shape)


def _encode_wave(wave: npt.NDArray[np.float32]) -> bytes:
    """-1..1 to little-endian int16; what is louder is clipped."""
    pcm: bytes = np.clip(np.rint(wave * PCM_SCALE), -32768, 32767).astype("<i2").tobytes()
    return pcm


def _decode_wave(pcm: bytes, samples: int) -> npt.NDArray[np.float32]:
    if len(pcm) != 2 * samples:
        raise ValueError(f"the sound of a clip has {len(pcm)} bytes instead of {2 * samples}")
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(PCM_SCALE)


def _encode_crop(crop: npt.NDArray[np.uint8], quality: int) -> bytes:
    settings = [
        *(cv2.IMWRITE_JPEG_QUALITY, quality),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ]
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), settings)
    if not done:
        raise ValueError("a crop cannot be coded as JPEG")
    data: bytes = jpeg.tobytes()
    return data


def _decode_crops(pictures: Sequence[bytes | None], shape: ClipShape) -> npt.NDArray[np.uint8]:
    if len(pictures) != shape.frames:
        raise ValueError(f"a clip has {len(pictures)} pictures instead of {shape.frames}")
    frames = np.empty((shape.frames, shape.size, shape.size, 3), np.uint8)
    for frame, jpeg in zip(frames, pictures, strict=True):
        frame[...] = _decode_crop(jpeg or b"", shape.size)
    return frames


def _decode_crop(jpeg: bytes, size: int) -> npt.NDArray[np.uint8]:
    claimed = still_size(jpeg)
    if claimed != (size, size):  # before it is decoded: a picture may claim gigabytes
        raise ValueError(f"a picture has {claimed[0]} x {claimed[1]} pixels instead of {size} x {size}")
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    if picture is None or picture.shape != (size, size, 3):
        raise ValueError("a picture cannot be decoded")
    return picture.astype(np.uint8, copy=False)
