"""One elementary stream of a file, in memory: its packets and what they tell of time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext

if TYPE_CHECKING:
    from av.packet import Packet

C = TypeVar("C", VideoCodecContext, AudioCodecContext)
REORDER = 64
"""Packets whose presentation may come in another order than their decoding (H.264 allows 16)."""


@dataclass(frozen=True, eq=False)
class ElementaryStream(Generic[C]):
    """A stream apart from its container: PyAV's own stream points into the container and must not outlive it."""

    context: C
    """The decoder, not opened yet."""
    time_base: Fraction
    """Seconds of one tick of the timestamps."""
    claimed: float
    """Seconds that the header claims for this stream; 0 where it says nothing."""
    aspect: Fraction | None = None
    """Width of a pixel by its height, as the container has it; None where it says nothing."""
    packets: "list[Packet[Any]]" = field(default_factory=list)
    """In decoding order."""

    def time(self, packet: "Packet[Any]") -> float | None:
        """When a packet is presented, seconds of the container's clock; None where it has no timestamp."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        return None if stamp is None else float(stamp * self.time_base)

    @property
    def codec(self) -> str:
        """The codec's name, as FFmpeg has it."""
        return str(self.context.codec.canonical_name)

    @property
    def start(self) -> float | None:
        """The first presentation time, seconds of the container's clock; None without timestamps."""
        shown = list(_presented(self.packets))
        stamps = [p.pts for p in shown if p.pts is not None] or [p.dts for p in shown if p.dts is not None]
        return float(min(stamps) * self.time_base) if stamps else None

    @property
    def end(self) -> float | None:
        """The end of the last presented packet, seconds of the container's clock; None without timestamps.

        Where packets have no duration, the last one is taken to last as long as those before it.
        """
        shown = [(self.time(p), float((p.duration or 0) * self.time_base)) for p in _presented(reversed(self.packets))]
        ends = [(time, length) for time, length in shown if time is not None]
        if not ends:
            return None
        time, length = max(ends)
        return time + (length or (time - min(ends)[0]) / max(1, len(ends) - 1))

    @property
    def span(self) -> float | None:
        """Seconds from start to end; None without timestamps."""
        start, end = self.start, self.end
        return None if start is None or end is None else max(0.0, end - start)

    @property
    def count(self) -> int:
        """Packets that are presented; those that an edit list cuts away are decoded only."""
        return sum(not packet.is_discard for packet in self.packets)


def _presented(packets: "Iterable[Packet[Any]]") -> "Iterator[Packet[Any]]":
    """The first packets that an edit list leaves, as many as may stand out of order."""
    return islice((packet for packet in packets if not packet.is_discard), REORDER)
