"""Which epoch a run is in, told to the processes that make its clips.

Ray Data runs one pipeline anew for each epoch and tells it nothing, so a small actor holds the number.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import ray
from ray.actor import ActorHandle


class EpochClock:
    """The actor that holds the number of the epoch."""

    def __init__(self) -> None:
        self._epoch = 0

    def set(self, epoch: int) -> None:
        """Begin an epoch."""
        self._epoch = epoch

    def get(self) -> int:
        """The epoch, 0 before the first."""
        return self._epoch


@contextmanager
def epoch_clock(name: str) -> Iterator[str]:
    """Run a clock that this Ray job knows as `name`, which is yielded."""
    clock = cast("ActorHandle[EpochClock]", ray.remote(num_cpus=0)(EpochClock).options(name=name).remote())
    try:
        yield name
    finally:
        ray.kill(clock)


def set_epoch(name: str, epoch: int) -> None:
    """Set the clock `name`; whoever asks after this returns is told `epoch`."""
    ray.get(ray.get_actor(name).set.remote(epoch))


def get_epoch(name: str) -> int:
    """Ask the clock `name`."""
    told: Any = ray.get(ray.get_actor(name).get.remote())
    return int(told)
