"""How clips travel from a decode child: a small JSON header, then raw arrays whose sizes the receiver already knows.

The child may be under an attacker's control, so nothing it sends is unpickled, and no size it names is believed.
"""

import socket
import struct
from collections.abc import Iterator
from typing import Annotated, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from aura_model.clips import Clip, Clips
from aura_model.config import DatasetConfig, NonNegative
from aura_model.media import MediaInfo

LARGEST_MESSAGE = 1 << 20
"""Bytes of JSON."""
LENGTH = struct.Struct("<Q")
LARGEST_TEXT = 4000
MOST_NAMES = 32
"""Notes or stages in one message; they become labels of metrics."""
UNCONFINED = "unconfined"
"""Note of a child that is ready, on a system that cannot take system calls away from it."""

Note = Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]
Array = npt.NDArray[Any]
M = TypeVar("M", bound="Message")


class Source(Protocol):
    """What a message is received from: a socket, or one with a deadline."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """Receive at least one byte; 0 at the end."""
        ...


class Message(BaseModel):
    """One JSON message; closed to unknown keys."""

    model_config = ConfigDict(extra="forbid")


class Opening(Message):
    """The parent's first message."""

    config: dict[str, Any]
    threads: int


class Request(Message):
    """One file to load; its descriptor travels with the message."""

    seed: int | None
    alarm: int
    """Seconds after which the child ends itself."""


class ClipHeader(Message):
    """Which arrays of a clip follow: times, then frames, boxes and landmarks of a face, then the wave."""

    track_id: Annotated[int, Field(ge=0, lt=2**31)] | None
    """Of the face; None without one."""
    sound: bool

    @model_validator(mode="after")
    def _holds_something(self) -> "ClipHeader":
        if self.track_id is None and not self.sound:
            raise ValueError("a clip has a face or sound")
        return self


class Header(Message):
    """A reply without its arrays: clips of some media, or an error."""

    clips: list[ClipHeader] = []
    media: MediaInfo | None = None
    notes: Annotated[list[Note], Field(max_length=MOST_NAMES)] = []
    timings: Annotated[dict[Note, NonNegative], Field(max_length=MOST_NAMES)] = {}
    error: tuple[Note, Annotated[str, Field(max_length=LARGEST_TEXT)]] | None = None
    """A media error's code and detail; or `config` or `bug` and a text."""


def encode(clips: Clips) -> tuple[Header, list[Array]]:
    """Split clips into a header and the arrays that follow it, in order."""
    headers = [ClipHeader(track_id=clip.track_id, sound=clip.wave is not None) for clip in clips.clips]
    arrays = [array for clip in clips.clips for array in _arrays(clip)]
    return Header(clips=headers, media=clips.media, notes=list(clips.notes), timings=dict(clips.timings)), arrays


def decode(link: Source, header: Header, config: DatasetConfig) -> Clips:
    """Receive the arrays that a header announces, in the shapes that `config` gives them.

    Raises:
        ValueError: the header does not describe what `config` asks for, or a number is out of its range.
        EOFError: the link closed before the last array.
    """
    if header.media is None or len(header.clips) > config.video.max_clips:
        raise ValueError("the header describes no media, or too many clips")
    end = header.media.duration + config.video.clip_seconds
    clips = tuple(_receive_clip(link, item, config, end) for item in header.clips)
    return Clips(clips, header.media, tuple(header.notes), dict(header.timings))


def send(
    link: socket.socket, message: Message, arrays: list[Array] | None = None, descriptor: int | None = None
) -> None:
    """Send a message, with an open file beside it or arrays behind it."""
    body = message.model_dump_json().encode()
    framed = LENGTH.pack(len(body)) + body
    if descriptor is not None:
        sent = socket.send_fds(link, [framed], [descriptor])
        framed = framed[sent:]
    link.sendall(framed)
    for array in arrays or ():
        link.sendall(np.ascontiguousarray(array).data.cast("B"))


def receive_message(link: Source, kind: type[M]) -> M:
    """Receive a message without a descriptor.

    Raises:
        EOFError: the link closed.
        ValueError: this is no message of that kind.
    """
    size = bytearray(LENGTH.size)
    _fill(link, memoryview(size))
    return _parse(link, LENGTH.unpack(size)[0], kind)


def receive_request(link: socket.socket) -> tuple[Request, int]:
    """Receive a request and the descriptor of its file.

    Raises:
        EOFError: the link closed.
    """
    size, descriptors, _, _ = socket.recv_fds(link, LENGTH.size, 1)
    if not descriptors:
        raise EOFError
    head = bytearray(size.ljust(LENGTH.size))
    _fill(link, memoryview(head)[len(size) :])
    return _parse(link, LENGTH.unpack(head)[0], Request), descriptors[0]


def _parse(link: Source, size: int, kind: type[M]) -> M:
    if size > LARGEST_MESSAGE:
        raise ValueError(f"a message of {size} bytes")
    body = bytearray(size)
    _fill(link, memoryview(body))
    return kind.model_validate_json(body)


def _fill(link: Source, buffer: memoryview) -> None:
    while buffer:
        count = link.recv_into(buffer)
        if not count:
            raise EOFError
        buffer = buffer[count:]


def _arrays(clip: Clip) -> Iterator[Array]:
    for array in (clip.times, clip.frames, clip.boxes, clip.landmarks, clip.wave):
        if array is not None:
            yield array


def _receive_clip(link: Source, header: ClipHeader, config: DatasetConfig, end: float) -> Clip:
    count, size, face = config.video.temporal_window, config.face.size, header.track_id is not None

    def array(dtype: type[np.generic], *shape: int) -> Array:
        """Receive an array of this shape, all of it finite."""
        buffer = np.empty(shape, dtype)
        _fill(link, buffer.data.cast("B"))
        if np.issubdtype(dtype, np.floating) and not np.all(np.isfinite(buffer)):
            raise ValueError("a number is not finite")
        return buffer

    return Clip(
        times=_rising(array(np.float64, count), end),
        seconds=config.video.clip_seconds,
        frames=array(np.uint8, count, size, size, 3) if face else None,
        boxes=array(np.float32, count, 4) if face else None,
        landmarks=array(np.float32, count, 5, 2) if face else None,
        track_id=header.track_id,
        wave=_bounded(array(np.float32, config.video.clip_samples)) if header.sound else None,
    )


def _rising(times: Array, end: float) -> Array:
    if times[0] < 0 or times[-1] > end or np.any(np.diff(times) <= 0):
        raise ValueError("times do not rise from the start of the media to its end")
    return times


def _bounded(wave: Array) -> Array:
    if np.max(np.abs(wave)) > 1:
        raise ValueError("samples are louder than 1")
    return wave
