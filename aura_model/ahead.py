"""Work on what comes next while the caller is busy with what is there."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

POLL = 0.1
"""Seconds after which a reader that waits for room looks whether anybody still wants its results."""


def ahead(work: Callable[[T], R], items: Iterable[T], count: int) -> Iterator[R]:
    """`work` of each item, in order, in up to `count` threads and about as many results ahead of the caller.

    The items are read in a thread of their own, so that a slow source holds up nothing that is ready. What the source
    or `work` raises comes out in its place in the order. Close the iterator to stop early: no further item is begun,
    and one under way is worked to its end, for which nobody waits.
    """
    line: Queue[Future[R] | None] = Queue(count)  # None: the end
    stopped = Event()
    Thread(target=_read, args=(work, items, count, line, stopped), name="ahead-reader", daemon=True).start()
    try:
        while (result := line.get()) is not None:
            yield result.result()
    finally:
        stopped.set()  # and no more: the garbage collector may close this in one of the very threads to be waited for


def _read(
    work: Callable[[T], R],
    items: Iterable[T],
    count: int,
    line: "Queue[Future[R] | None]",
    stopped: Event,
) -> None:
    with ThreadPoolExecutor(count, thread_name_prefix="ahead") as pool:
        try:
            for item in items:
                if stopped.is_set() or not _put(pool.submit(work, item), line, stopped):
                    break
        except BaseException as error:  # noqa: BLE001  # handed to the caller's thread
            failed: Future[R] = Future()
            failed.set_exception(error)
            _put(failed, line, stopped)
        _put(None, line, stopped)
        pool.shutdown(cancel_futures=stopped.is_set())


def _put(result: "Future[R] | None", line: "Queue[Future[R] | None]", stopped: Event) -> bool:
    """Put it into the line as soon as there is room; False where nobody wants it any more."""
    while not stopped.is_set():
        with suppress(Full):
            line.put(result, timeout=POLL)
            return True
    return False
