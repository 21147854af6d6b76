"""A folder of frames and its sound, packed into one video in memory: the pictures as they are, no decoder runs here."""

import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from posixpath import basename, dirname
from types import MappingProxyType
from typing import Any, cast

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from pyarrow.fs import FileSystem, FileType

from aura_model.config import Config, LimitsConfig
from aura_model.durations import check_duration
from aura_model.errors import MediaError
from aura_model.media import check_size
from aura_model.stills import JPEG, PNG, still_size
from aura_model.streams import FRAME_FOLDER
from training.data.locations import list_files, read_bounded
from training.data.manifest import FRAMES, MAX_META_BYTES, META, PREPROCESSED
from training.data.sound_file import Sound, read_sound

PICTURES = (".jpg", ".jpeg", ".png")
SOUNDS = ("audio.wav", "audio.npy")
CODECS = MappingProxyType({JPEG: "mjpeg", PNG: "png"})
"""By the first bytes of a frame, whatever its name says."""
MIN_RATE, MAX_RATE = 0.1, 1000
"""Frames per second that `meta.json` may claim."""


@dataclass(frozen=True, slots=True)
class File:
    """A file on some file system."""

    path: str
    size: int
    """Bytes, as listed."""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return basename(self.path)


@dataclass(frozen=True)
class FrameFolder:
    """What belongs to a video that is stored as frames."""

    frames: tuple[File, ...]
    """In natural order of their names: frame_2 comes before frame_10."""
    sound: File | None
    meta: File | None

    @property
    def files(self) -> tuple[File, ...]:
        """All that makes up the content: the frames and the sound."""
        return (*self.frames, self.sound) if self.sound else self.frames


def find_frames(system: FileSystem, folder: str) -> FrameFolder:
    """Look for frames in `folder/preprocessed/frames`, `folder/frames` and `folder` itself; the first that has any.

    Sound and `meta.json` lie in `folder/preprocessed`, in `folder`, or above it where `folder` is itself one of
    `preprocessed`, `frames`.
    """
    folder = folder.rstrip("/")
    homes = [f"{folder}/{PREPROCESSED}", folder, *_parents(folder)]
    found = _first_files(system, homes, (*SOUNDS, META))
    frames = next(filter(None, (_pictures(system, f"{folder}{place}") for place in (f"/{FRAMES}", "/frames", ""))), ())
    return FrameFolder(frames, next((found[name] for name in SOUNDS if name in found), None), found.get(META))


def pack_folder(system: FileSystem, folder: str, config: Config) -> bytes:
    """A QuickTime file with the frames as they are, JPEG or PNG, and the sound as 16-bit mono.

    The frame rate is `fps` of `meta.json`, else `dataset.video.frame_rate`.

    Raises:
        MediaError: neither frames nor sound, beyond the limits, frames of different kinds or sizes, a bad sound file.
    """
    found = find_frames(system, folder)
    _check_limits(found, config.limits)
    rate, sound = _frame_rate(system, found.meta, config), _sound(system, found, config)
    pictures = _read_frames(system, found.frames, config.limits)
    first = next(pictures, None)
    target = io.BytesIO()
    with av.open(target, "w", format="mov", options={"fflags": "+bitexact"}) as container:
        container.metadata["comment"] = FRAME_FOLDER
        seen = _add_frames(container, first.kind(config.limits), rate) if first else None
        heard = container.add_stream("pcm_s16le", rate=sound.rate, layout="mono") if sound else None
        if seen and first:
            _mux_frames(container, seen, 1 / rate, chain([first], pictures))
        if heard and sound:
            _mux_sound(container, heard, sound)
    return target.getvalue()


@dataclass(frozen=True)
class _Picture:
    """A frame as it lies in its file."""

    name: str
    content: bytes

    def kind(self, limits: LimitsConfig) -> tuple[str, int, int]:
        """Codec, width and height, as the header has them."""
        codec = next((codec for start, codec in CODECS.items() if self.content.startswith(start)), None)
        width, height = still_size(self.content) if codec else (0, 0)
        if codec is None or not width * height:
            raise MediaError("corrupt_video", f"The frame {self.name} is no JPEG or PNG picture.")
        check_size(width, height, limits)
        return codec, width, height


def _add_frames(container: OutputContainer, kind: tuple[str, int, int], rate: Fraction) -> VideoStream:
    codec, width, height = kind
    stream = container.add_mux_stream(codec, rate=rate, width=width, height=height, time_base=1 / rate)
    return cast("VideoStream", stream)


