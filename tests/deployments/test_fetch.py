"""Downloads from a server that does what the test says, on this machine."""

import asyncio
import gzip
import io
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aura_model.config import Config
from aura_model.errors import MediaError
from deployments import fetch
from deployments.fetch import MAX_URL, fetch_video, parse_url
from deployments.network import Address
from deployments.problems import ServiceError
from tests.deployments.conftest import make_config

OK = b"HTTP/1.1 200 OK\r\n"
SECRET = "X-Signature=SECRET"


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
    await fetch_video(url, spool, config)
    return spool.getvalue()


def sized(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([OK + b"Content-Length: %d" % len(body), *headers]) + b"\r\n\r\n" + body


async def test_the_body_arrives_whole() -> None:
    body = bytes(range(256)) * 1000
    async with serving(sized(body)) as server:
        assert await download(server.url, local()) == body


@pytest.mark.parametrize(
    "answer",
    [OK + b"\r\nabc", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", sized(b"abc")],
    ids=["until the end", "chunked", "with a length"],
)
async def test_every_framing_is_understood(answer: bytes) -> None:
    async with serving(answer) as server:
        assert await download(server.url, local()) == b"abc"


async def test_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with serving(sized(b"abc", b"Set-Cookie: a=b")) as server:
        await download(server.url, local())
        await download(server.url, local())
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
        (sized(gzip.compress(b"abc"), b"Content-Encoding: gzip"), "fetch_refused"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "fetch_failed"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "fetch_failed"),
        (OK + b"Content-Length: 10\r\n\r\nabc", "fetch_failed"),
        (OK + b"Content-Length: many\r\n\r\nabc", "fetch_failed"),
        (b"220 smtp ready\r\n\r\n", "fetch_failed"),
        (b"", "fetch_failed"),
        (OK + b"X-Filler: " + b"a" * 200_000 + b"\r\n\r\n", "fetch_failed"),
    ],
    ids=[
        "not found",
        "forbidden",
        "redirect",
        "partial",
        "compressed",
        "server error",
        "unavailable",
        "cut short",
        "bad length",
        "not HTTP",
        "hung up",
        "endless headers",
    ],
)
async def test_answers_that_are_no_file(answer: bytes, code: str) -> None:
    async with serving(answer) as server:
        with pytest.raises(ServiceError) as caught:
            await download(server.url, local())
    assert caught.value.code == code
    assert "SECRET" not in str(caught.value)
    assert "clips" not in str(caught.value)


async def test_a_redirect_is_not_followed() -> None:
    async with serving(sized(b"abc")) as target:
        moved = b"HTTP/1.1 301 Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % target.url.encode()
        async with serving(moved) as server:
            with pytest.raises(ServiceError, match="fetch_refused"):
                await download(server.url, local())
    assert target.requests == []


async def test_a_large_length_is_refused_before_the_body() -> None:
    async with serving(OK + b"Content-Length: 11\r\n\r\n", hang=True) as server:
        with pytest.raises(MediaError, match="file_too_large"):
            await download(server.url, local(limits={"max_bytes": 10}))


async def test_a_body_without_a_length_is_counted() -> None:
    spool = io.BytesIO()
    async with serving(OK + b"\r\n", *[b"x" * 1000] * 50, hang=True) as server:
        with pytest.raises(MediaError, match="file_too_large"):
            await fetch_video(server.url, spool, local(limits={"max_bytes": 9999}))
    assert len(spool.getvalue()) < 10_000


async def test_a_body_of_exactly_the_limit_passes() -> None:
    async with serving(sized(b"x" * 10)) as server:
        assert await download(server.url, local(limits={"max_bytes": 10})) == b"x" * 10


@pytest.mark.parametrize("answer", [b"", OK + b"Content-Length: 9\r\n\r\nabc"], ids=["silent", "stalled"])
async def test_one_deadline_holds_for_everything(answer: bytes) -> None:
    async with serving(answer, hang=True) as server:
        with pytest.raises(ServiceError) as caught:
            await download(server.url, local({"fetch_seconds": 0.05}))
    assert caught.value.code == "fetch_timeout"


async def test_an_outer_deadline_is_not_taken_for_the_downloads_own() -> None:
    async with serving(b"", hang=True) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await download(server.url, local())


async def test_a_host_that_does_not_shake_hands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.fetch.CONNECT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ServiceError) as caught:
        await download(f"https://127.0.0.1:{silent.getsockname()[1]}/a", local())
    assert "did not answer within 0.05 s" in caught.value.detail
    assert caught.value.code == "fetch_timeout"


async def test_tiny_chunks_leave_others_their_turns() -> None:
    chunks = 5000
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    async with serving(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * chunks + b"0\r\n\r\n") as server:
        turns = 0
        assert await download(server.url, local()) == b"a" * chunks
    other.cancel()
    assert turns >= chunks


async def test_nobody_listens() -> None:
    async with serving() as server:
        pass
    with pytest.raises(ServiceError, match="fetch_failed"):
        await download(server.url, local())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "0x7f000001"])
async def test_this_machine_is_refused_by_default(host: str) -> None:
    async with serving(sized(b"abc")) as server:
        with pytest.raises(ServiceError, match="url_forbidden"):
            await download(f"http://{host}:{server.port}/", make_config())
    assert server.requests == []


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "[::]", "0.0.0.0"])
async def test_other_inner_addresses_are_refused_even_in_development(host: str) -> None:
    with pytest.raises(ServiceError, match="url_forbidden"):
        await download(f"http://{host}/latest/meta-data", local())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "clip.mp4",
        "//storage.example.com/clip.mp4",
        "file:///etc/passwd",
        "ftp://storage.example.com/clip.mp4",
        "gopher://storage.example.com/",
        "data:video/mp4;base64,AAAA",
        "http://",
        "https:///clip.mp4",
        "http://user@storage.example.com/clip.mp4",
        "http://user:password@storage.example.com/clip.mp4",
        "http://storage.example.com:99999/",
        "http://storage.example.com:port/",
        "http://[::1/",
        "http://xn--/",
        "http://storage.example.com/a\nb",
        "http://storage.example.com/" + "a" * MAX_URL,
    ],
)
def test_forms_of_a_url_that_are_refused(url: str) -> None:
    with pytest.raises(ServiceError) as caught:
        parse_url(url, make_config().serving)
    assert caught.value.code == "url_forbidden"
    assert "password" not in caught.value.detail.replace("user name or password", "")


def test_http_only_where_it_is_allowed() -> None:
    allowed = make_config(serving={"allow_http": True}).serving
    assert parse_url("http://storage.example.com/a", allowed).scheme == "http"
    refused = make_config(serving={"allow_http": False}).serving
    with pytest.raises(ServiceError, match="begin with https"):
        parse_url("http://storage.example.com/a", refused)
    assert parse_url("HTTPS://storage.example.com/a", refused).scheme == "https"


def test_certificates_are_checked() -> None:
    context = fetch._tls()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


async def test_a_host_name_keeps_its_name_for_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async def names(host: str, port: int) -> list[Address]:
        assert host == "xn--bcher-kva.example"
        return [ipaddress.ip_address("127.0.0.1")]

    monkeypatch.setattr(fetch, "resolve", names)
    async with serving(sized(b"abc")) as server:
        assert await download(f"http://Bücher.example:{server.port}/", local()) == b"abc"
    assert b"Host: xn--bcher-kva.example:%d\r\n" % server.port in server.requests[0]
