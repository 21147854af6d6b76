"""Clips really encoded and decoded as video: H.264, HEVC, VP9 and MPEG-4 Part 2, at drawn size, quality and rate.

Real and fake of a pair take the same `Encoding`s, so that no codec's trace tells them apart. Encoders and decoders run
in one thread each: the same bytes come out on every machine with one build of FFmpeg.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Literal

import av
import cv2
import numpy as np
from av.codec.context import CodecContext
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from aura_model.augment.video import Frames, each

RATE_DENOMINATOR = 1001
"""Frame rates such as 30000/1001 are kept exactly."""
LEAST_SIDE = 64
"""Smaller sides are padded to this many pixels for encoders: x265 4.2 writes past its buffers below 56 columns."""


@dataclass(frozen=True)
class Codec:
    """One encoder, and how it is asked for a quality."""

    encoder: str
    decoder: str
    quality: tuple[int, int]
    """From good to poor, both included, on the encoder's own scale."""
    quality_options: tuple[str, ...] = ("crf",)
    """The options that take it."""
    presets: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)


CODECS = MappingProxyType(
    {
        "h264": Codec(
            "libx264",
            "h264",
            (17, 29),
            presets=("ultrafast", "superfast", "veryfast", "medium"),
            options={"x264-params": "mbtree=0"},  # with it small pictures give another stream each time
        ),
        "hevc": Codec(
            "libx265",
            "hevc",
            (19, 30),
            presets=("ultrafast",),
            options={"x265-params": "log-level=none:pools=none:frame-threads=1"},
        ),
        "vp9": Codec("libvpx-vp9", "vp9", (22, 38), options={"deadline": "realtime", "cpu-used": "8", "b": "0"}),
        "mpeg4": Codec("mpeg4", "mpeg4", (2, 6), quality_options=("qmin", "qmax")),
    }
)


@dataclass(frozen=True)
class CodecSettings:
    """From what encodings are drawn."""

    names: tuple[str, ...] = ("h264", "h264", "h264", "hevc", "vp9", "mpeg4")
    never: float = 0.3
    """Probability of no encoding at all: pictures, and video of the best quality."""
    twice: float = 0.1
    """Probability of a second encoding."""
    shrink: tuple[float, float] = (0.8, 1.2)
    """The coded size as a share of the clip's."""
    rates: tuple[float, ...] = (15.0, 24.0, 25.0, 29.97, 30.0)


@dataclass(frozen=True)
class Encoding:
    """One drawn encoding."""

    name: str
    quality: int
    height: int
    width: int
    kernel: int
    """OpenCV's interpolation into this size."""
    rate: float
    """Frames per second that the encoder is told."""
    group: int
    """Frames from one self-contained frame to the next."""
    lead: int
    """Frames coded before the clip begins, so that it may begin within a group."""
    preset: str | None = None
    """How much work the encoder takes, where it can be asked."""


def draw_encodings(
    rng: np.random.Generator, height: int, width: int, settings: CodecSettings = CodecSettings()
) -> tuple[Encoding, ...]:
    """Draw up to two encodings of a clip of this size; the second one is no larger than the first."""
    if rng.random() < settings.never:
        return ()
    first = draw_encoding(rng, height, width, settings)
    if rng.random() >= settings.twice:
        return (first,)
    return first, draw_encoding(rng, min(height, first.height), min(width, first.width), settings)


def transcode(frames: Frames, encoding: Encoding) -> Frames:
    """Resize `[T, H, W, 3]` to the encoding's size, encode and decode it.

    Returns:
        `[T, height, width, 3]` of the encoding.

    Raises:
        av.codec.codec.UnknownCodecError: this build of PyAV lacks the encoder; the wheels of PyPI have all four.
        ValueError: another number of frames came back than went in.
    """
    sized = frames
    if frames.shape[1:3] != (encoding.height, encoding.width):
        size = (encoding.width, encoding.height)
        sized = each(frames, lambda frame: cv2.resize(frame, size, interpolation=encoding.kernel))
    led = np.concatenate([_lead(sized, encoding.lead), sized])
    decoded = list(decode(_encode(led, encoding), CODECS[encoding.name].decoder))
    if len(decoded) != len(led):
        raise ValueError(f"{len(led)} frames were coded as {encoding.name}, {len(decoded)} came back")
    return np.stack(decoded[encoding.lead :])[:, : encoding.height, : encoding.width]


