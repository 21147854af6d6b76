"""How a process keeps its memory, and when it gives some back."""

import os
import subprocess
import sys

import pytest

from aura_model import allocator
from aura_model.allocator import KEEP_MEMORY, SLACK, Footprint, give_back, resident_bytes

MB = 1024**2
HOLES = """
from aura_model.allocator import Footprint, resident_bytes
footprint = Footprint()
blocks = [b"x" * 1024**2 for _ in range(400)]
kept = blocks[::40]
top = blocks[-1]
del blocks
full = resident_bytes()
footprint.keep()
print(full, resident_bytes(), sum(map(len, kept)))
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_memory_is_kept_with_these_settings_and_given_back_where_a_process_has_outgrown_itself() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", HOLES], env=os.environ | KEEP_MEMORY, capture_output=True, text=True, check=True
    )
    full, left, kept = map(int, answer.stdout.split())
    assert full > 400 * MB  # nothing was given back by itself
    assert left < full - 300 * MB
    assert left > kept


@linux
def test_the_size_is_that_of_this_process() -> None:
    before = resident_bytes()
    block = bytearray(os.urandom(64 * MB))
    assert 50 * MB < resident_bytes() - before < 100 * MB
    assert len(block) == 64 * MB


@pytest.mark.parametrize(
    ("sizes", "given"),
    [([10, 10], 0), ([10, 10 + SLACK], 0), ([10, 11 + SLACK], 1), ([10, 5, 11 + SLACK, 11 + SLACK], 2), ([0, 0], 0)],
)
def test_only_what_is_more_than_the_slack_is_given_back(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int], given: int
) -> None:
    found, calls = iter(sizes), []
    monkeypatch.setattr(allocator, "resident_bytes", lambda: next(found))
    monkeypatch.setattr(allocator, "give_back", lambda: calls.append(True))
    footprint = Footprint()
    for _ in sizes[1:]:
        footprint.keep()
    assert len(calls) == given


def test_another_c_library_and_another_system_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    give_back()
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert resident_bytes() == 0
