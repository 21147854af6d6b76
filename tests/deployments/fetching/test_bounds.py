"""Answers that never end, come slowly, or are larger than they say: each is given up in time, and little of it read."""

import asyncio
import gzip
import io
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import chain, cycle, repeat

import pytest

from aura_model.config import Config
from aura_model.errors import AuraError
from deployments.fetching import fetch
from deployments.fetching.bounds import HEAD_BYTES, Bounds
from deployments.fetching.fetch import fetch_video
from tests.deployments.conftest import make_config

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
VIDEO = b"\0\0\0\x18ftypisom"
FIRST = b"c\r\n" + VIDEO + b"\r\n"
"""The first chunk of a chunked body."""
CAP = 1 << 20
"""`limits.max_bytes` of these tests."""
READ = 65536
"""Bytes that are read at once at most."""
SECONDS = 20.0
"""`serving.fetch_seconds` of these tests."""
BLOCK = b"x" * 8192


@dataclass(frozen=True)
class Case:
    """An answer, and what becomes of it."""

    pieces: "Iterator[bytes]"
    outcome: str
    """A code, or `ok`."""
    says: str = ""
    """In the sentence."""
    read: int = HEAD_BYTES + READ
    """Bytes at most."""
    pause: float = 0.0
    """Seconds after each piece."""
    hang: bool = False
    """Whether the connection stays open after the last piece."""


def case(*pieces: bytes, then: "Iterator[bytes] | None" = None, **rest: object) -> Case:
    return Case(chain(pieces, then or ()), **rest)  # type: ignore[arg-type]


def bomb() -> bytes:
    """2 MB that are 2 GB."""
    return gzip.compress(bytes(1 << 21)) * 1000


