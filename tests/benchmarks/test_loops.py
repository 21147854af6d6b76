"""Load generators, against servers of a few lines."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from closed_loop import closed_loop
from open_loop import NO_REPLY, code_of, form, open_loop, parse, percentile, request, scheduled, send, upload

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"verdict":"real"}'
BUSY = b'HTTP/1.1 503 Busy\r\nRetry-After: 2\r\nContent-Length: 15\r\n\r\n{"code":"busy"}'


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
            await writer.drain()
        finally:
            writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


async def read(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


async def test_requests_arrive_as_they_are_and_answers_come_back() -> None:
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read(reader))
        writer.write(OK)

    async with server(handler) as port:
        replies = await open_loop(port, lambda number: upload(b"%d" % number), 1000.0, 0.003)
    assert [(reply.status, reply.code) for reply in replies] == [(200, "real")] * 3
    assert [reply.scheduled for reply in replies] == [0.0, 0.001, 0.002]
    assert sorted(body.split(b"\r\n\r\n")[2][:1] for body in seen) == [b"0", b"1", b"2"]


async def test_a_stall_is_charged_to_all_who_would_have_come_meanwhile() -> None:
    """The loop itself stands still, generator and all: a closed loop would see one slow request."""
    requests = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += 1
        if requests == 1:
            import time

            time.sleep(0.3)  # noqa: ASYNC251
        writer.write(OK)

    async with server(handler) as port:
        replies = await open_loop(port, lambda _: request("/"), 100.0, 0.2)
    assert len(replies) == 20
    waits = sorted(reply.seconds for reply in replies)
    assert waits[10] > 0.1


async def test_requests_do_not_wait_for_each_other() -> None:
    together, count = asyncio.Event(), 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        if count == 5:
            together.set()
        await together.wait()
        writer.write(OK)

    async with server(handler) as port:
        replies = await scheduled(port, lambda _: request("/"), [0.0] * 5, patience=30)
    assert {reply.status for reply in replies} == {200}


async def test_a_refusal_is_heard_though_the_body_was_not_read() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(BUSY)

    async with server(handler) as port:
        (reply,) = await scheduled(port, lambda _: upload(bytes(50_000_000)), [0.0])
    assert (reply.status, reply.code, reply.retry_after) == (503, "busy", "2")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort", b"nonsense\r\n\r\n"])
async def test_no_whole_reply_is_no_reply(answer: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    async with server(handler) as port:
        (reply,) = await scheduled(port, lambda _: request("/"), [0.0])
    assert reply.status == NO_REPLY


async def test_a_refused_connection_and_impatience_are_no_reply() -> None:
    never = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()

    async with server(handler) as port:
        (impatient,) = await scheduled(port, lambda _: request("/"), [0.0], patience=0.01)
        never.set()
    (refused,) = await scheduled(port, lambda _: request("/"), [0.0])
    assert (impatient.status, refused.status) == (NO_REPLY, NO_REPLY)


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")

    async with server(handler) as port:
        assert (await send(port, request("/"))).body == b"hello"


@pytest.mark.parametrize("clients", [1, 3])
async def test_a_closed_loop_keeps_so_many_in_flight(clients: int) -> None:
    in_flight = most = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await read(reader)
        await asyncio.sleep(0.01)
        in_flight -= 1
        writer.write(OK)

    async with server(handler) as port:
        replies = await closed_loop(port, lambda _: request("/"), clients, requests=10)
    assert len(replies) == 10
    assert most == clients


async def test_a_closed_loop_stops_when_its_time_is_over() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)

    async with server(handler) as port:
        replies = await closed_loop(port, lambda _: request("/"), 2, seconds=0.05)
    assert replies
    assert all(reply.sent < 0.05 for reply in replies)


def test_names_are_quoted_as_browsers_do() -> None:
    assert b'filename="a%22b%0D%0Ac.mp4"' in form(b"", 'a"b\r\nc.mp4')
    assert 'filename="имя 🎬.mp4"'.encode() in form(b"", "имя 🎬.mp4")
    assert b'filename="\xff.mp4"' in form(b"", "\udcff.mp4")


def test_a_reply_in_parts() -> None:
    assert parse(OK[:20]) is None
    half = parse(OK[:-3])
    assert half is not None
    assert not half.whole
    whole = parse(OK)
    assert whole is not None
    assert whole.whole
    assert (whole.status, whole.body) == (200, b'{"verdict":"real"}')


def test_codes() -> None:
    assert [code_of(body) for body in (b'{"code":"busy"}', b'{"verdict":"real"}', b"[1]", b"text")] == [
        "busy",
        "real",
        None,
        None,
    ]


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 5), (0.9, 9), (0.99, 10), (1.0, 10)])
def test_percentiles(share: float, value: int) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], share) == value


def test_a_percentile_of_nothing() -> None:
    assert math.isnan(percentile([], 0.5))
