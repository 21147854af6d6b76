"""Download a video from a URL that a client gave: the only place that opens an outside address."""

import asyncio
import ssl
from functools import cache
from typing import BinaryIO

import httpcore
import httpx

from aura_model.config import Config, ServingConfig
from aura_model.errors import MediaError
from deployments.network import PinnedBackend, is_public, is_public_or_loopback, resolve
from deployments.problems import ServiceError

MAX_URL = 4096
"""Characters; signed URLs of the object stores stay well below."""
CONNECT_SECONDS = 5.0
"""For one of the host's addresses; the next one is tried after it."""
HEADERS = [(b"User-Agent", b"aura"), (b"Accept", b"*/*"), (b"Accept-Encoding", b"identity"), (b"Connection", b"close")]


async def fetch_video(url: str, spool: BinaryIO, config: Config) -> None:
    """Stream the body behind `url` into `spool`.

    No redirects, cookies, proxies or content encodings; at most `limits.max_bytes` within `serving.fetch_seconds`.
    No text of an error holds the URL's path or query, or an address: a signed URL is a credential.

    Raises:
        ServiceError: `url_forbidden`, `fetch_refused`, `fetch_failed` or `fetch_timeout`.
        MediaError: `file_too_large`.
    """
    target = parse_url(url, config.serving)
    seconds = config.serving.fetch_seconds
    try:
        async with asyncio.timeout(seconds):
            await _download(target, spool, config)
    except (httpcore.NetworkError, httpcore.ProtocolError):
        raise ServiceError("fetch_failed", "The connection to the URL's host failed.") from None
    except httpcore.ConnectTimeout:
        raise ServiceError("fetch_timeout", f"The URL's host did not answer within {CONNECT_SECONDS:g} s.") from None
    except (TimeoutError, httpcore.TimeoutException):
        raise ServiceError("fetch_timeout", f"The file did not arrive within {seconds:g} s.") from None


def parse_url(url: str, serving: ServingConfig) -> httpx.URL:
    """The URL, if its form is one that the service fetches.

    Raises:
        ServiceError: `url_forbidden`.
    """
    schemes = ("https", "http") if serving.allow_http else ("https",)
    if len(url) > MAX_URL:
        raise ServiceError("url_forbidden", f"The URL is longer than {MAX_URL} characters.")
    try:
        target = httpx.URL(url)
        host = target.host  # read here, for this decodes its punycode
    except (httpx.InvalidURL, UnicodeError, ValueError):
        raise ServiceError("url_forbidden", "The URL cannot be parsed.") from None
    if target.scheme not in schemes or not host:
        raise ServiceError("url_forbidden", f"The URL must name a host and begin with {' or '.join(schemes)}.")
    if target.port is not None and not 0 < target.port < 65536:
        raise ServiceError("url_forbidden", "The URL's port is not one.")
    if target.userinfo:
        raise ServiceError("url_forbidden", "The URL must not hold a user name or password.")
    return target


async def _download(target: httpx.URL, spool: BinaryIO, config: Config) -> None:
    admits = is_public_or_loopback if config.serving.allow_loopback else is_public
    url = httpcore.URL(scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path)
    headers = [(b"Host", target.netloc), *HEADERS]
    async with (
        httpcore.AsyncConnectionPool(ssl_context=_tls(), network_backend=PinnedBackend(admits, resolve)) as pool,
        pool.stream("GET", url, headers=headers, extensions={"timeout": {"connect": CONNECT_SECONDS}}) as response,
    ):
        _check(response, config.limits.max_bytes)
        await _copy(response, spool, config.limits.max_bytes)


async def _copy(response: httpcore.Response, spool: BinaryIO, max_bytes: int) -> None:
    received = 0
    async for chunk in response.aiter_stream():
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        spool.write(chunk)
        await asyncio.sleep(0)  # one read may hold thousands of tiny chunks; health checks go between


def _check(response: httpcore.Response, max_bytes: int) -> None:
    headers = {name.lower(): value for name, value in response.headers}
    if response.status >= 500:
        raise ServiceError("fetch_failed", f"The URL answered with status {response.status}.")
    if response.status != 200:
        raise ServiceError("fetch_refused", f"The URL answered with status {response.status}, not 200.")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise ServiceError("fetch_refused", "The URL answered with a content encoding, which is not accepted.")
    if int(headers.get(b"content-length", b"0")) > max_bytes:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> MediaError:
    return MediaError("file_too_large", f"The file behind the URL is larger than {max_bytes} bytes.")


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)
