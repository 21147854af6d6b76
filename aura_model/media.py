"""Open untrusted media: what it is, whether it is within the limits, and its packets, read once in order.

No decoder runs while a file is probed: dimensions and codecs come from the container and its parsers, and are
checked before the first frame is decoded. Formats, codecs and frame size are limited again in the decoders.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Generic, TypeVar

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from pydantic import BaseModel, ConfigDict, Field

from aura_model.config import LimitsConfig, NonNegative
from aura_model.errors import ConfigError, MediaError
from aura_model.sniff import check_names
from aura_model.stills import JPEG, still_size

STILLS = frozenset({"jpeg_pipe", "png_pipe", "webp_pipe"})
VIDEOS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "flv"})
SOUNDS = frozenset({"ogg", "wav", "mp3", "flac", "aac"})
CLAIMS_BY_TRACK = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "avi"})
"""Containers whose header has a duration for each track, so that a longer one that is not read does not count."""
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
)
OLDEST_FFMPEG = (8, 1, 2)
"""Releases before it have published holes (CVE-2026-8461 and others)."""
if TYPE_CHECKING:
    from av.packet import Packet

C = TypeVar("C", VideoCodecContext, AudioCodecContext)

REORDER = 64
"""Packets whose presentation may come in another order than their decoding (H.264 allows 16)."""
AUDIO_PACKETS_PER_FRAME = 10
"""Sound may have this many packets for each video frame that the limits allow."""
MISSING_SECONDS, MISSING_SHARE = 0.25, 0.05
"""A file that is shorter than its header claims by more than the larger of these is truncated."""

Count = Annotated[int, Field(ge=0, lt=2**53)]
Name = Annotated[str, Field(max_length=100)]


class MediaInfo(BaseModel):
    """Facts about one media file, as read from its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Name
    bytes: Count
    container: Name
    duration: NonNegative
    """Seconds from the first to the last presented moment; 0 for a still."""
    width: Count
    """Pixels as displayed, after rotation; 0 without video."""
    height: Count
    fps: NonNegative
    rotation: Count
    """Clockwise degrees that were applied for display: 0, 90, 180 or 270."""
    video_codec: Name | None
    audio_codec: Name | None


@dataclass(frozen=True, eq=False)
class Track(Generic[C]):
    """One elementary stream, in memory: PyAV's own stream points into the container and must not outlive it."""

    context: C
    """The decoder, not opened yet."""
    time_base: Fraction
    """Seconds of one tick of the timestamps."""
    claimed: float
    """Seconds that the header claims for this stream; 0 where it says nothing."""
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


@dataclass(frozen=True, eq=False)
class Media:
    """An opened file within the limits."""

    sha256: str
    bytes: int
    container: str
    video: Track[VideoCodecContext] | None
    audio: Track[AudioCodecContext] | None
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
        starts = (track.start for track in (self.video, self.audio) if track)
        return next((start for start in starts if start is not None), 0.0)

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
        video, audio = _choose_video(container), _choose_audio(container)
        if video is None and audio is None:
            raise MediaError("no_video_stream", "The file holds neither video nor sound that can be decoded.")
        _check_video(container, video, limits)
        _check_duration(_claimed(container), limits)
        picture = _track(video, video.codec_context) if video else None
        sound = _track(audio, audio.codec_context) if audio else None
        tracks = {s.index: t for s, t in ((video, picture), (audio, sound)) if s and t}
        _read_packets(container, tracks, limits)
        if picture and container.format.name in STILLS:
            _keep_one(picture, limits)
        duration = _duration(container, tracks.values())
        _check_duration(duration, limits)
        yield Media(
            sha256=digest,
            bytes=size,
            container=container.format.name,
            video=picture,
            audio=sound,
            duration=duration,
            truncated=_is_cut(container, tracks.values()),
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


def _choose_video(container: InputContainer) -> VideoStream | None:
    """The largest moving picture, one that can be decoded if there is any; cover art is none."""
    pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]

    def rank(stream: VideoStream) -> tuple[bool, int]:
        """Whether it can be decoded, then pixels a frame."""
        context = stream.codec_context
        return _is_accepted(container, stream), context.width * context.height if context else 0

    return max(pictures, key=rank, default=None)