def _mux_frames(container: OutputContainer, stream: VideoStream, tick: Fraction, pictures: Iterable[_Picture]) -> None:
    """Add the frames as packets; `tick` is the time between two of them, seconds."""
    for number, picture in enumerate(pictures):
        packet: Packet[Any] = Packet(picture.content)
        packet.stream, packet.time_base, packet.is_keyframe = stream, tick, True
        packet.pts, packet.dts, packet.duration = number, number, 1
        container.mux(packet)


def _mux_sound(container: OutputContainer, stream: AudioStream, sound: Sound) -> None:
    at = 0
    for block in sound.blocks():
        frame = AudioFrame.from_ndarray(block[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = sound.rate, at, Fraction(1, sound.rate)
        container.mux(stream.encode(frame))
        at += len(block)
    container.mux(stream.encode(None))


def _read_frames(system: FileSystem, files: Iterable[File], limits: LimitsConfig) -> Iterator[_Picture]:
    """The frames one after the other, all of the first one's kind."""
    left, kinds = limits.max_bytes, dict[tuple[str, int, int], str]()
    for file in files:
        picture = _Picture(file.name, read_bounded(system, file.path, left))
        left -= len(picture.content)
        if left < 0:
            raise _too_large(limits)
        kinds.setdefault(picture.kind(limits), picture.name)
        if len(kinds) > 1:
            both = " and ".join(f"{name} ({codec} {width}x{height})" for (codec, width, height), name in kinds.items())
            raise MediaError("invalid_video", f"The frames differ in kind or size: {both}.")
        yield picture


def _sound(system: FileSystem, found: FrameFolder, config: Config) -> Sound | None:
    if found.sound is None:
        return None
    limits = config.limits
    content = read_bounded(system, found.sound.path, limits.max_bytes)
    if len(content) > limits.max_bytes:
        raise _too_large(limits)
    sound = read_sound(content, found.sound.name, config.model.audio.sample_rate)
    check_duration(sound.seconds, limits)
    return sound


def _check_limits(found: FrameFolder, limits: LimitsConfig) -> None:
    if not found.files:
        raise MediaError("no_video_stream", "The folder holds neither frames (JPEG, PNG) nor audio.wav or audio.npy.")
    if len(found.frames) > limits.max_frames:
        raise MediaError("too_many_frames", f"At most {limits.max_frames} frames are accepted.")
    if sum(file.size for file in found.files) > limits.max_bytes:
        raise _too_large(limits)


def _too_large(limits: LimitsConfig) -> MediaError:
    return MediaError("file_too_large", f"The folder has more than {limits.max_bytes} bytes of frames and sound.")


def _frame_rate(system: FileSystem, meta: File | None, config: Config) -> Fraction:
    content = read_bounded(system, meta.path, MAX_META_BYTES) if meta else b"{}"
    try:
        facts = json.loads(content)
        fps = facts.get("fps", config.dataset.video.frame_rate) if isinstance(facts, dict) else None
    except (ValueError, RecursionError):
        fps = None
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not MIN_RATE <= fps <= MAX_RATE:
        raise MediaError("invalid_video", f"{META} must be an object, and its fps within {MIN_RATE}..{MAX_RATE}.")
    return Fraction(fps).limit_denominator(1001)


def _parents(folder: str) -> list[str]:
    """The folders in which a folder of this name belongs."""
    parents = []
    while basename(folder) in ("frames", PREPROCESSED):
        folder = dirname(folder)
        parents.append(folder)
    return parents


def _first_files(system: FileSystem, folders: Iterable[str], names: Iterable[str]) -> dict[str, File]:
    """By name, the first file of that name in any of the folders."""
    wanted = [f"{folder}/{name}" for name in names for folder in folders]
    there = [info for info in system.get_file_info(wanted) if info.type == FileType.File]
    return {info.base_name: File(info.path, info.size or 0) for info in reversed(there)}


def _pictures(system: FileSystem, folder: str) -> tuple[File, ...]:
    files = [File(f"{folder}/{name}", size) for name, size in list_files(system, folder)]
    pictures = [file for file in files if file.name.lower().endswith(PICTURES) and not file.name.startswith(".")]
    return tuple(sorted(pictures, key=_natural))


def _natural(file: File) -> tuple[list[int | str], str]:
    """Numbers within names compare as numbers; equal ones, as in 1 and 01, by the text."""
    parts = re.split(r"([0-9]+)", file.name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], file.name
