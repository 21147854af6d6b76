"""How much one answer may hold, and how slowly it may come: whatever the layers above make of the bytes."""

import asyncio
import ssl
from typing import Any

import httpcore

from deployments.problems import ServiceError

HEAD_BYTES = 65536
"""Of an answer's status line and headers, informational answers before it included."""
HEAD_SECONDS = 10.0
"""From the connection to the end of the headers."""
GRACE_SECONDS = 5.0
"""A body may fall behind its minimum rate by this much, at its begin as later."""
FRAMING_BYTES, FRAMING_SHARE = 65536, 8
"""What may come beside a body: one read ahead, and an eighth of it for the frames of its chunks."""


class Bounds:
    """The bounds of one answer: first its headers', then its body's."""

    def __init__(self, min_rate: int) -> None:
        """Wait for a connection.

        Args:
            min_rate: bytes per second of the body; 0: any rate will do.
        """
        self.received = 0
        """Bytes, of headers, framing and body."""
        self._min_rate = min_rate
        self._in_head = True
        self._before_body = 0
        self._end: float | None = None

    def begin_head(self) -> None:
        """The connection is there; from now on the time of the headers counts."""
        self._end = _now() + HEAD_SECONDS

    def begin_body(self) -> None:
        """The headers are complete; from now on the rate counts."""
        self._in_head = False
        self._before_body = self.received  # with what was read ahead of the body
        self._end = _now() + GRACE_SECONDS if self._min_rate else None

    def check_framing(self, body: int) -> None:
        """Refuse a body of so many bytes so far that came in tiny pieces: they take the time, not the space.

        Raises:
            ServiceError: `fetch_refused`.
        """
        if self.received - self._before_body > body + body // FRAMING_SHARE + FRAMING_BYTES:
            raise ServiceError("fetch_refused", "The URL's host sends the file in too small pieces.")

    async def read(self, stream: httpcore.AsyncNetworkStream, max_bytes: int) -> bytes:
        """Read what has come, `max_bytes` at most, unless it is too much or too late.

        Raises:
            ServiceError: `fetch_failed`, endless headers; `fetch_timeout`.
        """
        if self._in_head and self.received >= HEAD_BYTES:
            raise ServiceError("fetch_failed", f"The URL's answer has more than {HEAD_BYTES} bytes of headers.")
        try:
            async with asyncio.timeout_at(self._end):
                data = await stream.read(max_bytes)
        except TimeoutError:
            raise self._too_slow() from None
        self.received += len(data)
        if self._end is not None and not self._in_head:
            self._end = min(self._end + len(data) / self._min_rate, _now() + GRACE_SECONDS)
        return data

    def _too_slow(self) -> ServiceError:
        if self._in_head:
            return ServiceError("fetch_timeout", f"The URL's host did not answer within {HEAD_SECONDS:g} s.")
        return ServiceError("fetch_timeout", f"The file came at less than {self._min_rate} bytes a second.")


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection that reads within bounds; with TLS on it, what is inside counts."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, bounds: Bounds) -> None:
        self._stream = stream
        self._bounds = bounds

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109, ARG002 - as above
        """See `Bounds.read`; a time-out of the caller's is not needed."""
        return await self._bounds.read(self._stream, max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send bytes."""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        """The same connection, encrypted."""
        try:
            stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:  # httpcore forgets the connection where the caller leaves
            await self._stream.aclose()
            raise
        return BoundedStream(stream, self._bounds)

    def get_extra_info(self, info: str) -> Any:
        """What the connection knows about itself."""
        return self._stream.get_extra_info(info)


def _now() -> float:
    return asyncio.get_running_loop().time()
