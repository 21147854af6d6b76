"""Slots for predictions, and what becomes of slow senders."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from deployments import admission as module
from deployments import uploads
from deployments.admission import SLOW_PER_SLOT, Admission, Slot
from deployments.problems import ServiceError
from tests.deployments.conftest import FakeBackend, client_of, make_config

FORM = {"content-type": "multipart/form-data; boundary=b"}
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\nvideo'
TAIL = b"\r\n--b--\r\n"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has not arrived when the loop turns next is slow."""
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.0)


async def turn() -> None:
    """Let everything that is due happen."""
    for _ in range(5):
        await asyncio.sleep(0)


async def refuses(admission: Admission) -> bool:
    try:
        async with admission.slot():
            return False
    except ServiceError as error:
        return error.code == "busy"


@pytest.mark.parametrize("slots", [1, 3])
async def test_so_many_and_no_more(slots: int) -> None:
    admission = Admission(slots)
    async with AsyncExitStack() as stack:
        for _ in range(slots):
            slot = await stack.enter_async_context(admission.slot())
            await slot.arrived()
        assert await refuses(admission)
    assert not await refuses(admission)


async def test_a_failure_frees_the_slot() -> None:
    admission = Admission(1)
    with pytest.raises(ZeroDivisionError):
        async with admission.slot():
            raise ZeroDivisionError
    assert not await refuses(admission)


@pytest.mark.usefixtures("at_once")
async def test_one_that_has_arrived_keeps_its_slot() -> None:
    admission = Admission(1)
    async with admission.slot() as slot:
        await slot.arrived()
        await turn()
        assert await refuses(admission)


@pytest.mark.usefixtures("at_once")
async def test_a_slow_one_lends_its_slot_and_waits_for_its_turn() -> None:
    admission = Admission(1)
    async with admission.slot() as slow:
        await turn()
        async with admission.slot() as fast:
            await fast.arrived()
            waiting = asyncio.create_task(slow.arrived())
            await turn()
            assert not waiting.done()
            assert await refuses(admission)
        assert await refuses(admission)  # the slow one comes first
        await waiting
        assert await refuses(admission)
    assert not await refuses(admission)


@pytest.mark.usefixtures("at_once")
async def test_a_slow_one_that_gives_up_waiting_leaves_nothing_behind() -> None:
    admission = Admission(1)
    async with admission.slot() as fast:

        async def slow() -> None:
            async with admission.slot() as slot:
                await turn()
                await slot.arrived()

        await turn()  # the first has lent its slot
        task = asyncio.create_task(slow())
        await turn()
        await fast.arrived()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await refuses(admission)
    assert not await refuses(admission)


@pytest.mark.usefixtures("at_once")
async def test_too_many_slow_ones_keep_their_slots() -> None:
    admission = Admission(1)
    async with AsyncExitStack() as stack:
        slow: list[Slot] = []
        for _ in range(SLOW_PER_SLOT + 1):
            slow.append(await stack.enter_async_context(admission.slot()))
            await turn()
        assert await refuses(admission)
    async with AsyncExitStack() as stack:  # and all that they had is given back
        for _ in range(SLOW_PER_SLOT + 1):
            await stack.enter_async_context(admission.slot())
            await turn()
        assert await refuses(admission)


@pytest.mark.usefixtures("at_once")
async def test_slow_ones_count_as_slow_until_they_have_arrived() -> None:
    admission = Admission(1)
    for _ in range(SLOW_PER_SLOT + 1):
        async with admission.slot() as slow:
            await turn()
            assert not await refuses(admission)
            await slow.arrived()
            assert await refuses(admission)


class SlowBody:
    """A form that ends when it is told to."""

    def __init__(self) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()

    async def parts(self) -> AsyncIterator[bytes]:
        yield HEAD
        self.begun.set()
        await self.go.wait()
        yield TAIL

    async def send(self, client: httpx.AsyncClient) -> httpx.Response:
        length = {"content-length": str(len(HEAD + TAIL))}
        return await client.post("/predict", content=self.parts(), headers=FORM | length)


@pytest.mark.usefixtures("at_once")
async def test_slow_uploads_keep_nobody_out() -> None:
    backend, body = FakeBackend(), SlowBody()
    async with client_of(make_config(serving={"max_in_flight": 1}), backend) as client:
        slow = asyncio.create_task(body.send(client))
        await body.begun.wait()
        await turn()
        assert (await client.post("/predict", files={"file": b"fast"})).status_code == 200
        body.go.set()
        assert (await slow).status_code == 200
    assert backend.media == [b"fast", b"video"]


@pytest.mark.parametrize(("rate", "status"), [(1 << 40, 408), (0, 200)])
async def test_an_upload_must_come_fast_enough(monkeypatch: pytest.MonkeyPatch, rate: int, status: int) -> None:
    monkeypatch.setattr(uploads, "GRACE_SECONDS", 0.0)
    backend, body = FakeBackend(), SlowBody()
    async with client_of(make_config(serving={"upload_min_rate": rate}), backend) as client:
        sending = asyncio.create_task(body.send(client))
        await body.begun.wait()
        if status == 200:
            body.go.set()
        reply = await sending
    assert reply.status_code == status
    assert backend.media == ([] if status == 408 else [b"video"])
    if status == 408:
        assert reply.json()["code"] == "upload_timeout"


async def test_a_steady_upload_may_take_longer_than_the_first_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte buys time: a part of the form that is there counts however late it is."""
    monkeypatch.setattr(uploads, "GRACE_SECONDS", 0.01)
    backend, body = FakeBackend(), SlowBody()
    async with client_of(make_config(serving={"upload_min_rate": 1}), backend) as client:
        sending = asyncio.create_task(body.send(client))
        await body.begun.wait()
        await asyncio.sleep(0.05)
        body.go.set()
        assert (await sending).status_code == 200
