import threading
from typing import Any

import pytest

from training.watch.listeners import Background, Event, Guarded


class Recorder:
    """Remembers what it hears; raises `failure` where there is one."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.heard: list[Any] = []
        self.failure = failure

    def hear(self, event: Event) -> None:
        self.heard.append(event["n"])
        if self.failure:
            raise self.failure

    def close(self) -> None:
        self.heard.append("closed")
        if self.failure:
            raise self.failure


class Stuck(Recorder):
    """Does not come back from an event until `free` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()

    def hear(self, event: Event) -> None:
        self.free.wait(60)
        super().hear(event)


def test_a_guarded_listener_hears_all() -> None:
    recorder, warnings = Recorder(), list[str]()
    guarded = Guarded(recorder, "it", warnings.append)
    for n in range(3):
        guarded.hear({"n": n})
    guarded.close()
    assert recorder.heard == [0, 1, 2, "closed"]
    assert warnings == []


@pytest.mark.parametrize("failure", [OSError("disk is full"), ValueError("disk is full"), RuntimeError("disk is full")])
def test_failures_are_told_once_and_end_nothing(failure: Exception) -> None:
    recorder, warnings = Recorder(failure), list[str]()
    guarded = Guarded(recorder, "TensorBoard", warnings.append)
    for n in range(3):
        guarded.hear({"n": n})
    guarded.close()
    assert recorder.heard == [0, 1, 2, "closed"]
    assert len(warnings) == 1
    assert "TensorBoard failed" in warnings[0]
    assert f"{type(failure).__name__}: disk is full" in warnings[0]


def test_a_warning_holds_no_secret() -> None:
    warnings = list[str]()
    Guarded(Recorder(OSError("https://me:pass1@host/x?token=abc")), "it", warnings.append).close()
    assert "host/x" in warnings[0]
    assert "pass1" not in warnings[0]
    assert "abc" not in warnings[0]


@pytest.mark.parametrize("ends", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_is_no_failure_of_the_listener(ends: type[BaseException]) -> None:
    class Interrupted(Recorder):
        def close(self) -> None:
            raise ends

    with pytest.raises(ends):
        Guarded(Interrupted(), "it", pytest.fail).close()


def test_background_keeps_the_order_and_closes_last() -> None:
    recorder = Recorder()
    background = Background(recorder, "it", pytest.fail)
    for n in range(100):
        background.hear({"n": n})
    background.close()
    assert recorder.heard == [*range(100), "closed"]


def test_a_slow_listener_holds_nobody_up_and_is_given_up_in_the_end() -> None:
    stuck, warnings = Stuck(), list[str]()
    background = Background(stuck, "MLflow", warnings.append, patience=0)
    background.hear({"n": 1})
    background.hear({"n": 2})
    background.close()
    assert stuck.heard == []
    assert warnings == ["MLflow did not take everything within 0 seconds"]
    stuck.free.set()
    background._thread.join(60)
    assert stuck.heard == [1, 2, "closed"]
