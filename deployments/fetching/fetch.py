"""Download a video from a URL that a client gave: the only place that opens an outside address."""

import asyncio
import os
import ssl
from functools import cache
from typing import BinaryIO

import httpcore
import httpx

from aura_model.config import Config
from aura_model.errors import MediaError
from aura_model.sniff import HEAD_BYTES, check_head
from deployments.fetching.addresses import Address
from deployments.fetching.bounds import Bounds
from deployments.fetching.network import PinnedBackend
from deployments.fetching.urls import Target, admit, parse_url
from deployments.problems import ServiceError

CONNECT_SECONDS = 5.0
"""For one of the host's addresses; the next one is tried after it."""
LATER = frozenset({408, 425, 429})
"""Statuses that say: not now."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HEADERS = [(b"User-Agent", b"aura"), (b"Accept", b"*/*"), (b"Accept-Encoding", b"identity"), (b"Connection", b"close")]


async def fetch_video(url: str, spool: BinaryIO, config: Config, *, open_to_others: bool) -> None:
    """Stream the body behind `url` into `spool`, which is empty.

    No cookies, proxies, credentials or content encodings; at most `limits.max_bytes` within `serving.fetch_seconds`,
    all redirects included, and no more than the first bytes of what is no media. No text of an error holds the URL's
    path or query, an address, or what the settings allow: a signed URL is a credential.

    Args:
        url: as the client gave it.
        spool: a seekable file.
        config: `serving` says what may be fetched, `limits` how much.
        open_to_others: whether others than this machine can connect to the service; URLs are then fetched only where
            `serving.allowed_hosts` names the hosts.

    Raises:
        ServiceError: `url_forbidden`, `fetch_refused`, `fetch_failed` or `fetch_timeout`.
        MediaError: `file_too_large`, `empty_file`, `invalid_video` or `unsupported_container`.
    """
    seconds = config.serving.fetch_seconds
    try:
        async with asyncio.timeout(seconds):
            await _follow(parse_url(url), spool, config, open_to_others)
    except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError):  # the last one after the handshake
        raise ServiceError("fetch_failed", "The connection to the URL's host failed.") from None
    except httpcore.TimeoutException:
        raise ServiceError("fetch_timeout", f"The URL's host did not connect within {CONNECT_SECONDS:g} s.") from None
    except TimeoutError:
        raise ServiceError("fetch_timeout", f"The file did not arrive within {seconds:g} s.") from None


async def _follow(target: Target, spool: BinaryIO, config: Config, open_to_others: bool) -> None:
    """Download from the target, or from where it redirects to; each hop is admitted like the first URL."""
    hops = config.serving.max_redirects
    for left in range(hops, -1, -1):
        addresses = await admit(target, config.serving, open_to_others=open_to_others)
        location = await _download(target, addresses, spool, config)
        if location is None:
            return
        if left:
            target = target.redirected(location)
    times = f" more than {hops} times" if hops else ""
    raise ServiceError("fetch_refused", f"The URL redirects{times}; give the address of the file itself.")


async def _download(target: Target, addresses: list[Address], spool: BinaryIO, config: Config) -> str | None:
    """Fill the spool; gives the location of a redirect instead."""
    bounds = Bounds(config.serving.fetch_min_rate)
    backend = PinnedBackend(addresses, bounds)
    url = httpcore.URL(
        scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.url.raw_path
    )
    headers = [(b"Host", target.netloc.encode()), *HEADERS]
    async with (
        httpcore.AsyncConnectionPool(ssl_context=_tls(), network_backend=backend) as pool,
        pool.stream("GET", url, headers=headers, extensions={"timeout": {"connect": CONNECT_SECONDS}}) as response,
    ):
        if response.status in REDIRECTS:
            return _location(response)
        _check(response, config.limits.max_bytes)
        bounds.begin_body()
        await _copy(response, bounds, spool, config.limits.max_bytes)
        return None


async def _copy(response: httpcore.Response, bounds: Bounds, spool: BinaryIO, max_bytes: int) -> None:
    received, known = 0, False
    async for chunk in response.aiter_stream():
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        bounds.check_framing(received)
        spool.write(chunk)
        if received >= HEAD_BYTES and not known:
            _check_head(spool)
            known = True
        await asyncio.sleep(0)  # one read may hold thousands of tiny chunks; health checks go between
    if not known:
        _check_head(spool)


def _check_head(spool: BinaryIO) -> None:
    """Refuse what is no media before the rest is downloaded."""
    spool.seek(0)
    check_head(spool.read(HEAD_BYTES))
    spool.seek(0, os.SEEK_END)


def _check(response: httpcore.Response, max_bytes: int) -> None:
    headers = _headers(response)
    if response.status >= 500 or response.status in LATER:
        raise ServiceError("fetch_failed", f"The URL answered with status {response.status}.")
    if response.status != 200:
        raise ServiceError("fetch_refused", f"The URL answered with status {response.status}, not 200.")
    if {value.lower() for name, value in response.headers if name.lower() == b"content-encoding"} - {b"identity", b""}:
        raise ServiceError("fetch_refused", "The URL answered with a content encoding, which is not accepted.")
    if int(headers.get(b"content-length", b"0")) > max_bytes:
        raise _too_large(max_bytes)


def _location(response: httpcore.Response) -> str:
    """Where a redirect leads, as it was sent: bytes that are no characters make no URL."""
    location = _headers(response).get(b"location", b"")
    if not location:
        raise ServiceError("fetch_refused", f"The URL answered with status {response.status}, but names no other URL.")
    return location.decode("ascii", "surrogateescape")


def _headers(response: httpcore.Response) -> dict[bytes, bytes]:
    return {name.lower(): value for name, value in response.headers}


def _too_large(max_bytes: int) -> MediaError:
    return MediaError("file_too_large", f"The file behind the URL is larger than {max_bytes} bytes.")


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)
