"""What the processes of a service use over time."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import psutil
from live import STAGES, Service

LASTING = (*STAGES, "proxy", "controller")
"""The kinds of processes that should live as long as the service."""


@dataclass(frozen=True)
class Sample:
    """One process at one moment."""

    at: float
    """Seconds since the watch began."""
    kind: str
    pid: int
    rss: int
    """Bytes in memory, shared ones included."""
    private: int
    """Bytes that this process alone has; those in Ray's object store do not count."""
    descriptors: int
    threads: int


def sample(service: Service, at: float, kinds: Sequence[str] = LASTING) -> list[Sample]:
    """All processes of these kinds now."""
    samples = []
    for kind in kinds:
        for process in service.processes(kind):
            try:
                with process.oneshot():
                    memory = process.memory_info()
                    private = memory.rss - memory.shared
                    fds, threads = process.num_fds(), process.num_threads()
            except psutil.Error:
                continue  # it has ended meanwhile
            samples.append(Sample(at, kind, process.pid, memory.rss, private, fds, threads))
    return samples


@contextmanager
def watching(service: Service, seconds: float, kinds: Sequence[str] = LASTING) -> Iterator[list[Sample]]:
    """A list that grows by a sample of each process every so many seconds while the block runs."""
    samples: list[Sample] = []
    stop, began = threading.Event(), time.monotonic()

    def watch() -> None:
        """Sample until the block ends."""
        while not stop.wait(seconds):
            samples.extend(sample(service, time.monotonic() - began, kinds))

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def growth(before: Sequence[Sample], after: Sequence[Sample], field: Literal["rss", "private"]) -> dict[str, float]:
    """MB by which the memory of each process that lived through has grown, by kind: the one that grew most."""
    first = {one.pid: getattr(one, field) for one in before}
    grown: dict[str, float] = {}
    for one in after:
        if one.pid in first:
            grown[one.kind] = max(grown.get(one.kind, -1e9), (getattr(one, field) - first[one.pid]) / 1e6)
    return grown


def deaths(before: Sequence[Sample], after: Sequence[Sample]) -> dict[str, list[int]]:
    """Processes that are gone, by kind."""
    left = {one.pid for one in after}
    gone: dict[str, list[int]] = {}
    for one in before:
        if one.pid not in left:
            gone.setdefault(one.kind, []).append(one.pid)
    return gone
