"""Open untrusted media: what it is, whether it is within the limits, and its packets, read once in order.

No decoder runs while a file is probed: dimensions and codecs come from the container and its parsers, and are
checked before the first frame is decoded. Formats, codecs and frame size are limited again in the decoders.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from pydantic import BaseModel, ConfigDict, Field

from aura_model.clocks import SET_ANEW, one_clock, unstamp_strays
from aura_model.config import LimitsConfig, NonNegative
from aura_model.durations import beginning, check_duration, claimed, is_cut, lasting
from aura_model.elementary import C, ElementaryStream
from aura_model.errors import ConfigError, MediaError
from aura_model.sniff import ACCEPTED, HEAD_BYTES, check_names
from aura_model.stills import JPEG, STILLS, still_size
from aura_model.streams import CONTAINERS, choose_audio, choose_videos, is_accepted, longest_picture

if TYPE_CHECKING:
    from av.packet import Packet

OLDEST_FFMPEG = (8, 1, 2)
"""Releases before it have published holes (CVE-2026-8461 and others)."""
AUDIO_PACKETS_PER_FRAME = 10
"""Sound may have this many packets for each video frame that the limits allow."""

Count = Annotated[int, Field(ge=0, lt=2**53)]
Name = Annotated[str, Field(max_length=100)]


class MediaInfo(BaseModel):
    """Facts about one media file, as read from its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Name
    bytes: Count
    container: Name
    duration: NonNegative
    """Seconds from the beginning of picture or sound, whichever is first, to the last moment; 0 for a still."""
    width: Count
    """Square pixels as displayed, after rotation, of the first frame; 0 without video."""
    height: Count
    fps: NonNegative
    rotation: Count = Field(
        description="Clockwise degrees that were applied for display: 0, 90, 180 or 270. A mirrored picture was "
        "flipped vertically before that, which is not told here."
    )
    video_codec: Name | None
    audio_codec: Name | None


@dataclass(frozen=True, eq=False)
class Media:
    """An opened file within the limits."""

    sha256: str
    bytes: int
    container: str
    video: ElementaryStream[VideoCodecContext] | None
    audio: ElementaryStream[AudioCodecContext] | None
    duration: float
    """Seconds, from the packets that are there, not from what the header claims."""
    truncated: bool
    """The header claims more than the file holds."""

    @property
    def still(self) -> bool:
        """Whether this is one picture."""
        return self.container in STILLS

    @property
    def start(self) -> float:
        """The moment that counts as 0, seconds of the container's clock."""
        return beginning(stream.start for stream in (self.video, self.audio) if stream) or 0.0

    @property
    def fps(self) -> float:
        """Frames per second, on average; 0 for a still or without video."""
        if self.video is None or self.still:
            return 0.0
        span = self.video.span or self.duration
        return self.video.count / span if span > 0 else 0.0


def check_ffmpeg(version: str = av.ffmpeg_version_info) -> None:
    """Refuse an FFmpeg with known holes: PyAV brings its own, unless it was built against that of a system.

    Raises:
        ConfigError: it is older than `OLDEST_FFMPEG`.
    """
    found = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if found < OLDEST_FFMPEG:
        least = ".".join(map(str, OLDEST_FFMPEG))
        raise ConfigError(f"PyAV uses FFmpeg {version}, which has known holes; it must be {least} or newer")


@contextmanager
def open_media(file: BinaryIO, limits: LimitsConfig) -> Iterator[Media]:
    """Open `file` (seekable, at any position) and read its packets; closed on leaving the context.

    Raises:
        MediaError: the bytes are no media, of a kind that is not accepted, or beyond the limits.
    """
    size = file.seek(0, 2)
    head = _check_bytes(file, size, limits)
    digest = _sha256(file)
    with _open(file, head) as container:
        _check_streams(container, limits)
        videos, audio = choose_videos(container), choose_audio(container)
        if not videos and audio is None:
            raise MediaError("no_video_stream", "The file holds neither video nor sound that can be decoded.")
        for video in videos:
            _check_video(container, video, limits)
        pictures = {video.index: _elementary(video, video.codec_context) for video in videos}
        sound = _elementary(audio, audio.codec_context) if audio else None
        sounds = {audio.index: sound} if audio and sound else {}
        _read_packets(container, {**pictures, **sounds}, limits)
        index, picture = longest_picture(pictures)
        streams: dict[int, ElementaryStream[Any]] = {**({index: picture} if picture else {}), **sounds}
        if picture and container.format.name in STILLS:
            _keep_one(picture, limits)
        duration = lasting(container, streams.values())
        check_duration(duration, limits)
        yield Media(
            sha256=digest,
            bytes=size,
            container=container.format.name,
            video=_held(picture, sound),
            audio=_held(sound, picture),
            duration=duration,
            truncated=is_cut(container, streams),
        )


def _check_bytes(file: BinaryIO, size: int, limits: LimitsConfig) -> bytes:
    """Refuse what the size or the first bytes rule out; returns those."""
    if size == 0:
        raise MediaError("empty_file", "The file is empty; send the bytes of a video, a still or a sound file.")
    if size > limits.max_bytes:
        raise MediaError("file_too_large", f"The file has {size} bytes; at most {limits.max_bytes} are accepted.")
    file.seek(0)
    head = file.read(HEAD_BYTES)
    check_names(head)
    return head


