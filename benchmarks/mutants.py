"""Damaged copies of files, by number: the same number gives the same damage."""

import struct
from collections.abc import Callable, Sequence

import numpy as np

BOXES = (b"moov", b"trak", b"tkhd", b"elst", b"mdhd", b"stsd", b"avcC", b"stts", b"ctts", b"stsc", b"stsz", b"stco")
EDGES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
"""Numbers at the edge of their ranges."""


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    """Change some bytes."""
    found = bytearray(data)
    for at in rng.integers(0, len(data), 1 << int(rng.integers(0, 8))):
        found[at] ^= int(rng.integers(1, 256))
    return bytes(found)


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    """Keep a part."""
    first, last = sorted(int(at) for at in rng.integers(0, len(data) + 1, 2))
    return data[: last if rng.integers(2) else first] if rng.integers(4) else data[first:last]


def splice(data: bytes, rng: np.random.Generator) -> bytes:
    """Copy a part over another place, or in between."""
    source, target = (int(at) for at in rng.integers(0, len(data), 2))
    part = data[source : source + int(rng.integers(1, 4096))]
    return data[:target] + part + data[target + (len(part) if rng.integers(2) else 0) :]


def header(data: bytes, rng: np.random.Generator) -> bytes:
    """Write a number at the edge of its range into the first or the last part, where the headers are."""
    area = min(2000, len(data) - 8)
    if area <= 0:
        return flip(data, rng)
    at = int(rng.integers(0, area)) + (len(data) - 8 - area if rng.integers(2) else 0)
    return data[:at] + struct.pack(str(rng.choice([">I", "<I"])), int(rng.choice(EDGES))) + data[at + 4 :]


def field(data: bytes, rng: np.random.Generator) -> bytes:
    """Write such a number behind the name of an MP4 box; another place for other files."""
    at = data.find(BOXES[int(rng.integers(len(BOXES)))])
    if at < 0:
        return header(data, rng)
    at = max(0, at + int(rng.integers(-4, 40)))
    return data[:at] + struct.pack(">I", int(rng.choice(EDGES))) + data[at + 4 :]


MUTATIONS: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (flip, cut, splice, header, field)


def mutant(number: int, seeds: Sequence[bytes]) -> bytes:
    """The damaged file of that number: one of the seeds, changed one to three times."""
    rng = np.random.default_rng(number)
    data = seeds[number % len(seeds)] or b"\0"
    for _ in range(int(rng.integers(1, 4))):
        data = MUTATIONS[int(rng.integers(len(MUTATIONS)))](data, rng) or b"\0"
    return data
