"""Pictures by their first bytes."""

import struct
import time

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura_model.stills import is_animated, jpeg_ends, still_size

SIZES = [(1, 1), (2, 3), (255, 257), (640, 480), (300, 5000)]
HEADS = [
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\0\0\0\0WEBPVP8X",
    b"RIFF\0\0\0\0WEBPVP8L",
    b"RIFF\0\0\0\0WEBPVP8 ",
]


def coded(size, extension, *options, channels=3):
    """A picture of `size` (width, height) as bytes."""
    width, height = size
    image = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return cv2.imencode(extension, image, options)[1].tobytes()


def segment(marker, payload=b""):
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def frame_header(marker, width, height):
    return segment(marker, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("extension", "options", "channels"),
    [
        (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 90], 3),
        (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], 3),
        (".jpg", [cv2.IMWRITE_JPEG_RST_INTERVAL, 4], 1),
        (".png", [], 3),
        (".png", [], 4),
        (".webp", [cv2.IMWRITE_WEBP_QUALITY, 80], 3),  # one lossy chunk
        (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101], 3),  # one lossless chunk
        (".webp", [cv2.IMWRITE_WEBP_QUALITY, 80], 4),  # extended, with alpha
    ],
)
def test_the_size_is_the_one_that_was_coded(size, extension, options, channels):
    assert still_size(coded(size, extension, *options, channels=channels)) == size


def test_a_memory_view_will_do():
    assert still_size(memoryview(coded((64, 48), ".jpg"))) == (64, 48)


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xCF])
def test_every_kind_of_jpeg_frame_header_counts(marker):
    assert still_size(b"\xff\xd8" + segment(0xE0) + frame_header(marker, 20_000, 30_000)) == (20_000, 30_000)


@pytest.mark.parametrize("marker", [0xC4, 0xC8, 0xCC])
def test_tables_among_the_frame_headers_do_not(marker):
    data = b"\xff\xd8" + frame_header(marker, 7, 7) + frame_header(0xC0, 640, 480)
    assert still_size(data) == (640, 480)


def test_metadata_before_the_frame_header_is_passed_over():
    thumbnail = coded((32, 32), ".jpg")
    exif = segment(0xE1, b"Exif\0\0" + thumbnail)
    profile = segment(0xE2, b"ICC_PROFILE\0" + bytes(65_000)) * 5
    assert still_size(b"\xff\xd8" + exif + profile + b"\xff\xff\xff" + frame_header(0xC2, 4032, 3024)) == (4032, 3024)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff",
        b"\xff\xd8" + frame_header(0xC0, 640, 480)[:8],  # ends inside the header
        b"\xff\xd8" + segment(0xE0) + b"\0\0" + frame_header(0xC0, 640, 480),  # no marker where one must be
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0",
        b"RIFF\x10\0\0\0WEBPVP8X",
        b"RIFF\x10\0\0\0WEBPALPH" + bytes(40),
        b"GIF89a" + bytes(40),
    ],
)
def test_no_size_is_made_up(data):
    assert still_size(data) == (0, 0)


@given(st.sampled_from(HEADS), st.binary(max_size=200))
def test_any_bytes_give_some_size(head, rest):
    width, height = still_size(head + rest)
    assert 0 <= width < 2**32
    assert 0 <= height < 2**32


JPEGS = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "with restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 4],
    "optimised": [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
}


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_a_jpeg_has_its_end_until_it_is_cut(options):
    data = coded((64, 48), ".jpg", *options)
    assert jpeg_ends(data)
    assert jpeg_ends(memoryview(data + bytes(100)))
    assert jpeg_ends(data + coded((32, 32), ".jpg")[:-50])  # a second picture behind it is not looked at
    assert not any(jpeg_ends(data[:end]) for end in range(len(data) - 1))


def test_the_end_of_a_thumbnail_is_not_that_of_the_photo():
    data = coded((64, 48), ".jpg")
    photo = data[:2] + segment(0xE1, b"Exif\0\0" + coded((32, 32), ".jpg")) + b"\xff\xff" + data[2:]
    assert still_size(photo) == (64, 48)
    assert jpeg_ends(photo)
    assert not jpeg_ends(photo[:-2])


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xda", b"GIF89a"])
def test_what_is_hardly_a_jpeg_has_no_end(data):
    assert not jpeg_ends(data)


@given(st.binary(max_size=200))
def test_any_bytes_end_or_not(rest):
    assert jpeg_ends(b"\xff\xd8" + rest) in (True, False)


@pytest.mark.parametrize("piece", [b"\xff", b"\xff\xe0\0\2", b"\xff\xe0\0\0"])
def test_a_picture_of_nothing_but_segments_takes_no_time(piece):
    data = b"\xff\xd8" + piece * (20_000_000 // len(piece))
    began = time.perf_counter()
    assert still_size(data) == (0, 0)
    assert not jpeg_ends(data)
    assert time.perf_counter() - began < 1


@given(st.integers(0, 32))
def test_a_cut_off_header_is_no_animation(length):
    head = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + bytes(8)
    assert is_animated(head[:length]) == (length > 20)


@pytest.mark.parametrize(
    ("head", "animated"),
    [
        (b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x02", True),
        (b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x3e", True),  # with alpha and metadata
        (b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x10", False),  # alpha only
        (b"RIFF\0\0\0\0WEBPVP8 \x0a\0\0\0\x02", False),
        (b"RIFF\0\0\0\0AVI VP8X\x0a\0\0\0\x02", False),
        (b"\xff\xd8\xff", False),
    ],
)
def test_animation_is_a_flag_of_webp(head, animated):
    assert is_animated(head) == animated


def png(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I4s", len(data), kind) + data + bytes(4) for kind, data in chunks
    )


@pytest.mark.parametrize(
    ("chunks", "animated"),
    [
        ([(b"acTL", bytes(8)), (b"IDAT", b"x")], True),
        ([(b"tEXt", bytes(5000)), (b"acTL", bytes(8)), (b"IDAT", b"x")], True),
        ([(b"IDAT", b"x"), (b"acTL", bytes(8))], False),  # to be ignored there
        ([(b"tEXt", b"acTL"), (b"IDAT", b"x")], False),
        ([(b"tEXt", bytes(5000))], False),
        ([], False),
    ],
)
def test_animation_is_a_chunk_of_png_before_the_picture(chunks, animated):
    assert is_animated(png((b"IHDR", bytes(13)), *chunks)) == animated