def _sha256(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    file.seek(0)
    return digest.hexdigest()


def _open(file: BinaryIO, head: bytes) -> InputContainer:
    options = {
        "format_whitelist": CONTAINERS,
        "protocol_whitelist": "",
        "codec_whitelist": "none",
    }
    # A phone's photo may be followed by a second one, such as a gain map; by guessing that is a film of JPEGs.
    name = "jpeg_pipe" if head.startswith(JPEG) else None
    try:
        return av.open(_Nameless(file), mode="r", format=name, options=options, metadata_errors="replace")
    except av.ArgumentError:
        raise MediaError("unsupported_container", ACCEPTED) from None
    except (av.FFmpegError, OSError, ValueError):
        raise MediaError("invalid_video", "The bytes cannot be read as media; was the upload complete?") from None


class _Nameless:
    """A file without its name, so that no demuxer guesses by extension or looks for siblings."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell


def _check_streams(container: InputContainer, limits: LimitsConfig) -> None:
    if len(container.streams) > limits.max_streams:
        raise MediaError("too_many_streams", f"At most {limits.max_streams} streams are accepted in one file.")


def _check_video(container: InputContainer, video: VideoStream, limits: LimitsConfig) -> None:
    if not is_accepted(container, video):
        codec = video.codec_context.name if video.codec_context else "unknown"
        raise MediaError("unsupported_codec", f"The video codec {codec} is not accepted; send H.264, HEVC, VP9 or AV1.")
    check_size(video.codec_context.width, video.codec_context.height, limits)


def check_size(width: int, height: int, limits: LimitsConfig) -> None:
    """Refuse frames beyond the limits; a width of 0 means not known yet.

    Raises:
        MediaError: resolution_too_large or resolution_too_small.
    """
    if width * height > limits.max_pixels:
        raise MediaError(
            "resolution_too_large", f"Frames are {width}x{height}; at most {limits.max_pixels} pixels are accepted."
        )
    if width and min(width, height) < limits.min_side:
        raise MediaError("resolution_too_small", f"Frames are {width}x{height}; send a video that shows a face.")


def _elementary(stream: VideoStream | AudioStream, context: C) -> ElementaryStream[C]:
    base = stream.time_base or Fraction(1, av.time_base)
    aspect = stream.sample_aspect_ratio if isinstance(stream, VideoStream) else None
    return ElementaryStream(context, base, float((stream.duration or 0) * base), aspect)


def _held(stream: ElementaryStream[C] | None, other: ElementaryStream[Any] | None) -> ElementaryStream[C] | None:
    """A stream, or None where it is only announced: browsers announce a video that they then record no frame of."""
    return None if stream and other and other.packets and not stream.packets else stream


def _read_packets(
    container: InputContainer, streams: Mapping[int, ElementaryStream[Any]], limits: LimitsConfig
) -> None:
    """Read on from the first packet if what the header claims, which may depend on that one, is within the limits."""
    packets = _packets(container, streams)
    first = next(packets, None)
    check_duration(claimed(container, first), limits)
    _fill(streams, chain([first] if first else [], packets), limits)
    for stream in streams.values():
        unstamp_strays(stream.packets, stream.time_base)


def _packets(container: InputContainer, streams: Mapping[int, ElementaryStream[Any]]) -> "Iterator[Packet[Any]]":
    """Those of the streams, in the order of the file, on one clock."""
    packets = _intact(container.demux([container.streams[index] for index in streams]))
    return one_clock(packets) if container.format.name in SET_ANEW else packets


def _fill(streams: Mapping[int, ElementaryStream[Any]], packets: "Iterator[Packet[Any]]", limits: LimitsConfig) -> None:
    """Fill the streams; what was read before a damaged spot is kept, an empty stream is refused by its decoder."""
    room = {
        index: limits.max_frames * (1 if isinstance(stream.context, VideoCodecContext) else AUDIO_PACKETS_PER_FRAME)
        for index, stream in streams.items()
    }
    spare = 2 * limits.max_bytes
    for packet in packets:
        index, spare = packet.stream.index, spare - packet.size
        room[index] -= bool(packet.size)
        if min(room[index], spare) < 0:
            raise MediaError("too_many_frames", f"At most {limits.max_frames} frames are accepted.")
        if packet.size:
            streams[index].packets.append(packet)


def _intact(packets: "Iterator[Packet[Any]]") -> "Iterator[Packet[Any]]":
    """The packets before a damaged spot; an absurd size there shows as memory that FFmpeg is not given.

    At the end PyAV looks for streams that it did not see at the beginning, and fails where FLV has brought some.
    """
    with suppress(av.FFmpegError, IndexError):
        yield from packets


def _keep_one(picture: ElementaryStream[VideoCodecContext], limits: LimitsConfig) -> None:
    """A still is one picture; a photo's file may hold more, as a gain map or for depth."""
    del picture.packets[1:]
    for packet in picture.packets:
        check_size(*still_size(memoryview(packet)), limits)
