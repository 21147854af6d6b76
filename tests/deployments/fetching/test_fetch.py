"""Downloads from a server that does what the test says, on this machine."""

import asyncio
import gzip
import io
import ipaddress
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aura_model.config import Config
from aura_model.errors import AuraError, MediaError
from aura_model.logging import QUIET
from aura_model.sniff import HEAD_BYTES
from deployments.fetching import fetch, urls
from deployments.fetching.addresses import Address
from deployments.fetching.fetch import fetch_video
from deployments.problems import ServiceError
from tests.deployments.conftest import make_config

OK = b"HTTP/1.1 200 OK\r\n"
SECRET = "X-Signature=SECRET"
VIDEO = b"\0\0\0\x18ftypisom"
"""Looks like the begin of a video."""


class Server:
    """Sends the same bytes to each client, and keeps what it was asked."""

    def __init__(self, *chunks: bytes, hang: bool = False) -> None:
        self.chunks = chunks
        self.hang = hang
        self.requests: list[bytes] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/clips/a.mp4?{SECRET}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        try:
            for chunk in self.chunks:
                writer.write(chunk)
                await writer.drain()
            if self.hang:
                await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(*chunks: bytes, hang: bool = False) -> AsyncIterator[Server]:
    server = Server(*chunks, hang=hang)
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    async with listener:
        server.port = listener.sockets[0].getsockname()[1]
        yield server


def local(serving: Mapping[str, Any] | None = None, limits: Mapping[str, Any] | None = None) -> Config:
    return make_config(serving={"allow_loopback": True, "fetch_seconds": 5, **(serving or {})}, limits=limits or {})


async def download(url: str, config: Config) -> bytes:
    spool = io.BytesIO()
    await fetch_video(url, spool, config, open_to_others=False)
    return spool.getvalue()


async def refusal(config: Config, *chunks: bytes, hang: bool = False) -> AuraError:
    """The error of a download from a server that sends these chunks."""
    async with serving(*chunks, hang=hang) as server:
        with pytest.raises(AuraError) as caught:
            await download(server.url, config)
    assert "SECRET" not in str(caught.value)
    assert "clips" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    return caught.value


def sized(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([OK + b"Content-Length: %d" % len(body), *headers]) + b"\r\n\r\n" + body


def moved(url: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n".encode()


async def test_the_body_arrives_whole() -> None:
    body = VIDEO + bytes(range(256)) * 1000
    async with serving(sized(body)) as server:
        assert await download(server.url, local()) == body


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"\r\n" + VIDEO,
        OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\n%b\r\n8\r\n%b\r\n0\r\n\r\n" % (VIDEO[:4], VIDEO[4:]),
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + b"\r\n" + VIDEO,
        sized(VIDEO),
    ],
    ids=["until the end", "chunked", "after a hint", "with a length"],
)
async def test_every_framing_is_understood(answer: bytes) -> None:
    async with serving(answer) as server:
        assert await download(server.url, local()) == VIDEO


async def test_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with serving(sized(VIDEO, b"Set-Cookie: a=b")) as server:
        await download(server.url + "#fragment", local())
        await download(server.url + "#fragment", local())
    line, *headers = server.requests[1].decode().lower().rstrip().split("\r\n")
    sent = dict(header.split(": ", 1) for header in headers)
    assert line == f"get /clips/a.mp4?{SECRET.lower()} http/1.1"
    assert sent["host"] == f"127.0.0.1:{server.port}"
    assert sent["accept-encoding"] == "identity"
    assert not sent.keys() & {"cookie", "authorization", "referer"}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "fetch_refused"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "fetch_refused"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", "fetch_refused"),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n\r\nabc", "fetch_refused"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", "fetch_failed"),
        (sized(gzip.compress(VIDEO), b"Content-Encoding: gzip"), "fetch_refused"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "fetch_failed"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "fetch_failed"),
        (OK + b"Content-Length: 20\r\n\r\n" + VIDEO, "fetch_failed"),
        (OK + b"Content-Length: many\r\n\r\n" + VIDEO, "fetch_failed"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "fetch_failed"),
        (b"220 smtp ready\r\n\r\n", "fetch_failed"),
        (b"", "fetch_failed"),
        (OK + b"Content-Length: 0\r\n\r\n", "empty_file"),
        (OK + b"\r\n", "empty_file"),
        (sized(b"<!DOCTYPE html><title>Sign in</title>"), "invalid_video"),
        (sized(b"#EXTM3U\nhttp://127.0.0.1/\n"), "invalid_video"),
        (sized(b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n"), "invalid_video"),
        (sized(gzip.compress(VIDEO)), "invalid_video"),
        (sized(b"GIF89a" + bytes(100)), "unsupported_container"),
    ],
    ids=[
        "not found",
        "forbidden",
        "redirect",
        "partial",
        "another protocol",
        "compressed",
        "server error",
        "unavailable",
        "cut short",
        "bad length",
        "compressed for the transfer",
        "not HTTP",
        "hung up",
        "nothing",
        "nothing until the end",
        "a page",
        "a playlist",
        "a session description",
        "compressed without a word",
        "a moving picture",
    ],
)
async def test_answers_that_are_no_file(answer: bytes, code: str) -> None:
    assert (await refusal(local(), answer)).code == code


