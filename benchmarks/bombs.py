"""Small files that ask a decoder for far more than they hold."""

import io
import struct
import zlib
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

SIDE = 64
PNG_SIDE = 16_000
CLAIMED_WIDTH, CLAIMED_HEIGHT = 16_384, 8_704
WIDE, HIGH = 320, 272
"""Of the frame whose headers are rewritten: each takes two bytes in a WebM header, as what replaces it does."""


def vp9_bomb() -> bytes:
    """A WebM of one small VP9 frame, whose headers claim another size."""
    content = encode("libvpx-vp9", "webm", WIDE, HIGH)
    for element, old, new in ((b"\xb0", WIDE, CLAIMED_WIDTH), (b"\xba", HIGH, CLAIMED_HEIGHT)):
        content = content.replace(
            element + b"\x82" + struct.pack(">H", old), element + b"\x82" + struct.pack(">H", new)
        )
    start = content.index(b"\x49\x83\x42") + 3  # the sync code; four bits of colour, then two sizes of 16 bits
    bits = int.from_bytes(content[start : start + 5])
    mask = 0xFFFFFFFF
    assert bits >> 4 & mask == (WIDE - 1) << 16 | (HIGH - 1)
    bits = bits & ~(mask << 4) | ((CLAIMED_WIDTH - 1) << 16 | (CLAIMED_HEIGHT - 1)) << 4
    return content[:start] + bits.to_bytes(5) + content[start + 5 :]


def png_bomb() -> bytes:
    """A PNG, all black: a thousand times smaller than its pixels."""
    pixels = zlib.compressobj(1)
    rows = b"\0" * (PNG_SIDE + 1)  # a filter byte, then grey
    data = b"".join(pixels.compress(rows) for _ in range(PNG_SIDE)) + pixels.flush()
    header = struct.pack(">IIBBBBB", PNG_SIDE, PNG_SIDE, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def frame_bomb(frames: int = 60_000) -> bytes:
    """An MP4 of one frame many times over, at 1,000 frames a second."""
    with av.open(io.BytesIO(encode("mpeg4", "mp4", SIDE, SIDE)), "r") as media:
        content = next(bytes(packet) for packet in media.demux(video=0) if packet.size)
        extradata = media.streams.video[0].codec_context.extradata
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as output:
        stream = video_stream(output, "mpeg4", SIDE, SIDE)
        stream.codec_context.extradata = extradata
        for number in range(frames):
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            output.mux(packet)
    return target.getvalue()


def encode(codec: str, container: str, width: int, height: int) -> bytes:
    """A video of one grey frame."""
    target = io.BytesIO()
    with av.open(target, "w", format=container) as output:
        stream = video_stream(output, codec, width, height)
        output.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((height, width, 3), 128, np.uint8), "rgb24")))
        output.mux(stream.encode(None))
    return target.getvalue()


def video_stream(output: OutputContainer, codec: str, width: int, height: int) -> VideoStream:
    """A new stream of 1,000 frames a second."""
    stream = cast("VideoStream", output.add_stream(codec, rate=1000))
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    return stream
