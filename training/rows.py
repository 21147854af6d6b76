"""Clips as rows of one fixed shape, which is what Ray Data carries, and back again without loss."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aura_model.clips import Clip, Clips
from aura_model.config import Config
from aura_model.media import MediaInfo
from training.data.manifest import Sample

Row = dict[str, Any]
"""One clip. Numbers and strings are scalars, the rest are arrays:

frames uint8 [T, H, W, 3], has_video, wave float32 [S], has_audio, times float64 [T] s, seconds, boxes float32 [T, 4],
landmarks float32 [T, 5, 2], track_id (-1: none), label, video_id, path, split, epoch (-1: evaluation), slot (the place
of its video in the pass over the split, from 0), clip (its index in its video), media (JSON), notes (comma-separated
codes), error and detail. A video without a usable clip is one row with `error` set, zeros for the arrays and -1 for
`clip`.

variant, has_places and places uint8 [T, PLACES, PLACES] are of the clips that were made of a video (see
`training.pairing.pairs`): which one it is, and how much of each place was forged, 0..255. Without them they are "",
False, 0.
"""

RowSource = Callable[[Mapping[str, Any]], list[Row]]
"""A path row (see `path_row`) to the rows of its clips, or to one row with `error` set."""

Columns = dict[str, npt.NDArray[Any]]
"""A batch of rows in numpy format: each array has a leading dimension, one entry for each row."""

PLACES = 32
"""Side of `places`: finer than any heat-map."""
EVALUATION = -1
"""The `epoch` of rows whose clips are drawn as in evaluation."""
NO_CLIPS = "no_clips"
"""`error` of a video that can be decoded but shows no face and holds no speech."""


@dataclass(frozen=True)
class ClipShape:
    """The array shapes of every row of one configuration."""

    frames: int
    """T"""
    size: int
    """H and W, pixels."""
    samples: int
    """S"""

    @classmethod
    def of(cls, config: Config) -> "ClipShape":
        """The shapes that `config` gives."""
        video = config.dataset.video
        return cls(video.temporal_window, config.dataset.face.size, video.clip_samples)

    @property
    def bytes(self) -> int:
        """Of one clip: frames and sound, next to which all else is little."""
        return 3 * self.frames * self.size**2 + 4 * self.samples


def path_row(sample: Sample, slot: int = 0, epoch: int = EVALUATION) -> Row:
    """What a source of rows takes: which file, and how its clips are drawn (see `Row`)."""
    facts = {"video_id": sample.video_id, "path": sample.path, "label": sample.label, "split": sample.split}
    return facts | {"epoch": epoch, "slot": slot}


def rows_of(clips: Clips, source: Mapping[str, Any], shape: ClipShape) -> list[Row]:
    """One row for each clip of a video, or an error row where it has none.

    Args:
        clips: of one video.
        source: its video_id, path, label, split, epoch and slot.
        shape: of the arrays.

    Raises:
        ValueError: an array has another shape than `shape` says.
    """
    media, notes = clips.media.model_dump_json(), ",".join(clips.notes)
    if not clips.clips:
        detail = "the video shows no face and holds no speech"
        return [error_row(NO_CLIPS, detail, source, shape) | {"media": media, "notes": notes}]
    return [
        _empty_row(source, shape) | _arrays(clip, shape) | {"clip": index, "media": media, "notes": notes}
        for index, clip in enumerate(clips.clips)
    ]


def error_row(code: str, detail: str, source: Mapping[str, Any], shape: ClipShape) -> Row:
    """The one row of a video that gave no clip."""
    return _empty_row(source, shape) | {"error": code, "detail": detail}


def clip_from_row(row: Mapping[str, Any]) -> Clip:
    """The very clip that `rows_of` was given; its arrays are views of the row's, which may be read-only."""
    seen, heard = bool(row["has_video"]), bool(row["has_audio"])
    return Clip(
        times=row["times"],
        seconds=float(row["seconds"]),
        frames=row["frames"] if seen else None,
        boxes=row["boxes"] if seen else None,
        landmarks=row["landmarks"] if seen else None,
        track_id=int(row["track_id"]) if row["track_id"] >= 0 else None,
        wave=row["wave"] if heard else None,
    )


def rows_to_clips(rows: Sequence[Mapping[str, Any]]) -> Clips:
    """The clips of one video from its rows, in any order. Stage timings do not travel in rows.

    Raises:
        ValueError: the rows are of no or of several videos, or of one that could not be decoded.
    """
    if len({row["video_id"] for row in rows}) != 1:
        raise ValueError("rows_to_clips takes the rows of one video")
    if not rows[0]["media"]:
        raise ValueError(f"{rows[0]['path']} could not be decoded: {rows[0]['error']}")
    clips = sorted((row for row in rows if not row["error"]), key=lambda row: int(row["clip"]))
    return Clips(
        clips=tuple(clip_from_row(row) for row in clips),
        media=MediaInfo.model_validate_json(rows[0]["media"]),
        notes=tuple(code for code in rows[0]["notes"].split(",") if code),
        timings={},
    )


def to_columns(*rows: Row) -> Columns:
    """A batch of these rows, at least one."""
    return {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}


def to_rows(columns: Columns) -> list[Row]:
    """The rows of a batch; their arrays are views of the batch's."""
    count = len(columns["video_id"])
    return [{name: values[index] for name, values in columns.items()} for index in range(count)]


def _empty_row(source: Mapping[str, Any], shape: ClipShape) -> Row:
    return {
        "video_id": str(source["video_id"]),
        "path": str(source["path"]),
        "label": int(source["label"]),
        "split": str(source["split"]),
        "epoch": int(source["epoch"]),
        "slot": int(source["slot"]),
        "clip": -1,
        "frames": np.zeros((shape.frames, shape.size, shape.size, 3), np.uint8),
        "has_video": False,
        "wave": np.zeros(shape.samples, np.float32),
        "has_audio": False,
        "times": np.zeros(shape.frames, np.float64),
        "seconds": 0.0,
        "boxes": np.zeros((shape.frames, 4), np.float32),
        "landmarks": np.zeros((shape.frames, 5, 2), np.float32),
        "track_id": -1,
        "media": "",
        "notes": "",
        "error": "",
        "detail": "",
        "variant": "",
        "has_places": False,
        "places": np.zeros((shape.frames, PLACES, PLACES), np.uint8),
    }


def _arrays(clip: Clip, shape: ClipShape) -> Row:
    row: Row = {
        "times": _checked(clip.times, (shape.frames,)),
        "seconds": clip.seconds,
        "track_id": -1 if clip.track_id is None else clip.track_id,
        "has_video": clip.frames is not None,
        "has_audio": clip.wave is not None,
    }
    if clip.frames is not None:
        row["frames"] = _checked(clip.frames, (shape.frames, shape.size, shape.size, 3))
        row["boxes"] = _checked(clip.boxes, (shape.frames, 4))
        row["landmarks"] = _checked(clip.landmarks, (shape.frames, 5, 2))
    if clip.wave is not None:
        row["wave"] = _checked(clip.wave, (shape.samples,))
    return row


def _checked(array: npt.NDArray[Any] | None, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if array is None or array.shape != shape:
        found = "is missing" if array is None else f"has the shape {array.shape}"
        raise ValueError(f"an array of a clip {found}; the configuration says {shape}")
    return array
