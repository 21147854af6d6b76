"""How the benchmarks find the processes of a service."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import live
import psutil
import pytest

FORKS = "import os, sys, time; os.fork(); print(flush=True); time.sleep(60)  # a-process-of-test-live"


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[psutil.Process]:
    """A process that has forked another one of the same name."""
    monkeypatch.setitem(live.TITLES, "forking", "a-process-of-test-live")
    with subprocess.Popen([sys.executable, "-c", FORKS], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert [process.stdout.readline() for _ in range(2)] == [b"\n", b"\n"]  # both are there
        found = psutil.Process(process.pid)
        family = [*found.children(), found]
        try:
            yield found
        finally:
            for member in family:
                member.kill()


def test_a_process_that_was_just_forked_is_not_another_of_its_kind(parent: psutil.Process) -> None:
    assert len(parent.children()) == 1
    service = live.Service(1, Path())
    assert service.processes("forking") == [parent]
    assert service.pids("forking") == {"forking": [parent.pid]}


def test_a_process_that_has_ended_is_none_of_its_kind(parent: psutil.Process) -> None:
    (child,) = parent.children()
    child.kill()
    assert live.Service(1, Path()).processes("forking") == [parent]
