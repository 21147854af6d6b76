"""Open untrusted media: what it is, whether it is within the limits, and its packets, read once in order.

No decoder runs while a file is probed: dimensions and codecs come from the container and its parsers, and are
checked before the first frame is decoded. Formats, codecs and frame size are limited again in the decoders.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, TypeVar

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from pydantic import BaseModel, ConfigDict

from aura_model.config import LimitsConfig
from aura_model.errors import MediaError

STILLS = frozenset({"jpeg_pipe", "png_pipe", "webp_pipe"})
VIDEOS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "flv"})
SOUNDS = frozenset({"ogg", "wav", "mp3", "flac", "aac"})
CONTAINERS = ",".join(sorted(STILLS | VIDEOS | SOUNDS))
VIDEO_CODECS = frozenset(
    {"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "h263"}
)
STILL_CODECS = frozenset({"mjpeg", "png", "webp"})
AUDIO_CODECS = frozenset(
    {"aac", "aac_latm", "mp3", "mp3float", "mp2", "mp2float", "opus", "vorbis", "flac", "ac3", "eac3", "amrnb", "amrwb"}
    | {"alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_u8", "pcm_alaw", "pcm_mulaw"}
)
if TYPE_CHECKING:
    from av.packet import Packet

S = TypeVar("S", VideoStream, AudioStream)

PLAYLISTS = (b"#EXTM3U", b"<?xml", b"<MPD", b"v=0")
WEBP_ANIMATION = 0x02
"""The bit of a WebP file's feature flags (byte 20) that announces several frames."""
REORDER = 64
"""Packets whose presentation may come in another order than their decoding (H.264 allows 16)."""
AUDIO_PACKETS_PER_FRAME = 10
"""Sound may have this many packets for each video frame that the limits allow."""


class MediaInfo(BaseModel):
    """Facts about one media file, as read from its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    bytes: int
    container: str
    duration: float
    """Seconds from the first to the last presented moment; 0 for a still."""
    width: int
    """Pixels as displayed, after rotation; 0 without video."""
    height: int
    fps: float
    rotation: int
    """Clockwise degrees that were applied for display: 0, 90, 180 or 270."""
    video_codec: str | None
    audio_codec: str | None


@dataclass(frozen=True, eq=False)
class Track(Generic[S]):
    """One elementary stream: its packets in decoding order, in memory."""

    stream: S
    packets: "list[Packet[S]]"

    def time(self, packet: "Packet[S]") -> float | None:
        """When a packet is presented, seconds of the container's clock; None where it has no timestamp."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        return None if stamp is None else float(stamp * self.time_base)

    @property
    def codec(self) -> str:
        """The codec's name, as FFmpeg has it."""
        return str(self.stream.codec_context.codec.canonical_name)

    @property
    def time_base(self) -> Fraction:
        """Seconds of one tick of this stream's timestamps."""
        return self.stream.time_base or Fraction(1, av.time_base)

    @property
    def start(self) -> float | None:
        """The first presentation time, seconds of the container's clock; None without timestamps."""
        times = (self.time(packet) for packet in self.packets[:REORDER])
        return min((time for time in times if time is not None), default=None)

    @property
    def end(self) -> float | None:
        """The end of the last presented packet, seconds of the container's clock; None without timestamps."""
        ends = ((self.time(p), float((p.duration or 0) * self.time_base)) for p in self.packets[-REORDER:])
        return max((time + length for time, length in ends if time is not None), default=None)

    @property
    def span(self) -> float | None:
        """Seconds from start to end; None without timestamps."""
        start, end = self.start, self.end
        return None if start is None or end is None else end - start


@dataclass(frozen=True, eq=False)
class Media:
    """An opened file within the limits."""

    sha256: str
    bytes: int
    container: str
    video: Track[VideoStream] | None
    audio: Track[AudioStream] | None
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
        return len(self.video.packets) / span if span > 0 else 0.0


