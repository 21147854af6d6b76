"""What a file's first bytes rule out, without a decoder: the same codes as `media.open_media` gives, but at once.

It errs on the side of the decoder: bytes that pass may still be refused there, none that it reads are refused here.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from aura_model.errors import MediaError
from aura_model.frame_syncs import holds_aac, holds_mpeg_audio
from aura_model.stills import HEIF_BRANDS, JPEG, PNG, is_animated

HEAD_BYTES = 65536
"""Of a file, which tell what it is."""
ACCEPTED = (
    "Send a video as MP4, MOV, WebM, MKV, AVI, MPEG-TS, MPEG-PS or FLV, a picture as JPEG, PNG or WebP, "
    "or sound as M4A, WAV, MP3, AAC, Ogg or FLAC."
)
"""What to do about `unsupported_container`."""
PLAYLISTS = (b"#EXTM3U", b"<?xml", b"<MPD", b"v=0")
FOREIGN = frozenset(
    {b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\xff\x0a", b"\0\0\0\x0cJXL ", b"\0\0\0\x0cjP  ", b"qoif"}
    | {b"DKIF", b"YUV4MPEG2", b"0&\xb2u\x8ef\xcf\x11", b".RMF", b"\x06\x0e+4", b"nut/multimedia container\0", b"RIFX"}
    | {b"\xb7\xd8\0 7I\xda\x11", b"FWS", b"CWS", b"\0\nSMJPEG", b"riff.\x91\xcf\x11", b"Creative Voice File"}
    | {b"caff", b"FORM", b"#!AMR", b".snd", b"wvpk", b"MAC ", b"TTA1", b"\x0bw", b"WEBVTT", b"ffconcat version"}
    | {b"[playlist]", b"# VobSub index file", b";FFMETADATA", b"<svg"}
    | {b"\0\0\1", b"\0\0\0\1", b"\0\0\x80"}  # a video without any container
)
"""How pictures, videos, sounds and lists begin that FFmpeg knows and Aura does not accept."""

_ATOMS = frozenset(
    {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"sidx", b"free", b"skip", b"wide", b"junk", b"pnot", b"pict"}
    | {b"udta", b"uuid", b"ediw", b"prfl"}
)
"""Those of ISO/IEC 14496-12 and QuickTime that stand at a file's top level."""
_TRANSPORT_PACKETS = re.compile(b"|".join(rb"(?:G.{%d}){5}" % (size - 1) for size in (188, 192, 204)), re.DOTALL)
"""Five sync bytes in a row; plain packets, with a time code (Blu-ray) or with a checksum (ISO/IEC 13818-1, DVB)."""
_PROGRAM_STREAM = re.compile(rb"\x00\x00\x01[\xba\xbb\xbd\xc0-\xef]")
"""A pack, its system header, or a packet of a stream (ISO/IEC 13818-1)."""


def check_names(head: bytes) -> None:
    """Refuse what would lead a reader elsewhere, and pictures that look like videos.

    Args:
        head: as for `check_head`.

    Raises:
        MediaError: `invalid_video` or `unsupported_container`.
    """
    if head[:32].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(PLAYLISTS):
        raise MediaError("invalid_video", "This is a playlist or a description; send the media file itself.")
    if is_animated(head):
        raise MediaError("unsupported_container", "Animated WebP and PNG are not accepted; send a video.")
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        raise MediaError("unsupported_container", "HEIC and AVIF pictures are not accepted; send JPEG, PNG or WebP.")


def check_head(head: bytes) -> None:
    """Refuse what is no media that Aura accepts.

    Args:
        head: the first `HEAD_BYTES` bytes, or all of a shorter file.

    Raises:
        MediaError: `empty_file`, `invalid_video` or `unsupported_container`.
    """
    if not head:
        raise MediaError("empty_file", "The file is empty; send the bytes of a video, a still or a sound file.")
    check_names(head)
    if any(recognises(head) for recognises in RECOGNISERS.values()):
        return
    if head.startswith(tuple(FOREIGN)):
        raise MediaError("unsupported_container", ACCEPTED)
    raise MediaError("invalid_video", "The bytes are no media; is this the address of the file itself?")


def _begins(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(signatures)


def _is_riff(*kinds: bytes) -> Callable[[bytes], bool]:
    """A chunk file of one of these kinds; RF64 and BW64 are those with 64-bit sizes."""
    return lambda head: head.startswith((b"RIFF", b"RF64", b"BW64")) and head[8:].startswith(kinds)


def _is_movie(head: bytes) -> bool:
    """Walk the atoms up to one that is known; one of size 0 lasts to the end of the file."""
    at, size = 0, 1
    while size and at + 8 <= len(head):
        if head[at + 4 : at + 8] in _ATOMS:
            return True
        size = int.from_bytes(head[at : at + 4])
        if size == 1:
            size = int.from_bytes(head[at + 8 : at + 16])
        at += max(size, 8)
    return False


RECOGNISERS: Mapping[str, Callable[[bytes], bool]] = MappingProxyType(
    {
        "mov,mp4,m4a,3gp,3g2,mj2": _is_movie,
        "matroska,webm": _begins(b"\x1aE\xdf\xa3"),
        "avi": lambda head: _is_riff(b"AVI", b"AMV ")(head) or _begins(b"ON2 ")(head),
        "mpegts": lambda head: bool(_TRANSPORT_PACKETS.search(head)),
        "mpeg": lambda head: bool(_PROGRAM_STREAM.search(head)),
        "flv": _begins(b"FLV"),
        "jpeg_pipe": _begins(JPEG),
        "png_pipe": _begins(PNG),
        "webp_pipe": _is_riff(b"WEBP"),
        "wav": _is_riff(b"WAVE"),
        "ogg": _begins(b"OggS"),
        "flac": _begins(b"fLaC", b"\xff\xf8", b"\xff\xf9"),
        "mp3": lambda head: _begins(b"ID3")(head) or holds_mpeg_audio(head),
        "aac": holds_aac,
    }
)
"""How the containers begin that `streams.CONTAINERS` lists, by FFmpeg's names; it looks behind an ID3 tag for any."""
