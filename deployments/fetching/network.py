"""Names to addresses, once, and a connection that goes to those addresses and to no other."""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import httpcore

from deployments.fetching.addresses import Address
from deployments.fetching.bounds import BoundedStream, Bounds
from deployments.problems import ServiceError

LOOKUP_SECONDS = 5.0
LOOKUPS = 32
"""At once; one that was given up keeps its thread until the system's resolver gives up too."""


async def resolve(host: str, port: int) -> list[Address]:
    """Every address of the host, in the resolver's order.

    Raises:
        ServiceError: `fetch_failed`, the name does not resolve; `fetch_timeout`, not in time.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            answers = await loop.run_in_executor(_threads(), socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)
    except TimeoutError:
        raise ServiceError("fetch_timeout", f"The URL's host name did not resolve in {LOOKUP_SECONDS:g} s.") from None
    except (OSError, UnicodeError):
        answers = []
    if not answers:
        raise ServiceError("fetch_failed", "The URL's host name does not resolve.")
    return [ipaddress.ip_address(str(answer[4][0])) for answer in answers]


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads of their own: slow name servers must not keep the event loop's other helpers busy."""
    return ThreadPoolExecutor(LOOKUPS, "lookup")


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked before, whatever host it is asked for, and bounds what comes back.

    The name in the URL stays as it is, so the Host header, the TLS server name and the certificate's check are right.
    """

    def __init__(self, addresses: Sequence[Address], bounds: Bounds) -> None:
        self._addresses = addresses
        self._bounds = bounds
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - the addresses are known
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the base class's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first of the addresses that answers.

        Raises:
            httpcore.ConnectError, httpcore.ConnectTimeout: none answers.
        """
        failure: Exception = httpcore.ConnectError("no address")
        for address in self._addresses:
            try:
                stream = await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                self._bounds.begin_head()
                return BoundedStream(stream, self._bounds)
        raise failure