@contextmanager
def open_media(file: BinaryIO, limits: LimitsConfig) -> Iterator[Media]:
    """Open `file` (seekable, at any position) and read its packets; closed on leaving the context.

    Raises:
        MediaError: the bytes are no media, of a kind that is not accepted, or beyond the limits.
    """
    size = file.seek(0, 2)
    _check_bytes(file, size, limits)
    digest = _sha256(file)
    with _open(file, limits) as container:
        _check_streams(container, limits)
        video, audio = _choose_video(container), _choose_audio(container)
        if video is None and audio is None:
            raise MediaError("no_video_stream", "The file holds neither video nor sound that can be decoded.")
        picture = Track(video, []) if video else None
        sound = Track(audio, []) if audio else None
        _check_video(container, video, limits)
        _check_duration(_claimed(container), limits)
        _read_packets(container, picture, sound, limits)
        duration = _duration(container, picture, sound)
        _check_duration(duration, limits)
        yield Media(
            sha256=digest,
            bytes=size,
            container=container.format.name,
            video=picture,
            audio=sound,
            duration=duration,
            truncated=_claimed(container) > duration + max(0.5, 0.05 * duration),
        )


def _check_bytes(file: BinaryIO, size: int, limits: LimitsConfig) -> None:
    if size == 0:
        raise MediaError("empty_file", "The file is empty; send the bytes of a video, a still or a sound file.")
    if size > limits.max_bytes:
        raise MediaError("file_too_large", f"The file has {size} bytes; at most {limits.max_bytes} are accepted.")
    file.seek(0)
    head = file.read(32)
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(PLAYLISTS):
        raise MediaError("invalid_video", "This is a playlist or a description; send the media file itself.")
    if head[8:16] == b"WEBPVP8X" and head[20] & WEBP_ANIMATION:
        raise MediaError("unsupported_container", "Animated WebP is not accepted; send a video.")


def _sha256(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    file.seek(0)
    return digest.hexdigest()


def _open(file: BinaryIO, limits: LimitsConfig) -> InputContainer:
    options = {
        "format_whitelist": CONTAINERS,
        "protocol_whitelist": "",
        "codec_whitelist": "none",
        "max_streams": str(limits.max_streams),
    }
    try:
        return av.open(_Nameless(file), mode="r", options=options, metadata_errors="replace")
    except av.ArgumentError:
        raise MediaError("unsupported_container", "Send MP4, MOV, WebM, MKV, AVI, MPEG-TS or FLV.") from None
    except MemoryError:
        raise MediaError(
            "too_many_streams", f"At most {limits.max_streams} streams are accepted in one file."
        ) from None
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
    """The largest moving picture; cover art is none."""
    pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    return max(
        pictures, key=lambda s: s.codec_context.width * s.codec_context.height if s.codec_context else -1, default=None
    )


def _choose_audio(container: InputContainer) -> AudioStream | None:
    """The first sound that can be decoded."""
    return next((s for s in container.streams.audio if s.codec_context and s.codec_context.name in AUDIO_CODECS), None)


def _check_video(container: InputContainer, video: VideoStream | None, limits: LimitsConfig) -> None:
    if video is None:
        return
    codec = video.codec_context.name if video.codec_context else "unknown"
    if codec not in (STILL_CODECS if container.format.name in STILLS else VIDEO_CODECS):
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


def _read_packets(
    container: InputContainer,
    video: Track[VideoStream] | None,
    audio: Track[AudioStream] | None,
    limits: LimitsConfig,
) -> None:
    """Fill the tracks; what was read before a damaged spot is kept, an empty track is refused by its decoder."""
    tracks: dict[int, Track[Any]] = {track.stream.index: track for track in (video, audio) if track}
    room = dict.fromkeys(tracks, limits.max_frames * AUDIO_PACKETS_PER_FRAME)
    if video:
        room[video.stream.index] = limits.max_frames
    spare = 2 * limits.max_bytes
    with suppress(av.FFmpegError):
        for packet in container.demux([track.stream for track in tracks.values()]):
            index, spare = packet.stream.index, spare - packet.size
            room[index] -= bool(packet.size)
            if min(room[index], spare) < 0:
                raise MediaError("too_many_frames", f"At most {limits.max_frames} frames are accepted.")
            if packet.size:
                tracks[index].packets.append(packet)


def _duration(container: InputContainer, video: Track[VideoStream] | None, audio: Track[AudioStream] | None) -> float:
    if container.format.name in STILLS:
        return 0.0
    spans = [track.span for track in (video, audio) if track]
    return max((span for span in spans if span is not None), default=_claimed(container))


def _claimed(container: InputContainer) -> float:
    """Seconds, as the header has it; 0 where it says nothing."""
    return (container.duration or 0) / av.time_base


def _check_duration(duration: float, limits: LimitsConfig) -> None:
    if duration > limits.max_seconds:
        raise MediaError(
            "too_long", f"The media lasts {duration:.0f} s; at most {limits.max_seconds:.0f} s are accepted."
        )
