"""Pictures by their first bytes: what needs no decoder."""

import struct

JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG"
HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1", b"avif", b"avis"}
)
"""Major brands of ISO/IEC 23008-12 files. Their pictures are cut into tiles, each of which looks like a video."""
_WEBP_ANIMATION = 0x02
_NO_FRAME_HEADERS = frozenset({0xC4, 0xC8, 0xCC})
"""JPEG markers among 0xC0..0xCF that are tables, and no frame header."""


def is_animated(head: bytes) -> bool:
    """Whether a WebP file's first 32 bytes announce several frames."""
    return head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & _WEBP_ANIMATION)


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
    """Walk the segments up to the frame header (ITU-T T.81, B.2.2)."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return int(width), int(height)
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4])
    return 0, 0


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
