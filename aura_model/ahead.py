"""Work on what comes next while the caller is busy with what is there."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(work: Callable[[T], R], items: Iterable[T], count: int) -> Iterator[R]:
    """`work` of each item, in order, in up to `count` threads and about as many results ahead of the caller.

    The items are read in a thread of their own, so that a slow source holds up nothing that is ready. What the source
    or `work` raises comes out in its place in the order. Close the iterator to stop early; an item under way is then
    worked to its end.
    """
    line: Queue[Future[R] | None] = Queue(count)  # None: the end
    stopped = Event()
    with ThreadPoolExecutor(count, thread_name_prefix="ahead") as pool:
        Thread(target=_read, args=(work, items, pool, line, stopped), name="ahead-reader", daemon=True).start()
        try:
            while (result := line.get()) is not None:
                yield result.result()
        finally:
            stopped.set()
            _clear(line)


def _read(
    work: Callable[[T], R],
    items: Iterable[T],
    pool: ThreadPoolExecutor,
    line: "Queue[Future[R] | None]",
    stopped: Event,
) -> None:
    try:
        for item in items:
            if stopped.is_set():
                return
            line.put(pool.submit(work, item))
    except BaseException as error:  # noqa: BLE001  # handed to the caller's thread
        failed: Future[R] = Future()
        failed.set_exception(error)
        line.put(failed)
    line.put(None)


def _clear(line: "Queue[Future[R] | None]") -> None:
    """Make room for a reader that waits to put something down: it sees next that all is over."""
    with suppress(Empty):
        while True:
            waiting = line.get_nowait()
            if waiting is not None:
                waiting.cancel()
