"""Pictures by their first bytes: what needs no decoder."""

import struct
from collections.abc import Iterator

STILLS = frozenset({"jpeg_pipe", "png_pipe", "webp_pipe"})
"""FFmpeg's names of the files that are one picture."""
JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG"
HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1", b"avif", b"avis"}
)
"""Major brands of ISO/IEC 23008-12 files. Their pictures are cut into tiles, each of which looks like a video."""
_WEBP_ANIMATION = 0x02
_NO_FRAME_HEADERS = frozenset({0xC4, 0xC8, 0xCC})
"""JPEG markers among 0xC0..0xCF that are tables, and no frame header."""
_FILL, _SCAN, _END = 0xFF, 0xDA, b"\xff\xd9"
_MOST_SEGMENTS = 10_000
"""That are walked, for a picture may be made of nothing else; photos have a few hundred."""


def is_animated(head: bytes) -> bool:
    """Whether a WebP's or a PNG's first bytes announce several frames."""
    if head.startswith(PNG):
        return _is_animated_png(head)
    return head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & _WEBP_ANIMATION)


def _is_animated_png(head: bytes) -> bool:
    """Whether a chunk that controls an animation comes before the picture (PNG, third edition, 11.3.7)."""
    at, kind = 8, b""
    while kind not in (b"acTL", b"IDAT") and at + 8 <= len(head):
        kind = head[at + 4 : at + 8]
        at += 12 + int.from_bytes(head[at : at + 4])
    return kind == b"acTL"


def still_size(data: bytes | memoryview) -> tuple[int, int]:
    """Width and height that a JPEG, PNG or WebP picture claims, pixels as stored; 0, 0 where none are found."""
    head = bytes(data[:30])
    if head.startswith(JPEG):
        return _jpeg_size(data)
    if len(head) < 30:
        return 0, 0
    if head.startswith(PNG):
        return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    return _webp_size(head)


def _jpeg_size(data: bytes | memoryview) -> tuple[int, int]:
    """From the frame header (ITU-T T.81, B.2.2)."""
    for marker, at in _segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_HEADERS and at + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return int(width), int(height)
    return 0, 0


def jpeg_ends(data: bytes | memoryview) -> bool:
    """Whether a JPEG has its end (ITU-T T.81, B.1.1.3): looked for behind the head, where a thumbnail has one too.

    Coded data has none: there a zero follows each 0xFF that is no marker (B.1.1.5).
    """
    start = max((at for _, at in _segments(data)), default=0)
    return _END in bytes(data[start:])


def _segments(data: bytes | memoryview) -> Iterator[tuple[int, int]]:
    """Marker and place of each segment up to the first scan (ITU-T T.81, B.1.1.4), as far as they follow each other."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if at + 4 > len(data) or data[at] != 0xFF:
            return
        marker = data[at + 1]
        yield marker, at
        if marker == _SCAN:
            return
        at += 1 if marker == _FILL else 2 + int.from_bytes(data[at + 2 : at + 4])


def _webp_size(head: bytes) -> tuple[int, int]:
    """The size by the kind of the first chunk (RFC 9649, 2.5 to 2.7)."""
    little = [int.from_bytes(head[at : at + 3], "little") for at in (24, 27)]
    match head[12:16]:
        case b"VP8X":
            return little[0] + 1, little[1] + 1
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", head, 26)
            return int(width & 0x3FFF), int(height & 0x3FFF)
    return 0, 0
