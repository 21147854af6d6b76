"""Where workers tell how a run goes, and the process that started the run reads it."""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any, cast

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from aura_model.logging import get_logger
from training.watch.listeners import Listener

KEPT = 100_000
"""Events that wait to be read; older ones are dropped."""
PERIOD = 0.3
"""Seconds between two looks at the board."""

Events = list[dict[str, Any]]


class Board:
    """The actor that holds events until they are read. An event is a plain mapping with a `kind`:

    progress (epoch, epochs, phase, share, step, loss, clips_per_second, data_wait_share), skip (video_id, path, split,
    code, detail), epoch (all figures of an epoch) and restart (epoch: the last one done).
    """

    def __init__(self) -> None:
        self._events: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def post(self, events: Events) -> None:
        """Add events, in order."""
        self._events.extend(events)

    def drain(self) -> Events:
        """Take all events, in order."""
        events = list(self._events)
        self._events.clear()
        return events


@contextmanager
def told(listeners: Iterable[Listener]) -> Iterator["ActorHandle[Board]"]:
    """A board whose events are handed to all `listeners`, in a thread, until the block ends."""
    board = cast("ActorHandle[Board]", ray.remote(num_cpus=0)(Board).remote())
    ended, hearing = Event(), tuple(listeners)

    def listen() -> None:
        """Hand events on; once more after the end."""
        last = False
        while not last:
            last = ended.wait(PERIOD)
            for event in _drain(board):
                for listener in hearing:
                    listener.hear(event)

    thread = Thread(target=listen, name="board")
    thread.start()
    try:
        yield board
    finally:
        ended.set()
        thread.join()
        ray.kill(board)


def _drain(board: "ActorHandle[Board]") -> Events:
    try:
        return cast("Events", ray.get(board.drain.remote()))
    except RayActorError:
        get_logger(__name__).warning("the board is gone: the run goes on, and nothing more is told of it")
        return []