def _is_accepted(container: InputContainer, stream: VideoStream) -> bool:
    codecs = STILL_CODECS if container.format.name in STILLS else VIDEO_CODECS
    if container.metadata.get("comment") == FRAME_FOLDER:
        codecs |= {"png"}
    return bool(stream.codec_context) and stream.codec_context.name in codecs


def _choose_audio(container: InputContainer) -> AudioStream | None:
    """The first sound that can be decoded."""
    return next((s for s in container.streams.audio if s.codec_context and s.codec_context.name in AUDIO_CODECS), None)


def _check_video(container: InputContainer, video: VideoStream | None, limits: LimitsConfig) -> None:
    if video is None:
        return
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


def _track(stream: VideoStream | AudioStream, context: C) -> Track[C]:
    base = stream.time_base or Fraction(1, av.time_base)
    return Track(context, base, float((stream.duration or 0) * base))


def _read_packets(container: InputContainer, tracks: Mapping[int, Track[Any]], limits: LimitsConfig) -> None:
    """Fill the tracks; what was read before a damaged spot is kept, an empty track is refused by its decoder."""
    room = {
        index: limits.max_frames * (1 if isinstance(track.context, VideoCodecContext) else AUDIO_PACKETS_PER_FRAME)
        for index, track in tracks.items()
    }
    spare = 2 * limits.max_bytes
    for packet in _intact(container.demux([container.streams[index] for index in tracks])):
        index, spare = packet.stream.index, spare - packet.size
        room[index] -= bool(packet.size)
        if min(room[index], spare) < 0:
            raise MediaError("too_many_frames", f"At most {limits.max_frames} frames are accepted.")
        if packet.size:
            tracks[index].packets.append(packet)


def _intact(packets: "Iterator[Packet[Any]]") -> "Iterator[Packet[Any]]":
    """The packets before a damaged spot; an absurd size there shows as memory that FFmpeg is not given."""
    with suppress(av.FFmpegError):
        yield from packets


def _keep_one(picture: Track[VideoCodecContext], limits: LimitsConfig) -> None:
    """A still is one picture; a photo's file may hold more, as a gain map or for depth."""
    del picture.packets[1:]
    for packet in picture.packets:
        check_size(*still_size(memoryview(packet)), limits)


def _duration(container: InputContainer, tracks: Iterable[Track[Any]]) -> float:
    """Seconds from the first frame (the first sound without video) to the end of the longer track."""
    if container.format.name in STILLS:
        return 0.0
    start = next((track.start for track in tracks if track.start is not None), None)
    ends = [track.end for track in tracks if track.end is not None]
    return _claimed(container) if start is None else max(0.0, *(end - start for end in ends))


def _claimed(container: InputContainer) -> float:
    """Seconds, as the header has it; 0 where it says nothing."""
    return (container.duration or 0) / av.time_base


def _is_cut(container: InputContainer, tracks: Iterable[Track[Any]]) -> bool:
    """Whether the header claims more than there is: for each track where it says so, else for the longest."""
    if container.format.name in STILLS:
        return False
    if container.format.name in CLAIMS_BY_TRACK:
        return any(_misses(track.claimed, track.span or 0.0) for track in tracks)
    ends = [track.end for track in tracks if track.end is not None]
    return bool(ends) and _misses(_claimed(container), max(ends))


def _misses(claimed: float, there: float) -> bool:
    return claimed - there > max(MISSING_SECONDS, MISSING_SHARE * there)


def _check_duration(duration: float, limits: LimitsConfig) -> None:
    if duration > limits.max_seconds:
        raise MediaError(
            "too_long", f"The media lasts {duration:.0f} s; at most {limits.max_seconds:.0f} s are accepted."
        )