async def test_of_what_is_no_media_only_the_begin_is_read() -> None:
    spool = io.BytesIO()
    async with serving(OK + b"\r\n", *[b"text " * 4096] * 50, hang=True) as server:
        with pytest.raises(MediaError, match="invalid_video"):
            await fetch_video(server.url, spool, local(), open_to_others=False)
    assert len(spool.getvalue()) < 2 * HEAD_BYTES


async def test_the_begin_may_come_in_pieces() -> None:
    chunks = [VIDEO[:1], VIDEO[1:], *[bytes(1000)] * (HEAD_BYTES // 1000 + 2)]
    async with serving(OK + b"\r\n", *chunks) as server:
        assert await download(server.url, local()) == b"".join(chunks)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_a_host_that_says_not_now_may_be_asked_again(status: int) -> None:
    error = await refusal(local(), f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
    assert error.code == "fetch_failed"


@pytest.mark.parametrize("header", [b"", b"Content-Encoding: \r\n", b"Content-Encoding: Identity\r\n"])
async def test_no_encoding_may_be_said_in_any_way(header: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\n" + header + b"Content-Length: %d\r\n\r\n" % len(VIDEO) + VIDEO
    async with serving(answer) as server:
        assert await download(server.url, local()) == VIDEO


async def test_an_encoding_is_refused_also_where_another_header_denies_it() -> None:
    both = b"Content-Encoding: gzip\r\nContent-Encoding: identity\r\n"
    error = await refusal(local(), b"HTTP/1.1 200 OK\r\n" + both + b"Content-Length: 3\r\n\r\nabc")
    assert error.code == "fetch_refused"


async def test_a_redirect_is_not_followed() -> None:
    async with serving(sized(VIDEO)) as target:
        error = await refusal(local(), moved(target.url))
    assert error.code == "fetch_refused"
    assert "redirects; give the address of the file itself" in error.detail
    assert target.requests == []


async def test_nor_looked_at() -> None:
    assert (await refusal(local(), moved("ftp://127.0.0.1/"))).code == "fetch_refused"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_where_that_is_on(status: int) -> None:
    async with serving(sized(VIDEO)) as target, serving(moved(target.url, status)) as server:
        assert await download(server.url, local({"max_redirects": 1})) == VIDEO
    sent = target.requests[0].lower()
    assert b"host: 127.0.0.1:%d\r\n" % target.port in sent
    assert b"referer" not in sent
    assert str(server.port).encode() not in sent


async def test_a_relative_redirect_stays_on_its_host() -> None:
    async with serving(moved("/other/b.mp4?c")) as server:
        with pytest.raises(ServiceError, match="more than 2 times"):
            await download(server.url, local({"max_redirects": 2}))
    assert [request.split()[1] for request in server.requests] == [
        b"/clips/a.mp4?X-Signature=SECRET",
        b"/other/b.mp4?c",
        b"/other/b.mp4?c",
    ]


@pytest.mark.parametrize("location", [b"", b"Location: http://\xff/\r\n", b"Location: ftp://127.0.0.1/\r\n"])
async def test_a_redirect_to_nowhere(location: bytes) -> None:
    error = await refusal(local({"max_redirects": 3}), b"HTTP/1.1 302 Found\r\n" + location + b"\r\n")
    assert error.code in ("url_forbidden", "fetch_refused")


async def test_all_hops_share_one_deadline() -> None:
    async with serving(b"", hang=True) as silent:
        error = await refusal(local({"max_redirects": 1, "fetch_seconds": 0.2}), moved(silent.url))
    assert "did not arrive within 0.2 s" in error.detail
    assert silent.requests


async def test_a_large_length_is_refused_before_the_body() -> None:
    error = await refusal(local(limits={"max_bytes": 11}), OK + b"Content-Length: 12\r\n\r\n", hang=True)
    assert error.code == "file_too_large"


async def test_a_body_without_a_length_is_counted() -> None:
    spool = io.BytesIO()
    async with serving(OK + b"\r\n", VIDEO, *[b"x" * 1000] * 50, hang=True) as server:
        with pytest.raises(MediaError, match="file_too_large"):
            await fetch_video(server.url, spool, local(limits={"max_bytes": 9999}), open_to_others=False)
    assert len(spool.getvalue()) < 10_000


async def test_a_body_of_exactly_the_limit_passes() -> None:
    async with serving(sized(VIDEO)) as server:
        assert await download(server.url, local(limits={"max_bytes": len(VIDEO)})) == VIDEO


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"", "did not answer within 0.05 s"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "did not answer within 0.05 s"),
        (OK + b"X-A: b\r\n", "did not answer within 0.05 s"),
        (OK + b"Content-Length: 99\r\n\r\n" + VIDEO, "less than 32768 bytes a second"),
    ],
    ids=["silent", "continue", "headers", "body"],
)
async def test_a_host_that_stops_is_given_up(monkeypatch: pytest.MonkeyPatch, answer: bytes, sentence: str) -> None:
    monkeypatch.setattr("deployments.fetching.bounds.HEAD_SECONDS", 0.05)
    monkeypatch.setattr("deployments.fetching.bounds.GRACE_SECONDS", 0.05)
    error = await refusal(local(), answer, hang=True)
    assert error.code == "fetch_timeout"
    assert sentence in error.detail


@pytest.mark.parametrize("answer", [b"", OK + b"Content-Length: 99\r\n\r\n" + VIDEO], ids=["silent", "stalled"])
async def test_one_deadline_holds_for_everything(answer: bytes) -> None:
    error = await refusal(local({"fetch_seconds": 0.05}), answer, hang=True)
    assert error.code == "fetch_timeout"
    assert "did not arrive within 0.05 s" in error.detail


async def test_an_outer_deadline_is_not_taken_for_the_downloads_own() -> None:
    async with serving(b"", hang=True) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await download(server.url, local())


async def test_a_host_that_does_not_shake_hands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.fetching.fetch.CONNECT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ServiceError) as caught:
        await download(f"https://127.0.0.1:{silent.getsockname()[1]}/a", local())
    assert "did not connect within 0.05 s" in caught.value.detail
    assert caught.value.code == "fetch_timeout"