SLOW = {
    "headers, byte by byte": lambda: case(OK, then=cycle([b"X", b"-", b"A"]), outcome="fetch_timeout", pause=0.005),
    "headers, line by line": lambda: case(OK, then=repeat(b"X-A: b\r\n"), outcome="fetch_timeout", pause=0.005),
    "informational answers": lambda: case(
        then=repeat(b"HTTP/1.1 102 Processing\r\n\r\n"), outcome="fetch_timeout", pause=0.005
    ),
    "nothing": lambda: case(outcome="fetch_timeout", hang=True),
    "body, byte by byte": lambda: case(
        OK + b"Content-Length: 9999\r\n\r\n", VIDEO, then=repeat(b"a"), outcome="fetch_timeout", pause=0.005
    ),
    "body until the end, byte by byte": lambda: case(
        OK + b"\r\n", VIDEO, then=repeat(b"a"), outcome="fetch_timeout", pause=0.005
    ),
    "chunks, byte by byte": lambda: case(
        CHUNKED, FIRST, then=cycle([b"1", b"\r", b"\n", b"a", b"\r", b"\n"]), outcome="fetch_timeout", pause=0.005
    ),
    "a fast begin, then nothing": lambda: case(
        OK + b"\r\n", VIDEO + bytes(CAP // 2), outcome="fetch_timeout", read=CAP, hang=True
    ),
}
"""What comes at less than the minimum rate."""

LARGE = {
    "endless body": lambda: case(
        OK + b"\r\n", VIDEO, then=repeat(BLOCK), outcome="file_too_large", read=CAP + READ + HEAD_BYTES
    ),
    "endless chunks": lambda: case(
        CHUNKED,
        FIRST,
        then=repeat(b"2000\r\n" + BLOCK + b"\r\n"),
        outcome="file_too_large",
        read=CAP + READ + HEAD_BYTES,
    ),
    "endless tiny chunks": lambda: case(
        CHUNKED, FIRST, then=repeat(b"1\r\na\r\n" * 1000), outcome="fetch_refused", says="small pieces", read=4 * READ
    ),
    "tiny chunks with long names": lambda: case(
        CHUNKED, FIRST, then=repeat(b"1;%b\r\na\r\n" % BLOCK), outcome="fetch_refused", read=4 * READ
    ),
    "one chunk with an endless name": lambda: case(
        CHUNKED, FIRST, b"1;", then=repeat(BLOCK), outcome="fetch_failed", read=4 * READ
    ),
    "endless trailer": lambda: case(
        CHUNKED, FIRST, b"0\r\n", then=repeat(b"X-A: b\r\n" * 99), outcome="fetch_failed", read=4 * READ
    ),
    "a length too long": lambda: case(OK + b"Content-Length: 99\r\n\r\n" + VIDEO, outcome="fetch_failed"),
    "a length beyond the limit": lambda: case(
        OK + b"Content-Length: %d\r\n\r\n" % (CAP + 1), VIDEO, then=repeat(BLOCK), outcome="file_too_large"
    ),
    "an absurd length": lambda: case(OK + b"Content-Length: %b\r\n\r\n" % (b"9" * 19), outcome="file_too_large"),
    "two lengths": lambda: case(
        OK + b"Content-Length: 12\r\nContent-Length: 13\r\n\r\n" + VIDEO, outcome="fetch_failed"
    ),
    "a length and chunks": lambda: case(
        OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n" + FIRST + b"0\r\n\r\n", outcome="ok"
    ),
    "a length too short": lambda: case(
        OK + b"Content-Length: 12\r\n\r\n" + VIDEO, then=repeat(BLOCK), outcome="ok", read=2 * READ
    ),
    "an absurd chunk": lambda: case(CHUNKED, b"f" * 30 + b"\r\n", then=repeat(BLOCK), outcome="fetch_failed"),
    "a negative chunk": lambda: case(CHUNKED, b"-1\r\n", then=repeat(BLOCK), outcome="fetch_failed"),
    "a compressed bomb": lambda: case(
        OK + b"Content-Encoding: gzip\r\n\r\n", bomb(), outcome="fetch_refused", says="content encoding"
    ),
    "a compressed bomb without a word": lambda: case(OK + b"\r\n", bomb(), outcome="invalid_video", read=3 * READ),
    "a compressed transfer": lambda: case(
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", bomb(), outcome="fetch_failed"
    ),
    "a header of 5 MB": lambda: case(OK + b"X-A: ", then=repeat(BLOCK, 640), outcome="fetch_failed"),
    "headers of 5 MB": lambda: case(OK, then=repeat(b"X-A: %b\r\n" % BLOCK, 640), outcome="fetch_failed"),
    "a status of 5 MB": lambda: case(b"HTTP/1.1 200 ", then=repeat(BLOCK, 640), outcome="fetch_failed"),
    "endless informational answers": lambda: case(
        then=repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 99), outcome="fetch_failed", says="bytes of headers"
    ),
    "endless hints": lambda: case(
        then=repeat(b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" * 99), outcome="fetch_failed"
    ),
    "endless empty lines": lambda: case(then=repeat(b"\r\n" * 999), outcome="fetch_failed"),
    "endless noise": lambda: case(then=repeat(BLOCK), outcome="fetch_failed"),
}
"""What is more than it should be."""


@asynccontextmanager
async def serving(case: Case) -> AsyncIterator[str]:
    """A server with this answer; gives its URL."""
    over = asyncio.Event()
    handlers: list[asyncio.Task[None] | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            for piece in case.pieces:
                if over.is_set():
                    break
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(case.pause)
            if case.hang:
                await over.wait()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.mp4"
        over.set()
        await asyncio.gather(*filter(None, handlers))


def settings(**serving: object) -> Config:
    return make_config(serving={"allow_loopback": True, "fetch_seconds": SECONDS, **serving}, limits={"max_bytes": CAP})


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> list[Bounds]:
    """Those of each connection."""
    kept: list[Bounds] = []

    def make(min_rate: int) -> Bounds:
        kept.append(Bounds(min_rate))
        return kept[-1]

    monkeypatch.setattr(fetch, "Bounds", make)
    return kept


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for headers, and for a body behind its rate, a moment only."""
    monkeypatch.setattr("deployments.fetching.bounds.HEAD_SECONDS", 0.1)
    monkeypatch.setattr("deployments.fetching.bounds.GRACE_SECONDS", 0.1)


async def outcome(case: Case, spool: io.BytesIO, config: Config) -> tuple[str, str]:
    """The code and the sentence of a download, which must not outlive its deadline by more than a second."""
    async with serving(case) as url:
        try:
            async with asyncio.timeout(config.serving.fetch_seconds + 1):
                await fetch_video(url, spool, config, open_to_others=False)
        except AuraError as error:
            return error.code, error.detail
    return "ok", ""


@pytest.mark.parametrize("name", SLOW)
async def test_what_comes_too_slowly_is_given_up(name: str, impatient: None, bounds: list[Bounds]) -> None:
    case, spool = SLOW[name](), io.BytesIO()
    code, detail = await outcome(case, spool, settings())
    assert code == case.outcome
    assert "did not arrive" not in detail, "the deadline is not what ended it"
    assert bounds[0].received <= case.read


@pytest.mark.parametrize("name", ["headers, line by line", "body, byte by byte"])
async def test_without_a_rate_the_deadline_ends_it(name: str, bounds: list[Bounds]) -> None:
    code, detail = await outcome(SLOW[name](), io.BytesIO(), settings(fetch_min_rate=0, fetch_seconds=0.2))
    assert code == "fetch_timeout"
    assert "did not arrive within 0.2 s" in detail


@pytest.mark.parametrize("name", LARGE)
async def test_what_is_too_much_is_not_read(name: str, bounds: list[Bounds]) -> None:
    case, spool = LARGE[name](), io.BytesIO()
    tracemalloc.start()
    try:
        code, detail = await outcome(case, spool, settings())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert code == case.outcome
    assert case.says in detail
    assert bounds[0].received <= case.read
    assert len(spool.getvalue()) <= CAP
    assert peak < 10 * CAP


async def test_a_body_that_keeps_up_with_its_rate_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes longer than the grace, which is long enough for a busy machine to stand still in between."""
    monkeypatch.setattr("deployments.fetching.bounds.GRACE_SECONDS", 0.5)
    pieces = [VIDEO, *[b"x" * 1000] * 70]
    spool = io.BytesIO()
    slow = case(OK + b"\r\n", *pieces, outcome="ok", pause=0.01)
    assert await outcome(slow, spool, settings(fetch_min_rate=2_000)) == ("ok", "")
    assert spool.getvalue() == b"".join(pieces)


async def test_a_fast_begin_does_not_pay_for_a_slow_end(impatient: None) -> None:
    """Half a megabyte would be worth five seconds at this rate."""
    slow = case(OK + b"\r\n", VIDEO + bytes(CAP // 2), outcome="", hang=True)
    code, detail = await outcome(slow, io.BytesIO(), settings(fetch_min_rate=100_000, fetch_seconds=3))
    assert (code, "less than 100000 bytes a second" in detail) == ("fetch_timeout", True)