def draw_encoding(rng: np.random.Generator, height: int, width: int, settings: CodecSettings) -> Encoding:
    """Draw one encoding of a clip of this size."""
    name, share = str(rng.choice(settings.names)), rng.uniform(*settings.shrink)
    codec = CODECS[name]
    kernels = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
    return Encoding(
        name=name,
        quality=int(rng.integers(*codec.quality, endpoint=True)),
        height=max(2, 2 * round(height * share / 2)),
        width=max(2, 2 * round(width * share / 2)),
        kernel=int(rng.choice(kernels)),
        rate=float(rng.choice(settings.rates)),
        group=int(rng.integers(2, 13)),
        lead=int(rng.integers(0, 3)),
        preset=str(rng.choice(codec.presets)) if codec.presets else None,
    )


def _lead(frames: Frames, count: int) -> Frames:
    """Frames that run up to the clip: its first ones backwards."""
    order = [min(index, len(frames) - 1) for index in range(count, 0, -1)]
    return frames[order]


def _encode(frames: Frames, encoding: Encoding) -> "list[Packet[VideoStream]]":
    encoder = _encoder(encoding)
    packets: list[Packet[VideoStream]] = []
    for time, frame in enumerate(frames):
        bottom, right = (_padding(side) for side in frame.shape[:2])
        packets += encoder.encode(to_picture(frame, time, bottom, right))
    return packets + encoder.encode(None)


def _encoder(encoding: Encoding) -> VideoCodecContext:
    codec, rate = CODECS[encoding.name], Fraction(encoding.rate).limit_denominator(RATE_DENOMINATOR)
    encoder = open_codec(codec.encoder, "w")
    encoder.height, encoder.width = (side + _padding(side) for side in (encoding.height, encoding.width))
    encoder.pix_fmt, encoder.framerate, encoder.time_base = "yuv420p", rate, 1 / rate
    encoder.gop_size = encoding.group
    preset = {} if encoding.preset is None else {"preset": encoding.preset}
    encoder.options = {**codec.options, **preset, **dict.fromkeys(codec.quality_options, str(encoding.quality))}
    return encoder


def open_codec(name: str, mode: Literal["r", "w"]) -> VideoCodecContext:
    """An encoder or a decoder of video, in one thread."""
    context = CodecContext.create(name, mode)
    if not isinstance(context, VideoCodecContext):
        raise TypeError(f"{name} is no video codec")
    context.thread_count = 1
    return context


def to_picture(frame: Frames, time: int, bottom: int, right: int) -> av.VideoFrame:
    """`[H, W, 3]` as an encoder takes it, 4:2:0, with so many more rows and columns that repeat the last one."""
    padded = cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    planes = np.asarray(cv2.cvtColor(padded, cv2.COLOR_RGB2YUV_I420), dtype=np.uint8)
    picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    picture.pts = time
    return picture


def _padding(side: int) -> int:
    """How many pixels a side lacks to be even and of the least length."""
    return max(LEAST_SIDE - side, side % 2)


def decode(packets: "list[Packet[VideoStream]]", name: str) -> Iterator[Frames]:
    """The pictures of a whole stream, by the decoder of this name, each `[H, W, 3]`."""
    decoder = open_codec(name, "r")
    for packet in (*packets, None):
        for frame in decoder.decode(packet):
            yield np.asarray(cv2.cvtColor(frame.to_ndarray(), cv2.COLOR_YUV2RGB_I420), dtype=np.uint8)
