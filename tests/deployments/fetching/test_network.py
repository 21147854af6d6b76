"""Names are looked up once, and connections go to those addresses alone."""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import AsyncIterator

import httpcore
import pytest

from deployments.fetching import network
from deployments.fetching.bounds import Bounds
from deployments.fetching.network import PinnedBackend, resolve
from deployments.problems import ServiceError


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_a_name_is_resolved(host: str) -> None:
    assert all(address.is_loopback for address in await resolve(host, 80))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".example", "\udcff"])
async def test_a_name_that_does_not_resolve(host: str) -> None:
    with pytest.raises(ServiceError, match="fetch_failed"):
        await resolve(host, 80)


async def test_a_name_without_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    with pytest.raises(ServiceError, match="fetch_failed"):
        await resolve("storage.example.com", 443)


async def test_slow_name_servers_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than the event loop has threads of its own."""
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: answered.wait(60))
    monkeypatch.setattr(network, "LOOKUP_SECONDS", 0.05)
    try:
        lookups = [resolve("storage.example.com", 443) for _ in range(network.LOOKUPS)]
        errors = await asyncio.gather(*lookups, return_exceptions=True)
        assert {getattr(error, "code", error) for error in errors} == {"fetch_timeout"}
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(lambda: "free") == "free"
    finally:
        answered.set()


def pinned(*addresses: str) -> PinnedBackend:
    return PinnedBackend([ipaddress.ip_address(address) for address in addresses], Bounds(0))


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A port of 127.0.0.1 on which someone answers."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@pytest.mark.parametrize("host", ["storage.example.com", "localhost", "127.0.0.2"])
async def test_the_host_is_not_looked_up_again(monkeypatch: pytest.MonkeyPatch, port: int, host: str) -> None:
    asked: list[str] = []
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda name, *rest, **more: asked.append(name) or real(name, *rest, **more)
    )
    stream = await pinned("127.0.0.1").connect_tcp(host, port)
    assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
    assert host not in asked
    await stream.aclose()


async def test_the_next_address_is_tried(port: int) -> None:
    """Only 127.0.0.1 listens."""
    stream = await pinned("127.0.0.2", "127.0.0.1").connect_tcp("storage.example.com", port)
    assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
    await stream.aclose()


async def test_no_address_answers(closed_port: int) -> None:
    with pytest.raises(httpcore.ConnectError):
        await pinned("127.0.0.1", "127.0.0.2").connect_tcp("storage.example.com", closed_port)


async def test_no_address_at_all(port: int) -> None:
    with pytest.raises(httpcore.ConnectError):
        await pinned().connect_tcp("127.0.0.1", port)
