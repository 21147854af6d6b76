"""One clock for recordings that were joined as they are, so that the next one's clock begins anew.

Transport and program streams may be put one behind the other (ISO/IEC 13818-1, 2.4.3.5: discontinuity_indicator);
receivers, cameras and people do so. Without a common clock the parts would lie upon each other, or hours apart.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from av.packet import Packet

SET_ANEW = frozenset({"mpegts", "mpeg"})
"""Containers in which a clock may begin anew."""
SECOND = 90_000
"""Ticks of their timestamps (ISO/IEC 13818-1, 2.4.3.7)."""
BACK, LEAP = SECOND // 2, 60 * SECOND
"""A stream may go back or leap ahead so far without having been set anew: a slide may stay for long."""
APART = 2 * SECOND
"""So much earlier than its fellow in the part before may a stream begin in a new part."""
MOST = 2**62
"""Ticks; FFmpeg has 63 bits."""
NEIGHBOURS = 32
"""Packets around one that tell where its timestamp should lie."""
ASTRAY, SPREADS = 1.0, 4.0
"""A timestamp is false that lies further from its neighbours' than this many seconds, and than so many times as far as
they lie from each other, if packets behind it in the file are to be shown before it all the same."""


def one_clock(packets: "Iterator[Packet[Any]]") -> "Iterator[Packet[Any]]":
    """Let the clock go on where it goes back or leaps."""
    clock = _Clock()
    for packet in packets:
        shift = clock.shift(packet)
        if shift:
            packet.pts, packet.dts = _moved(packet.pts, shift), _moved(packet.dts, shift)
        yield packet


class _Clock:
    """What is added to the timestamps of each stream.

    All streams of a part are moved by the same, or lips and voice would part: the first packet of a new part decides
    for the other streams, each of which follows when its own clock goes back or leaps.
    """

    def __init__(self) -> None:
        self._known = deque([0], maxlen=4)
        """Shifts, the one that was found last first. A few do: one false timestamp gives two."""
        self._shifts: dict[int, int] = {}
        self._ends: dict[int, int] = {}

    def shift(self, packet: "Packet[Any]") -> int:
        """What to add to the timestamps of the next packet."""
        index = packet.stream.index
        shift = self._shifts.get(index, self._known[0])
        if packet.dts is not None:
            shift = self._fitting(index, shift, packet.dts)
            self._ends[index] = packet.dts + shift + min(max(0, packet.duration or 0), LEAP)
        self._shifts[index] = shift
        return shift

    def _fitting(self, index: int, shift: int, dts: int) -> int:
        """The stream's own shift, else a known one, else a new one: what lets `dts` follow."""
        if index not in self._ends or self._follows(index, dts + shift, BACK):
            return shift
        found = self._known_shift(index, shift, dts)
        if found is None:
            found = max(self._ends.values()) - dts
        else:
            self._known.remove(found)
        self._known.appendleft(found)
        return found

    def _known_shift(self, index: int, own: int, dts: int) -> int | None:
        """Another stream's, or an earlier one; the newest may be of a part that this stream has yet to enter."""
        backs = [APART, *[BACK] * len(self._known)]
        others = ((shift, back) for shift, back in zip(self._known, backs, strict=False) if shift != own)
        return next((shift for shift, back in others if self._follows(index, dts + shift, back)), None)

    def _follows(self, index: int, moved: int, back: int) -> bool:
        """Whether a packet is not before the end of its stream, and not long after that of all: sound may pause."""
        return moved >= self._ends[index] - back and moved <= max(self._ends.values()) + LEAP


def unstamp_strays(packets: "Sequence[Packet[Any]]", time_base: Fraction) -> int:
    """Take away the timestamps that lie far ahead of their neighbours': players go on, as if they had none.

    One such frame would else be waited for, and what comes meanwhile would not be looked at.

    Returns:
        How many there were.
    """
    stamped = [packet for packet in packets if packet.pts is not None]
    times = np.array([packet.pts for packet in stamped], np.float64) * float(time_base)
    strays = [stamped[place] for place in _strays(times)]
    for packet in strays:
        packet.pts = packet.dts = None
    return len(strays)


def _strays(times: npt.NDArray[np.float64]) -> list[int]:
    later = np.minimum.accumulate(times[::-1])[::-1]  # the least from here on
    (suspects,) = np.nonzero(times - later > ASTRAY)
    return [place for place in suspects.tolist() if _is_astray(times, place)]


def _is_astray(times: npt.NDArray[np.float64], place: int) -> bool:
    around = times[max(0, place - NEIGHBOURS // 2) : place + NEIGHBOURS // 2 + 1]
    apart = np.abs(around - np.median(around))
    return bool(times[place] - np.median(around) > max(ASTRAY, SPREADS * float(np.median(apart))))


def _moved(stamp: int | None, shift: int) -> int | None:
    return None if stamp is None or abs(stamp + shift) > MOST else stamp + shift
