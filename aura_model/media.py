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
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from pydantic import BaseModel, ConfigDict, Field

from aura_model.clocks import SET_ANEW, one_clock, unstamp_strays
from aura_model.config import LimitsConfig, NonNegative
from aura_model.durations import beginning, check_duration, claimed, is_cut, lasting
from aura_model.elementary import C, ElementaryStream
from aura_model.errors import ConfigError, MediaError
from aura_model.sniff import check_names
from aura_model.stills import JPEG, STILLS, still_size

VIDEOS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "flv"})
SOUNDS = frozenset({"ogg", "wav", "mp3", "flac", "aac"})
CONTAINERS = ",".join(sorted(STILLS | VIDEOS | SOUNDS))
VIDEO_CODECS = frozenset(
    {"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "h263"}
)
FRAME_FOLDER = "frames of a folder"
"""The comment in a QuickTime file that a data set's frames were packed into; there alone PNG is a codec of video."""
STILL_CODECS = frozenset({"mjpeg", "png", "webp"})
AUDIO_CODECS = frozenset(
    {"aac", "aac_latm", "mp3", "mp3float", "mp2", "mp2float", "opus", "vorbis", "flac", "ac3", "eac3", "amrnb", "amrwb"}
    | {"alac", "adpcm_ima_wav", "adpcm_ms", "pcm_alaw", "pcm_f32be", "pcm_f32le", "pcm_f64le", "pcm_mulaw", "pcm_s16be"}
    | {"pcm_s16le", "pcm_s24be", "pcm_s24le", "pcm_s32be", "pcm_s32le", "pcm_s8", "pcm_u8"}
    | {"adpcm_ima_qt", "pcm_bluray", "pcm_dvd", "pcm_f64be"}
)
OLDEST_FFMPEG = (8, 1, 2)
"""Releases before it have published holes (CVE-2026-8461 and others)."""
if TYPE_CHECKING:
    from av.packet import Packet

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
    rotation: Count
    """Clockwise degrees that were applied for display: 0, 90, 180 or 270."""
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
        videos, audio = _choose_videos(container), _choose_audio(container)
        if not videos and audio is None:
            raise MediaError("no_video_stream", "The file holds neither video nor sound that can be decoded.")
        for video in videos:
            _check_video(container, video, limits)
        pictures = {video.index: _elementary(video, video.codec_context) for video in videos}
        sound = _elementary(audio, audio.codec_context) if audio else None
        sounds = {audio.index: sound} if audio and sound else {}
        _read_packets(container, {**pictures, **sounds}, limits)
        index, picture = _longest(pictures)
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
    head = file.read(32)
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
        raise MediaError("unsupported_container", "Send MP4, MOV, WebM, MKV, AVI, MPEG-TS or FLV.") from None
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


def _choose_videos(container: InputContainer) -> list[VideoStream]:
    """The moving pictures that can be decoded, the largest first, else one that cannot; cover art is none."""
    pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]

    def rank(stream: VideoStream) -> tuple[bool, bool, bool, int]:
        """Whether it can be decoded, whether it moves (a JPEG beside a video is its thumbnail), then pixels a frame."""
        context = stream.codec_context
        if not context:
            return False, False, False, 0
        moves = stream.frames != 1, context.name != "mjpeg"  # some containers do not count the frames
        return _is_accepted(container, stream), *moves, context.width * context.height

    ranked = sorted(pictures, key=rank, reverse=True)
    return [one for one in ranked if rank(one)[:3] == rank(ranked[0])[:3] and rank(one)[0]] or ranked[:1]


def _longest(
    pictures: Mapping[int, ElementaryStream[VideoCodecContext]],
) -> tuple[int, ElementaryStream[VideoCodecContext] | None]:
    """The first that is about as long as the longest: a few frames beside a film do not stand for it."""
    longest = max((stream.span or 0.0 for stream in pictures.values()), default=0.0)
    most = max((stream.count for stream in pictures.values()), default=0)
    for index, stream in pictures.items():
        if (stream.span or 0.0) >= longest / 2 and stream.count >= most / 8:
            return index, stream
    return next(iter(pictures.items()), (-1, None))


def _is_accepted(container: InputContainer, stream: VideoStream) -> bool:
    codecs = STILL_CODECS if container.format.name in STILLS else VIDEO_CODECS
    if container.metadata.get("comment") == FRAME_FOLDER:
        codecs |= {"png"}
    return bool(stream.codec_context) and stream.codec_context.name in codecs


def _choose_audio(container: InputContainer) -> AudioStream | None:
    """The default among the sounds that can be decoded, else the first: a player plays that one."""
    sounds = [s for s in container.streams.audio if s.codec_context and s.codec_context.name in AUDIO_CODECS]
    return max(sounds, key=lambda sound: bool(sound.disposition & Disposition.default), default=None)


def _check_video(container: InputContainer, video: VideoStream, limits: LimitsConfig) -> None:
    if not _is_accepted(container, video):
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
