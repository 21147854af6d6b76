"""Which containers and codecs are accepted, and which of a file's streams are the picture and the sound."""

from collections.abc import Mapping
from types import MappingProxyType

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from aura_model.elementary import ElementaryStream
from aura_model.stills import STILLS

VIDEOS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "flv"})
SOUNDS = frozenset({"ogg", "wav", "mp3", "flac", "aac"})
CONTAINERS = ",".join(sorted(STILLS | VIDEOS | SOUNDS))
CONTAINER_NAMES = MappingProxyType(
    {
        "mov,mp4,m4a,3gp,3g2,mj2": "mp4",
        "matroska,webm": "matroska",
        "mpeg": "mpegps",
        "jpeg_pipe": "jpeg",
        "png_pipe": "png",
        "webp_pipe": "webp",
    }
)
"""FFmpeg's names that a reader would not know, and what the reply says instead."""
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


def choose_videos(container: InputContainer) -> list[VideoStream]:
    """The moving pictures that can be decoded, the largest first, else one that cannot; cover art is none."""
    pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]

    def rank(stream: VideoStream) -> tuple[bool, bool, bool, int]:
        """Whether it can be decoded, whether it moves (a JPEG beside a video is its thumbnail), then pixels a frame."""
        context = stream.codec_context
        if not context:
            return False, False, False, 0
        moves = stream.frames != 1, context.name != "mjpeg"  # some containers do not count the frames
        return is_accepted(container, stream), *moves, context.width * context.height

    ranked = sorted(pictures, key=rank, reverse=True)
    return [one for one in ranked if rank(one)[:3] == rank(ranked[0])[:3] and rank(one)[0]] or ranked[:1]


def is_accepted(container: InputContainer, stream: VideoStream) -> bool:
    """Whether a video's codec is one of those that are decoded from this container."""
    codecs = STILL_CODECS if container.format.name in STILLS else VIDEO_CODECS
    if container.metadata.get("comment") == FRAME_FOLDER:
        codecs |= {"png"}
    return bool(stream.codec_context) and stream.codec_context.name in codecs


def choose_audio(container: InputContainer) -> AudioStream | None:
    """The default among the sounds that can be decoded, else the first: a player plays that one."""
    sounds = [s for s in container.streams.audio if s.codec_context and s.codec_context.name in AUDIO_CODECS]
    return max(sounds, key=lambda sound: bool(sound.disposition & Disposition.default), default=None)


def longest_picture(
    pictures: Mapping[int, ElementaryStream[VideoCodecContext]],
) -> tuple[int, ElementaryStream[VideoCodecContext] | None]:
    """The first that is about as long as the longest: a few frames beside a film do not stand for it."""
    longest = max((stream.span or 0.0 for stream in pictures.values()), default=0.0)
    most = max((stream.count for stream in pictures.values()), default=0)
    for index, stream in pictures.items():
        if (stream.span or 0.0) >= longest / 2 and stream.count >= most / 8:
            return index, stream
    return next(iter(pictures.items()), (-1, None))
