"""Results come in order, from threads, a bounded number ahead of the caller."""

import gc
import threading
from collections.abc import Iterator

import pytest

from aura_model.ahead import ahead

WAIT = 20


def double(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("length", [0, 1, 2, 17])
def test_each_result_comes_once_and_in_order(count: int, length: int) -> None:
    assert list(ahead(double, range(length), count)) == [2 * number for number in range(length)]


def test_a_slow_item_holds_back_those_after_it_but_not_their_work() -> None:
    second_done = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second_done.wait(WAIT)  # ends only if item 1 is worked on at the same time
        else:
            second_done.set()
        return number

    assert list(ahead(work, range(4), 2)) == [0, 1, 2, 3]


def test_work_goes_on_while_the_caller_is_busy() -> None:
    third = threading.Event()

    def work(number: int) -> int:
        if number == 2:
            third.set()
        return number

    results = ahead(work, range(10), 2)
    assert next(results) == 0
    assert third.wait(WAIT)  # nobody asked for item 1 yet
    assert list(results) == list(range(1, 10))


def test_the_source_is_read_only_a_few_items_ahead() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = ahead(double, source(), 2)
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    results.close()  # type: ignore[attr-defined]
    assert len(taken) <= 3 + 2 + 1  # given out, in the line, in the reader's hand


def test_an_error_of_the_work_comes_in_its_place() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise LookupError("two")
        return number

    results = ahead(work, range(5), 3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(LookupError, match="two"):
        next(results)


def test_an_error_of_the_source_comes_after_what_it_gave() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("the source broke")

    results = ahead(double, source(), 2)
    assert next(results) == 2
    with pytest.raises(OSError, match="broke"):
        next(results)


def test_closing_early_ends_the_threads_and_the_source() -> None:
    ended = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            ended.set()

    results = ahead(double, source(), 2)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert ended.wait(WAIT)
    readers = [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
    for thread in readers:
        thread.join(WAIT)
        assert not thread.is_alive()


def test_a_caller_that_drops_the_iterator_leaves_no_thread_at_work() -> None:
    results = ahead(double, iter(range(10**9)), 2)
    assert next(results) == 0
    del results
    for thread in [one for one in threading.enumerate() if one.name.startswith("ahead")]:
        thread.join(WAIT)
        assert not thread.is_alive()


def test_the_garbage_collector_may_close_it_in_one_of_its_own_threads() -> None:
    held: list[Iterator[object]] = []
    dropped, collected = threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number == 1:
            assert dropped.wait(WAIT)
            gc.collect()
            collected.set()
        return number

    results = ahead(work, range(10**9), 1)
    held.extend([results, iter(held)])  # a cycle, as an exception's traceback makes one: only the collector ends it
    assert next(results) == 0
    gc.collect()
    gc.disable()
    try:
        del results, held
        dropped.set()
        assert collected.wait(WAIT)
    finally:
        gc.enable()
    for thread in [one for one in threading.enumerate() if one.name.startswith("ahead")]:
        thread.join(WAIT)
        assert not thread.is_alive()
