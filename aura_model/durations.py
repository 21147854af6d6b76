"""How long a file lasts, what its header claims of that, and whether the end is missing."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

from aura_model.config import LimitsConfig
from aura_model.elementary import ElementaryStream
from aura_model.errors import MediaError
from aura_model.stills import STILLS, jpeg_ends

if TYPE_CHECKING:
    from av.packet import Packet

GUESSED = frozenset({"mpegts", "mpeg", "mp3", "aac"})
"""Containers without a duration: FFmpeg's is the difference of two timestamps, or the size by the first bit rate."""
TO_THE_END = frozenset({"flv", "matroska,webm"})
"""Containers whose header may have the moment of the end, on a clock that a recorded live stream begins late."""
BY_TRACK = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "avi"})
"""Containers whose header has a duration for each stream, so that a longer one that is not read does not count."""
LASTING = frozenset({"video", "audio", "subtitle"})
"""Kinds of streams that a header's duration may be of."""
RUN_UP = 0.25
"""Seconds by which sound may begin before the first frame without moving the beginning."""
ROUNDING = 1.0
"""Seconds by which a file may be longer than the limit: containers round, and the last frame and the sound run over, so
that what an editor exports as ten minutes lasts up to 600.5 s."""
MISSING_SECONDS, MISSING_SHARE = 0.25, 0.05
"""A file that is shorter than its header claims by more than the larger of these is truncated."""


def check_duration(seconds: float, limits: LimitsConfig) -> None:
    """Refuse what lasts longer than the limit, by more than `ROUNDING`.

    Raises:
        MediaError: too_long.
    """
    if seconds > limits.max_seconds + ROUNDING:
        most = f"{limits.max_seconds:.1f} s"
        raise MediaError("too_long", f"The media lasts {seconds:.1f} s; at most {most} are accepted.")


def claimed(container: InputContainer, first: "Packet[Any] | None") -> float:
    """Seconds, as the header has it; 0 where it says nothing.

    The start is that of the first packet: FFmpeg does not know one where frames are out of order.
    """
    if first is None or first.time_base is None:
        return _claim(container, 0.0)
    stamp = first.pts if first.pts is not None else first.dts
    return _claim(container, float((stamp or 0) * first.time_base))


def _claim(container: InputContainer, start: float) -> float:
    """Seconds; an end that is before the start is a duration, as some writers have it there."""
    if container.format.name in GUESSED:
        return 0.0
    end = _stated(container)
    return end - start if container.format.name in TO_THE_END and 0 < start < end else end


def beginning(starts: Iterable[float | None]) -> float | None:
    """The moment that counts as 0, by the starts of the streams, the picture's first; None where none has one.

    It is the first frame's, so that the sound of a codec that needs a run-up begins a little before it; where the sound
    begins clearly earlier, as when a camera was switched on later, players begin with the sound. What lies long before
    the zero of the clock is not played.
    """
    known = [start for start in starts if start is not None]
    if not known:
        return None
    earliest = min(known)
    return earliest if earliest >= -RUN_UP and known[0] - earliest > RUN_UP else known[0]


def lasting(container: InputContainer, streams: Iterable[ElementaryStream[Any]]) -> float:
    """Seconds from the `beginning` to the end of the longer stream.

    Where no packet has a timestamp, what the header claims or FFmpeg guesses must do.
    """
    if container.format.name in STILLS:
        return 0.0
    spans = [(stream.start, stream.end) for stream in streams]
    start = beginning(start for start, _ in spans)
    if start is None:
        return _stated(container)
    return max(0.0, *(end - start for _, end in spans if end is not None))


def is_cut(container: InputContainer, streams: Mapping[int, ElementaryStream[Any]]) -> bool:
    """Whether there is less than the header claims, or of a JPEG no end."""
    if container.format.name == "jpeg_pipe":
        return not all(jpeg_ends(memoryview(packet)) for stream in streams.values() for packet in stream.packets)
    if container.format.name in STILLS | GUESSED:
        return False
    if container.format.name in BY_TRACK:
        return any(_misses(stream.claimed, stream.span or 0.0) for stream in streams.values())
    return _ends_early(container, streams)


def _ends_early(container: InputContainer, streams: Mapping[int, ElementaryStream[Any]]) -> bool:
    """Whether the longest stream is shorter than claimed; where a stream is not read, the claim may be of that one."""
    if any(_lasts(stream) and stream.index not in streams for stream in container.streams):
        return False
    spans = [(stream.start, stream.end) for stream in streams.values()]
    start = min((start for start, _ in spans if start is not None), default=0.0)
    ends = [end for _, end in spans if end is not None]
    return bool(ends) and _misses(_claim(container, start), max(ends) - start)


def _lasts(stream: Stream) -> bool:
    """Whether a stream has a length; cover art has none."""
    return stream.type in LASTING and not stream.disposition & Disposition.attached_pic


def _misses(claim: float, there: float) -> bool:
    return claim - there > max(MISSING_SECONDS, MISSING_SHARE * there)


def _stated(container: InputContainer) -> float:
    """Seconds, as FFmpeg has them of the header or guesses them."""
    return max(0, container.duration or 0) / av.time_base
