"""Damaged files by the hundred: each gives clips or a media error, and the pool goes on."""

import os
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from aura_model.clips import Clips
from aura_model.config import load_config
from aura_model.errors import MediaError
from aura_model.sandbox import Sandbox

MEDIA = Path(__file__).parents[1] / "media"
SEEDS = ["one_frame.mp4", "rotated.mp4", "no_duration.webm", "mpeg4.avi", "face_exif_rotated.jpg"]
BOXES = [b"moov", b"trak", b"tkhd", b"elst", b"mdhd", b"stsd", b"avcC", b"stts", b"ctts", b"stsc", b"stsz", b"stco"]
ROUNDS = int(os.environ.get("AURA_TEST_MUTATIONS", "300"))
"""The number of damaged files; raise it to look longer."""


def flip(data, rng):
    """Change some bytes."""
    found = bytearray(data)
    for at in rng.integers(0, len(data), 1 << rng.integers(0, 8)):
        found[at] ^= int(rng.integers(1, 256))
    return bytes(found)


def cut(data, rng):
    """Keep a part."""
    first, last = sorted(int(at) for at in rng.integers(0, len(data) + 1, 2))
    return data[: last if rng.integers(2) else first] if rng.integers(4) else data[first:last]


def splice(data, rng):
    """Copy a part over another place, or in between."""
    source, target = (int(at) for at in rng.integers(0, len(data), 2))
    part = data[source : source + int(rng.integers(1, 4096))]
    return data[:target] + part + data[target + (len(part) if rng.integers(2) else 0) :]


def header(data, rng):
    """Write a number at the edge of its range into the first or the last part, where the headers are."""
    area = min(2000, len(data) - 8)
    at = int(rng.integers(0, area)) + (len(data) - 8 - area if rng.integers(2) else 0)
    number = int(rng.choice([0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF]))
    return data[:at] + struct.pack(rng.choice([">I", "<I"]), number) + data[at + 4 :]


def field(data, rng):
    """Write such a number behind the name of an MP4 box; another place for other files."""
    name = BOXES[int(rng.integers(len(BOXES)))]
    at = data.find(name)
    if at < 0:
        return header(data, rng)
    at += int(rng.integers(-4, 40))
    return data[:at] + struct.pack(">I", int(rng.choice([0, 1, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF]))) + data[at + 4 :]


MUTATIONS = [flip, cut, splice, header, field]


def mutated(number):
    """The damaged file of that number, always the same."""
    rng = np.random.default_rng(number)
    data = (MEDIA / SEEDS[number % len(SEEDS)]).read_bytes()
    for _ in range(int(rng.integers(1, 4))):
        data = MUTATIONS[int(rng.integers(len(MUTATIONS)))](data, rng) or b"\0"
    return data


@pytest.fixture(scope="module")
def pool():
    settings = [
        "dataset.face.detector=center_crop",
        "dataset.face.size=64",
        "dataset.audio.min_speech=0",
        "limits.decode_seconds=10",
    ]
    with Sandbox(load_config(env={}, overrides=settings)) as found:
        yield found


def test_a_number_names_a_file():
    assert mutated(7) == mutated(7)
    assert len({mutated(number) for number in range(100)}) > 95


def test_each_damaged_file_gives_clips_or_a_media_error(pool):
    outcomes = Counter()
    for number in range(ROUNDS):
        try:
            clips = pool.load_clips(mutated(number))
        except MediaError as error:
            outcomes[error.code] += 1
        else:
            outcomes["clips"] += 1
            check(clips)
    print(dict(outcomes))
    assert not outcomes.keys() & {"decode_crashed", "decode_timeout", "decode_out_of_memory"}
    assert pool.replaced == 0
    assert outcomes["clips"] > ROUNDS / 10  # the damage is not so coarse that nothing is decoded,
    assert len(outcomes) >= 4  # nor so fine that all is


def check(clips):
    assert isinstance(clips, Clips)
    assert clips.media.duration <= 600
    for clip in clips.clips:
        assert clip.wave is None or np.abs(clip.wave).max() <= 1
        assert clip.frames is None or clip.frames.shape[1:] == (64, 64, 3)
        assert np.all(clip.times >= 0)
