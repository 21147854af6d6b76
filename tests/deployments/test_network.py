"""Which addresses may be reached, and that no other is."""

import asyncio
import ipaddress
import socket

import httpcore
import pytest

from deployments.network import Address, PinnedBackend, is_public, is_public_or_loopback, resolve
from deployments.problems import ServiceError

FORBIDDEN = {
    "this network": "0.0.0.0",
    "private 10": "10.1.2.3",
    "private 172": "172.16.0.1",
    "private 192": "192.168.1.1",
    "shared (Alibaba metadata)": "100.100.100.200",
    "link local (cloud metadata)": "169.254.169.254",
    "Azure wire server": "168.63.129.16",
    "Oracle metadata": "192.0.0.192",
    "benchmarking": "198.18.0.1",
    "documentation": "203.0.113.7",
    "multicast": "224.0.1.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "unspecified v6": "::",
    "unique local v6": "fd00:ec2::254",
    "link local v6": "fe80::1",
    "global multicast v6": "ff0e::1",
    "documentation v6": "2001:db8::1",
    "mapped": "::ffff:169.254.169.254",
    "compatible": "::169.254.169.254",
    "6to4": "2002:a9fe:a9fe::1",
    "NAT64": "64:ff9b::a9fe:a9fe",
    "NAT64 of the wire server": "64:ff9b::a83f:8110",
    "site local v6": "fec0::1",
    "documentation v6, the newer": "3fff::1",
    "local NAT64": "64:ff9b:1::a9fe:a9fe",
    "Teredo": "2001:0:a9fe:a9fe::1",
}
LOOPBACK = ["127.0.0.1", "127.9.9.9", "::1"]
PUBLIC = ["1.1.1.1", "8.8.8.8", "52.216.1.1", "2606:4700:4700::1111", "64:ff9b::808:808"]


@pytest.mark.parametrize("text", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_inner_addresses_are_refused_in_both_modes(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert not is_public(address)
    assert not is_public_or_loopback(address)


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_admitted(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", LOOPBACK)
def test_this_machine_only_where_asked_for(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert not is_public(address)
    assert is_public_or_loopback(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost"])
async def test_every_spelling_of_loopback_resolves_to_it(host: str) -> None:
    assert all(address.is_loopback for address in await resolve(host, 80))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".example", "\udcff"])
async def test_a_name_that_does_not_resolve(host: str) -> None:
    with pytest.raises(ServiceError, match="fetch_failed"):
        await resolve(host, 80)


class Names:
    """A resolver that answers from a list, and counts."""

    def __init__(self, *answers: str) -> None:
        self.answers = answers
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[Address]:
        self.asked += 1
        return [ipaddress.ip_address(answer) for answer in self.answers]


@pytest.fixture
async def port() -> int:
    """A port of 127.0.0.1 on which someone answers."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


async def test_the_name_is_looked_up_once_and_the_answer_is_used(port: int) -> None:
    names = Names("127.0.0.1")
    stream = await PinnedBackend(is_public_or_loopback, names).connect_tcp("storage.example.com", port)
    assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
    assert names.asked == 1
    await stream.aclose()


async def test_one_inner_address_among_the_answers_is_enough_to_refuse(port: int) -> None:
    backend = PinnedBackend(is_public_or_loopback, Names("127.0.0.1", "10.0.0.1"))
    with pytest.raises(ServiceError, match="url_forbidden"):
        await backend.connect_tcp("storage.example.com", port)


async def test_the_next_address_is_tried(port: int) -> None:
    """Only 127.0.0.1 listens."""
    backend = PinnedBackend(is_public_or_loopback, Names("127.0.0.2", "127.0.0.1"))
    stream = await backend.connect_tcp("storage.example.com", port)
    assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
    await stream.aclose()


async def test_no_address_answers(closed_port: int) -> None:
    with pytest.raises(httpcore.ConnectError):
        await PinnedBackend(is_public_or_loopback, Names("127.0.0.1")).connect_tcp("storage.example.com", closed_port)


async def test_no_address_at_all(port: int) -> None:
    with pytest.raises(ServiceError, match="fetch_failed"):
        await PinnedBackend(is_public, Names()).connect_tcp("storage.example.com", port)
