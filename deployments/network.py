"""Which addresses the service may connect to, and a connection that goes to no other."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable

import httpcore

from deployments.problems import ServiceError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Admits = Callable[[Address], bool]
Resolver = Callable[[str, int], Awaitable[list[Address]]]

DENIED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # public by its number, yet it serves a virtual machine its own metadata (Azure)
        "192.0.0.0/24",  # and the rest is special by IANA's registries, but not to every Python from 3.11 on
        "64:ff9b:1::/48",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
V4_COMPATIBLE = ipaddress.IPv6Network("::/96")


def is_public(address: Address) -> bool:
    """Whether the whole Internet may be at this address; one that carries an IPv4 address is judged by both."""
    if address.is_multicast or not address.is_global or any(address in network for network in DENIED):
        return False
    return all(is_public(inner) for inner in _embedded(address))


def is_public_or_loopback(address: Address) -> bool:
    """As `is_public`, and this very machine: for development and tests."""
    return address.is_loopback or is_public(address)


async def resolve(host: str, port: int) -> list[Address]:
    """Every address of the host, in the resolver's order.

    Raises:
        ServiceError: `fetch_failed`, the name does not resolve.
    """
    loop = asyncio.get_running_loop()
    try:
        answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ServiceError("fetch_failed", "The URL's host name does not resolve.") from None
    return [ipaddress.ip_address(str(answer[4][0])) for answer in answers]


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Resolves a name once, refuses it unless every answer is admitted, and connects to one of those addresses.

    The name in the URL stays as it is, so the Host header, the TLS server name and the certificate's check are right.
    """

    def __init__(self, admits: Admits, resolver: Resolver) -> None:
        self._admits = admits
        self._resolve = resolver
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the base class's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first admitted address that answers.

        Raises:
            ServiceError: `url_forbidden`, an address is not admitted; `fetch_failed`, no address.
            httpcore.ConnectError: no address answers.
        """
        addresses = await self._resolve(host, port)
        if not all(self._admits(address) for address in addresses):
            raise ServiceError("url_forbidden", "The URL's host is not on the public Internet.")
        failure: Exception = ServiceError("fetch_failed", "The URL's host name does not resolve.")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


def _embedded(address: Address) -> list[Address]:
    """The IPv4 addresses that a translator would send packets for this IPv6 address to."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64 or address in V4_COMPATIBLE:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in inner if one is not None]
