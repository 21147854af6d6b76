"""The frames that are on display at given moments, decoded once and in order, upright and in RGB."""

import math
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from aura_model.config import LimitsConfig
from aura_model.elementary import ElementaryStream
from aura_model.errors import MediaError
from aura_model.media import Media, check_size
from aura_model.streams import STILL_CODECS, VIDEO_CODECS

EARLY = 1e-3
"""A frame counts as displayed this many seconds before its time, for rounded timestamps."""
MAX_ERROR_SHARE = 0.8
"""Above this share of refused packets, what the decoder does return is garbage (as with encrypted video)."""
UNKNOWN_SIDE_DATA = range(28, 40)
"""FFmpeg's types of side data for which PyAV has no name; in 8.1, 31 is EXIF."""

LEAST_ASPECT, MOST_ASPECT = 0.25, 4.0
"""Widths of a pixel by its height beyond which a stream's word is not taken; those of cameras and discs are 0.5..2."""
NEARLY_SQUARE = 0.02
"""So little off, an aspect is the rounding of whoever scaled the video."""

PADDING = 64 * 65_536
"""Decoders count columns up to the next multiple of 64, so many pixels more at most; what comes out is measured."""

UNSPECIFIED = 2
MATRICES = frozenset({0, 1, UNSPECIFIED, 4, 5, 6, 7, 9})
"""Matrix coefficients (ITU-T H.273, 8.3) that FFmpeg's scaler knows; the others are reserved or hardly used."""


@dataclass(frozen=True)
class Orientation:
    """How a stored picture becomes the displayed one: a vertical flip first, then `turns` quarter turns clockwise."""

    turns: int
    flip: bool

    @property
    def degrees(self) -> int:
        """The clockwise rotation, degrees."""
        return 90 * self.turns

    def apply(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Turn an image [H, W, 3]."""
        return np.ascontiguousarray(np.rot90(image[::-1] if self.flip else image, -self.turns))


def orientation(frame: VideoFrame) -> Orientation:
    """Read the display matrix as FFmpeg's own players do: quarter turns and mirrors; any other angle is ignored."""
    data = next((entry for entry in _side_data(frame) if entry.type.name == "DISPLAYMATRIX"), None)
    if data is None:
        return Orientation(0, flip=False)
    a, b, _, c, d = (float(value) for value in np.frombuffer(bytes(data), dtype=np.int32)[:5])
    theta = math.degrees(math.atan2(b / (math.hypot(b, d) or 1), a / (math.hypot(a, c) or 1)))
    return _upright(round(theta) % 360, mirrored=a * d - b * c < 0)


def _side_data(frame: VideoFrame) -> list[Any]:
    """What goes with a frame, as far as PyAV knows its type: at an unknown one it would refuse the whole list."""
    try:
        return list(frame.side_data)
    except ValueError:
        graph = Graph()
        graph.threads = 1
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1)
        )
        drops = [graph.add("sidedata", mode="delete", type=str(kind)) for kind in UNKNOWN_SIDE_DATA]
        graph.link_nodes(source, *drops, graph.add("buffersink")).configure()
        graph.vpush(frame)
        return list(graph.vpull().side_data)


