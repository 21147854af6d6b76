"""What workers post reaches every listener, in order and to the end."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from ray.exceptions import RayActorError

from training.watch import board as board_module
from training.watch.board import Board, told
from training.watch.listeners import Event

WAIT = 20


def event(number: int) -> dict[str, Any]:
    return {"kind": "progress", "n": number}


def test_events_are_drained_once_and_in_order() -> None:
    board = Board()
    board.post([event(1), event(2)])
    board.post([])
    board.post([event(3)])
    assert board.drain() == [event(1), event(2), event(3)]
    assert board.drain() == []
    board.post([event(4)])
    assert board.drain() == [event(4)]


def test_a_board_that_nobody_reads_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "KEPT", 3)
    board = Board()
    board.post([event(number) for number in range(5)])
    assert board.drain() == [event(2), event(3), event(4)]


class Method:
    """A method of an actor: called at once, and `FakeRay.get` hands on what came of it."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.remote = call


class Handle:
    def __init__(self, board: Board) -> None:
        self.gone = self.killed = False
        self.drained = threading.Event()
        self.post = Method(board.post)
        self.drain = Method(lambda: self._drain(board))

    def _drain(self, board: Board) -> list[dict[str, Any]]:
        self.drained.set()
        if self.gone:
            raise RayActorError
        return board.drain()


class FakeRay:
    """As much of Ray as a board needs, in this process."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}

    def remote(self, **options: Any) -> Callable[[type[Board]], Method]:
        self.options = options
        return lambda kind: Method(lambda: Handle(kind()))

    @staticmethod
    def get(result: Any) -> Any:
        return result

    @staticmethod
    def kill(handle: Handle) -> None:
        handle.killed = True


@pytest.fixture(autouse=True)
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(board_module, "ray", fake)
    return fake


class Recorder:
    """Remembers what it heard, and in which thread."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.threads: set[str] = set()
        self.second = threading.Event()

    def hear(self, event: Event) -> None:
        self.heard.append(event)
        self.threads.add(threading.current_thread().name)
        if len(self.heard) > 1:
            self.second.set()

    def close(self) -> None:
        pytest.fail("who made a listener closes it")


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "board"]


def test_all_listeners_hear_all_events_in_order_also_the_last_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "PERIOD", 3600)  # nothing but the end makes it look
    one, other = Recorder(), Recorder()
    with told([one, other]) as board:
        board.post.remote([event(1)])
        board.post.remote([event(2), event(3)])
        assert one.heard == []
    assert one.heard == other.heard == [event(1), event(2), event(3)]
    assert board.killed  # type: ignore[attr-defined]
    assert running() == []


def test_events_are_told_while_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "PERIOD", 0.001)
    recorder = Recorder()
    with told([recorder]) as board:
        board.post.remote([event(1), event(2)])
        assert recorder.second.wait(WAIT)
    assert recorder.heard == [event(1), event(2)]
    assert recorder.threads == {"board"}


def test_a_failed_run_is_told_to_its_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "PERIOD", 3600)
    recorder, boards = Recorder(), list[Any]()

    def fail() -> None:
        with told([recorder]) as board:
            boards.append(board)
            board.post.remote([event(1)])
            raise LookupError("the run failed")

    with pytest.raises(LookupError, match="the run failed"):
        fail()
    assert recorder.heard == [event(1)]
    assert boards[0].killed
    assert running() == []


def test_the_run_goes_on_without_its_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "PERIOD", 0.001)
    recorder = Recorder()
    with told([recorder]) as board:
        handle: Any = board
        handle.gone = True
        handle.drained.clear()
        assert handle.drained.wait(WAIT)
        assert running() == ["board"]
    assert recorder.heard == []
    assert running() == []


def test_a_board_takes_no_cpu_from_the_run(ray: FakeRay) -> None:
    with told([]):
        pass
    assert ray.options == {"num_cpus": 0}
