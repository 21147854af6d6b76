"""Sound without a container: frames that begin with a sync word, one behind the other."""

import re
from collections.abc import Callable

_RATES = bytes(byte for byte in range(256) if 0 < byte >> 4 < 15 and byte >> 2 & 3 < 3)
_MPEG_AUDIO = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][%b]." % re.escape(_RATES), re.DOTALL)
_ADTS = re.compile(rb"\xff[\xf0\xf1\xf8\xf9].{4}", re.DOTALL)
_KILOBITS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Per second, by version and layer (ISO/IEC 11172-3, 2.4.2.3; ISO/IEC 13818-3, 2.4.2.3)."""
_HERTZ = (44100, 48000, 32000)


def holds_mpeg_audio(head: bytes) -> bool:
    """Whether MPEG audio (layer 1, 2 or 3) begins here, or two frames follow on one another somewhere."""
    return _holds(head, _MPEG_AUDIO, _mpeg_audio_bytes)


def holds_aac(head: bytes) -> bool:
    """Whether AAC in ADTS frames begins here, or two frames follow on one another somewhere."""
    return _holds(head, _ADTS, _adts_bytes)


def _holds(head: bytes, header: re.Pattern[bytes], length: Callable[[bytes], int]) -> bool:
    begin = len(head) - len(head.lstrip(b"\0"))
    if header.match(head, begin):
        return True
    return any(header.match(head, found.start() + length(found[0])) for found in header.finditer(head))


def _mpeg_audio_bytes(header: bytes) -> int:
    """Length of the frame with this header, which is 4 bytes long."""
    halvings = {3: 0, 2: 1, 0: 2}[header[1] >> 3 & 3]  # version 1, 2, 2.5
    layer = 4 - (header[1] >> 1 & 3)
    version = min(halvings + 1, 2)
    bits = 1000 * _KILOBITS[version, layer][(header[2] >> 4) - 1]
    hertz = _HERTZ[header[2] >> 2 & 3] >> halvings
    padding = header[2] >> 1 & 1
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (72 if (version, layer) == (2, 3) else 144) * bits // hertz + padding


def _adts_bytes(header: bytes) -> int:
    """Length of the frame with this header, of which these are 6 bytes (ISO/IEC 13818-7, 6.2); 7 or more."""
    return max((header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5, 7)
