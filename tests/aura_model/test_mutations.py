"""Damaged files by the hundred: each gives clips or a media error, and the pool goes on."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mutants import mutant

from aura_model.clips import Clips
from aura_model.errors import MediaError
from aura_model.sandbox import Sandbox
from aura_model.settings import load_config

MEDIA = Path(__file__).parents[1] / "media"
SEEDS = ["one_frame.mp4", "rotated.mp4", "no_duration.webm", "mpeg4.avi", "face_exif_rotated.jpg"]
ROUNDS = int(os.environ.get("AURA_TEST_MUTATIONS", "1000"))
"""The number of damaged files; `benchmarks/fuzz.py` looks longer."""


def mutated(number):
    """The damaged file of that number, always the same."""
    return mutant(number, [(MEDIA / name).read_bytes() for name in SEEDS])


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