async def test_only_silenced_loggers_ever_name_what_is_secret(caplog: pytest.LogCaptureFixture) -> None:
    for name in (None, *QUIET):
        caplog.set_level(logging.DEBUG, logger=name)
    async with serving(sized(VIDEO)) as target, serving(moved(target.url)) as server:
        await download(server.url, local({"max_redirects": 1}))
        await refusal(local(), moved(target.url))
    told = [record for record in caplog.records if "SECRET" in record.getMessage() or "clips" in record.getMessage()]
    assert told, "httpcore writes the headers of replies at DEBUG"
    assert {record.name.partition(".")[0] for record in told} <= set(QUIET)
    assert max(record.levelno for record in told) < logging.WARNING


async def test_tiny_chunks_leave_others_their_turns() -> None:
    chunks = 5000
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    body = b"c\r\n" + VIDEO + b"\r\n" + b"1\r\na\r\n" * chunks + b"0\r\n\r\n"
    async with serving(OK + b"Transfer-Encoding: chunked\r\n\r\n" + body) as server:
        turns = 0
        assert await download(server.url, local()) == VIDEO + b"a" * chunks
    other.cancel()
    assert turns >= chunks


async def test_nobody_listens() -> None:
    async with serving() as server:
        pass
    with pytest.raises(ServiceError, match="fetch_failed"):
        await download(server.url, local())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "0x7f000001"])
async def test_this_machine_is_refused_by_default(host: str) -> None:
    async with serving(sized(VIDEO)) as server:
        with pytest.raises(ServiceError, match="url_forbidden"):
            await download(f"http://{host}:{server.port}/", make_config(serving={"allow_http": True}))
    assert server.requests == []


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "[::]", "0.0.0.0"])
async def test_other_inner_addresses_are_refused_even_in_development(host: str) -> None:
    with pytest.raises(ServiceError, match="url_forbidden"):
        await download(f"http://{host}/latest/meta-data", local({"allow_http": True}))


def test_certificates_are_checked() -> None:
    context = fetch._tls()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


async def test_a_host_name_keeps_its_name_for_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async def names(host: str, port: int) -> list[Address]:
        assert host == "xn--bcher-kva.example"
        return [ipaddress.ip_address("127.0.0.1")]

    monkeypatch.setattr(urls, "resolve", names)
    async with serving(sized(VIDEO)) as server:
        assert await download(f"http://Bücher.example.:{server.port}/", local()) == VIDEO
    assert b"Host: xn--bcher-kva.example:%d\r\n" % server.port in server.requests[0]