def _upright(theta: int, *, mirrored: bool) -> Orientation:
    """Clockwise degrees and mirroring to quarter turns and a flip."""
    return Orientation(theta // 90, flip=mirrored) if theta % 90 == 0 else Orientation(0, flip=False)


@dataclass(frozen=True, eq=False)
class ShownFrame:
    """A decoded frame."""

    time: float
    """From when on it is displayed, seconds."""
    frame: VideoFrame
    aspect: float
    """Width of a pixel by its height."""


class FrameReader:
    """Returns the frame on display at each of a rising sequence of moments; skips ahead to key frames.

    A key frame from which decoding does not begin cleanly (as with intra refresh, or a wrong index) ends the skipping.
    """

    def __init__(self, media: Media, limits: LimitsConfig, threads: int) -> None:
        if media.video is None:
            raise ValueError("the media holds no video")
        self._stream: ElementaryStream[VideoCodecContext] = media.video
        self._limits = limits
        self._start = media.start
        self._still = media.still
        self._interval = 1 / media.fps if media.fps else 0.0
        self._keys = _key_frames(self._stream, self._start)
        self._context = _prepare(self._stream.context, limits, threads)
        self._next_packet = 0
        self._begun = 0
        self._decoded: deque[VideoFrame] = deque()
        self._ended = False
        self._ahead: ShownFrame | None = None
        self._shown: ShownFrame | None = None
        self._last = -math.inf
        self.width = self.height = 0
        """Of the first frame in square pixels, before it is turned."""
        self.orientation = Orientation(0, flip=False)
        """How the first frame is turned for display."""
        self.refused = 0
        """Packets that the decoder refused."""
        self.frames = 0
        """Frames that were decoded."""
        self.marred = 0
        """Frames among them that the decoder marked as damaged."""

    def at(self, time: float) -> ShownFrame:
        """The frame on display at `time` seconds; the first or the last one outside the video's span.

        Raises:
            MediaError: corrupt_video when nothing can be decoded, or a frame beyond the size limits.
        """
        self._skip_to(time)
        while self._ahead is None or self._ahead.time <= time + EARLY:
            self._shown = self._ahead or self._shown
            self._ahead = self._decode()
            if self._ahead is None:
                break
        shown = self._shown or self._ahead
        if shown is None:
            most = self._limits.max_pixels
            raise MediaError("corrupt_video", f"No frame can be decoded: damaged, or larger than {most} pixels.")
        return shown

    @property
    def damaged(self) -> bool:
        """Whether anything that was read is damaged."""
        return self.refused + self.marred > 0

    @property
    def garbled(self) -> bool:
        """Whether nearly every packet was refused, so that the frames mean nothing.

        Frames that are merely marked as damaged still show most of their picture: in a stream with one key frame, a
        single flipped bit marks all that follow.
        """
        return self.refused > MAX_ERROR_SHARE * max(1, self.refused + self.frames)

    def _skip_to(self, time: float) -> None:
        """Jump to the last key frame before `time` where that leaves packets out."""
        target = max((index for index, at in self._keys if at <= time), default=0)
        if target <= self._next_packet or (self._ahead and self._ahead.time > time):
            return
        self._begin_at(target)
        self._ahead = self._decode()
        if self._ahead and self._ahead.time <= time + EARLY and self._ahead.frame.key_frame:
            self._begun = target
        else:
            self._keys.clear()
            self._begin_at(self._begun)

    def _begin_at(self, packet: int) -> None:
        self._context.flush_buffers()
        self._next_packet, self._ended = packet, False
        self._decoded.clear()
        self._ahead = None

    def _decode(self) -> ShownFrame | None:
        """The next frame in order of display, or None at the end."""
        while not self._decoded and not self._ended:
            self._feed()
        if not self._decoded:
            return None
        frame = self._decoded.popleft()
        aspect = self._aspect()
        size = square_size(frame, aspect)
        check_size(*size, self._limits)
        if not self.frames:
            (self.width, self.height), self.orientation = size, orientation(frame)
        self.frames += 1
        self.marred += frame.is_corrupt
        stamp = frame.pts if frame.pts is not None else frame.dts
        time = float(stamp * self._stream.time_base) - self._start if stamp is not None else self._last + self._interval
        self._last = time if math.isfinite(time) else 0.0
        return ShownFrame(self._last, frame, aspect)

    def _aspect(self) -> float:
        """Of the frame that was just decoded: the container's, else the stream's own, which is known only now.

        A still has square pixels: its density is that of print.
        """
        aspect = self._stream.aspect or self._context.sample_aspect_ratio
        return float(aspect) if aspect and not self._still else 1.0

    def _feed(self) -> None:
        packets = self._stream.packets
        self._ended = self._next_packet >= len(packets)
        packet = None if self._ended else packets[self._next_packet]
        self._next_packet += 1
        try:
            self._decoded.extend(self._context.decode(packet))
        except av.EOFError:
            self._ended = True
        except MemoryError:
            raise
        except av.FFmpegError:
            self.refused += 1


def _prepare(context: VideoCodecContext, limits: LimitsConfig, threads: int) -> VideoCodecContext:
    context.options = {
        "codec_whitelist": ",".join(sorted(VIDEO_CODECS | STILL_CODECS)),
        "max_pixels": str(limits.max_pixels + min(limits.max_pixels, PADDING)),
    }
    context.thread_type = "SLICE"
    context.thread_count = threads
    return context


def _key_frames(stream: ElementaryStream[VideoCodecContext], start: float) -> list[tuple[int, float]]:
    """Index and time of each key frame from which decoding can begin anew; those whose clock was set back are none."""
    times = ((index, stream.time(packet)) for index, packet in enumerate(stream.packets) if packet.is_keyframe)
    keys: list[tuple[int, float]] = []
    for index, time in times:
        if time is not None and (not keys or time - start > keys[-1][1]):
            keys.append((index, time - start))
    return keys


def square_size(frame: VideoFrame, aspect: float) -> tuple[int, int]:
    """Width and height of a frame in square pixels; no side is shrunk, for that would lose what is there."""
    if not LEAST_ASPECT <= aspect <= MOST_ASPECT or abs(aspect - 1) < NEARLY_SQUARE:
        return frame.width, frame.height
    return (round(frame.width * aspect), frame.height) if aspect > 1 else (frame.width, round(frame.height / aspect))


class Converter:
    """Frames to upright RGB; keeps one scaler for all of them.

    The frame's own matrix and range are used, BT.601 and limited range where it names none or one that FFmpeg does not
    convert. More than 8 bits are rounded; HDR (PQ, HLG) is not tone-mapped; alpha is dropped.
    """

    def __init__(self, threads: int) -> None:
        self._reformatter = VideoReformatter()
        self._threads = threads

    def rgb(self, shown: ShownFrame) -> npt.NDArray[np.uint8]:
        """Convert to [H, W, 3] as displayed, in square pixels."""
        frame = shown.frame
        if frame.colorspace not in MATRICES:
            frame.colorspace = UNSPECIFIED
        width, height = square_size(frame, shown.aspect)
        converted = self._reformatter.reformat(frame, width, height, format="rgb24", threads=self._threads)
        return orientation(frame).apply(converted.to_ndarray().astype(np.uint8, copy=False))
