"""Encrypted downloads: one lookup, a connection to that very address, and a certificate for the name."""

import asyncio
import io
import ipaddress
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trustme

from aura_model.config import Config
from deployments.fetching import fetch, urls
from deployments.fetching.addresses import Address
from deployments.fetching.bounds import Bounds
from deployments.fetching.fetch import fetch_video
from deployments.fetching.network import PinnedBackend
from deployments.problems import ServiceError
from tests.deployments.conftest import make_config

NAME = "storage.example.com"
VIDEO = b"\0\0\0\x18ftypisom"
SERVED, OTHER = "127.0.0.2", "127.0.0.3"
"""Two addresses of this machine: the server's, and one where another waits."""


class TlsServer:
    """Shows a certificate, and keeps who asked for what."""

    def __init__(self, ca: trustme.CA, *names: str) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(*names).configure_cert(self.context)
        self.context.sni_callback = lambda _, name, __: self.names.append(name)
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(VIDEO) + VIDEO
        self.names: list[str | None] = []
        self.hosts: list[str] = []
        self.reached: list[str] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.hosts += [line.removeprefix("Host: ") for line in head.decode().split("\r\n") if line.startswith("Host:")]
        self.reached.append(writer.get_extra_info("sockname")[0])
        writer.write(self.answer)
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()


class FlippingResolver:
    """Gives the server's address first, and another one ever after, until it is turned back."""

    def __init__(self) -> None:
        self.asked = 0
        self.lookups = 0

    async def __call__(self, host: str, port: int) -> list[Address]:
        self.asked += 1
        self.lookups += 1
        return [ipaddress.ip_address(SERVED if self.asked == 1 else OTHER)]


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(ca: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    """The context is the real one, with one authority more."""
    context = fetch._tls.__wrapped__()
    ca.configure_trust(context)
    monkeypatch.setattr(fetch, "_tls", lambda: context)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> FlippingResolver:
    resolver = FlippingResolver()
    monkeypatch.setattr(urls, "resolve", resolver)
    return resolver


@asynccontextmanager
async def serving(server: TlsServer) -> AsyncIterator[int]:
    """The server on both addresses; gives their port."""
    first = await asyncio.start_server(server.handle, SERVED, 0, ssl=server.context)
    port = first.sockets[0].getsockname()[1]
    second = await asyncio.start_server(server.handle, OTHER, port, ssl=server.context)
    async with first, second:
        yield port


def settings() -> Config:
    return make_config(serving={"allow_loopback": True, "fetch_seconds": 10})


async def download(port: int, host: str = NAME) -> bytes:
    spool = io.BytesIO()
    await fetch_video(f"https://{host}:{port}/a.mp4?SECRET", spool, settings(), open_to_others=False)
    return spool.getvalue()


async def test_what_was_checked_is_what_is_connected_to(
    ca: trustme.CA, trusting: None, resolver: FlippingResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def lookup(host: str, *rest: object, **more: object) -> object:
        looked_up.append(host)
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    server = TlsServer(ca, NAME)
    async with serving(server) as port:
        for _ in range(200):
            resolver.asked = 0
            assert await download(port) == VIDEO
            assert resolver.asked == 1
    assert resolver.lookups == 200
    assert NAME not in looked_up
    assert server.reached == [SERVED] * 200
    assert server.names == [NAME] * 200
    assert server.hosts == [f"{NAME}:{port}"] * 200


async def test_a_record_that_was_tampered_with_is_the_hosts_fault(
    ca: trustme.CA, trusting: None, resolver: FlippingResolver
) -> None:
    class Tampered(TlsServer):
        async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            os.write(writer.get_extra_info("socket").fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
            writer.close()

    async with serving(Tampered(ca, NAME)) as port:
        with pytest.raises(ServiceError) as caught:
            await download(port)
    assert caught.value.code == "fetch_failed"


async def test_whoever_leaves_during_the_handshake_leaves_no_connection() -> None:
    with socket.create_server((SERVED, 0)) as silent:
        stream = await PinnedBackend([ipaddress.ip_address(SERVED)], Bounds(1)).connect_tcp(
            NAME, silent.getsockname()[1]
        )
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await stream.start_tls(ssl.create_default_context(), NAME)
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(5)
            while connection.recv(65536):
                pass  # the client's hello, then the end


async def test_another_names_certificate_is_refused(ca: trustme.CA, trusting: None, resolver: FlippingResolver) -> None:
    server = TlsServer(ca, "other.example.com", SERVED)
    async with serving(server) as port:
        with pytest.raises(ServiceError, match="fetch_failed") as caught:
            await download(port)
    assert server.names == [NAME]
    assert server.reached == []
    assert "example" not in str(caught.value)


async def test_an_unknown_authority_is_refused(ca: trustme.CA, resolver: FlippingResolver) -> None:
    server = TlsServer(ca, NAME)
    async with serving(server) as port:
        with pytest.raises(ServiceError, match="fetch_failed"):
            await download(port)
    assert server.reached == []


async def test_an_address_is_a_name_too(ca: trustme.CA, trusting: None, resolver: FlippingResolver) -> None:
    server = TlsServer(ca, SERVED)
    async with serving(server) as port:
        assert await download(port, SERVED) == VIDEO
    assert server.names == [None]


async def test_old_encryption_is_refused(ca: trustme.CA, trusting: None, resolver: FlippingResolver) -> None:
    server = TlsServer(ca, NAME)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        server.context.maximum_version = ssl.TLSVersion.TLSv1_1
    server.context.set_ciphers("ALL:@SECLEVEL=0")
    async with serving(server) as port:
        with pytest.raises(ServiceError, match="fetch_failed"):
            await download(port)
    assert server.reached == []


async def test_bounds_hold_under_encryption_too(ca: trustme.CA, trusting: None, resolver: FlippingResolver) -> None:
    server = TlsServer(ca, NAME)
    server.answer = b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000
    async with serving(server) as port:
        with pytest.raises(ServiceError, match="bytes of headers"):
            await download(port)
