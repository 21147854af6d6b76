"""Sound frames one behind the other."""

import itertools

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura_model.frame_syncs import holds_aac, holds_mpeg_audio

SILENT = b"\x55"


def mpeg_frame(version_bits, layer_bits, rate_byte, length):
    header = bytes([0xFF, 0xE0 | version_bits << 3 | layer_bits << 1 | 1, rate_byte, 0])
    return header + SILENT * (length - 4)


# version and layer as coded, bit rate and sampling rate as coded, bytes of a frame (ISO/IEC 11172-3, 13818-3)
FRAMES = {
    "version 1, layer 3, 128 kbit/s, 44.1 kHz": (3, 1, 0x90, 417),
    "version 1, layer 3, padded": (3, 1, 0x92, 418),
    "version 1, layer 3, 320 kbit/s, 32 kHz": (3, 1, 0xE8, 1440),
    "version 1, layer 2, 192 kbit/s, 48 kHz": (3, 2, 0xA4, 576),
    "version 1, layer 1, 384 kbit/s, 44.1 kHz": (3, 3, 0xC0, 416),
    "version 1, layer 1, padded": (3, 3, 0xC2, 420),
    "version 2, layer 3, 64 kbit/s, 24 kHz": (2, 1, 0x84, 192),
    "version 2, layer 2, 64 kbit/s, 22.05 kHz": (2, 2, 0x80, 417),
    "version 2.5, layer 3, 8 kbit/s, 8 kHz": (0, 1, 0x18, 72),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("before", [b"", SILENT * 77])
def test_mpeg_frames_have_the_length_of_their_header(name, before):
    frame = mpeg_frame(*FRAMES[name])
    assert holds_mpeg_audio(before + frame + frame)
    assert not holds_aac(before + frame + frame)
    assert not holds_mpeg_audio(SILENT + frame[:-1] + frame)
    assert not holds_mpeg_audio(SILENT + frame + SILENT + frame)


@pytest.mark.parametrize("length", [7, 8, 300, 2047, 2048, 8191])
@pytest.mark.parametrize("before", [b"", SILENT * 77])
def test_adts_frames_name_their_length(length, before):
    frame = bytes([0xFF, 0xF1, 0x50, 0x80 | length >> 11, length >> 3 & 0xFF, length << 5 & 0xFF, 0]).ljust(
        length, SILENT
    )
    assert holds_aac(before + frame + frame)
    assert not holds_mpeg_audio(before + frame + frame)
    assert not holds_aac(SILENT + frame + SILENT + frame)


def test_one_frame_is_enough_where_a_file_begins():
    frame = mpeg_frame(3, 1, 0x90, 417)
    assert holds_mpeg_audio(frame)
    assert holds_mpeg_audio(bytes(1000) + frame)
    assert not holds_mpeg_audio(SILENT + frame)


@pytest.mark.parametrize("header", ["ffe89000", "fff99000", "fffb0000", "fffbf000", "fffb9c00", "fffb", "ff", ""])
def test_what_is_no_header(header):
    assert not holds_mpeg_audio(bytes.fromhex(header))


def test_every_header_has_a_length():
    for second, third in itertools.product(range(0xE0, 0x100), range(256)):
        holds_mpeg_audio(SILENT + bytes([0xFF, second, third, 0]) + bytes(50))


@given(st.binary(max_size=500))
def test_any_bytes_are_looked_at(data):
    assert holds_mpeg_audio(data) in (False, True)
    assert holds_aac(data) in (False, True)


def test_ffmpeg_cuts_at_the_same_places(films):
    """The frames of an encoder are as long as their headers say."""
    import numpy as np

    sound = films.Sound(0.2 * np.random.default_rng(0).standard_normal(48_000), codec="libmp3lame")
    data = films.film("mp3", sound, id3v2_version="0", write_xing="0")
    packets = [bytes(packet) for packet in av.CodecContext.create("mp3", "r").parse(data)]
    assert all(holds_mpeg_audio(SILENT + one + two) for one, two in itertools.pairwise(packets[1:-1]))
