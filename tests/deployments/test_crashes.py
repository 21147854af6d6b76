"""The memory of files that crashed a decoder."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from deployments.crashes import Crashes, crashed_before, digest_of


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_file_is_remembered_for_a_while(clock: Clock) -> None:
    crashes = Crashes(10.0, clock=clock)
    crashes.add("a")
    clock.now = 9.9
    assert "a" in crashes
    assert "b" not in crashes
    clock.now = 10.0
    assert "a" not in crashes


def test_another_crash_prolongs_the_memory(clock: Clock) -> None:
    crashes = Crashes(10.0, clock=clock)
    crashes.add("a")
    clock.now = 5.0
    crashes.add("b")
    crashes.add("a")
    clock.now = 14.9
    assert "a" in crashes
    clock.now = 15.0
    assert "a" not in crashes
    assert not crashes


def test_an_empty_memory_says_so(clock: Clock) -> None:
    crashes = Crashes(10.0, clock=clock)
    assert not crashes
    crashes.add("a")
    assert crashes
    clock.now = 10.0
    assert not crashes


def test_it_is_bounded(clock: Clock) -> None:
    crashes = Crashes(10.0, most=2, clock=clock)
    for digest in "abac":
        crashes.add(digest)
    assert [digest in crashes for digest in "abc"] == [True, False, True]


def test_it_can_be_switched_off(clock: Clock) -> None:
    crashes = Crashes(0.0, clock=clock)
    crashes.add("a")
    assert not crashes


def test_a_file_and_its_bytes_have_one_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"video")
    expected = hashlib.sha256(b"video").hexdigest()
    assert digest_of(tmp_path / "a") == digest_of(np.frombuffer(b"video", np.uint8)) == expected


def test_the_answer_says_that_it_is_not_the_first_time() -> None:
    assert crashed_before().code == "decode_crashed"
    assert "before" in crashed_before().detail
