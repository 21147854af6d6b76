"""The ids of a request: the caller's own where they are plain, else new ones."""

import re
import secrets
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aura_model.logging import get_logger
from deployments.messages import Trace
from deployments.proxy import HEADER, PLAIN_ID

TRACE_PARENT = "traceparent"
"""The header of W3C Trace Context."""
_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_KNOWN_FLAGS = 0x03
"""`sampled` and `random-trace-id`; the others must not be passed on."""


class RequestIds:
    """ASGI middleware that gives each request its ids and puts them into each line of the log.

    The reply gets the header where the request came without. One that came in is echoed by Ray Serve's proxy, a plain
    one or not, and the proxy makes one for a caller without any; a second header would join the two to "id, id".
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._logger = get_logger(__name__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        trace = read_trace(headers)
        scope.setdefault("state", {})["trace"] = trace

        async def send_with_id(message: Message) -> None:
            """Send a message; the first one of a reply gets the header where it is ours to set."""
            if message["type"] == "http.response.start" and not headers.get(HEADER):
                MutableHeaders(scope=message)[HEADER] = trace.request_id
            await send(message)

        with self._logger.contextualize(**trace.fields()):
            return await self._app(scope, receive, send_with_id)


def trace_of(request: Request) -> Trace:
    """The ids that `RequestIds` gave."""
    trace: Trace = request.state.trace
    return trace


def read_trace(headers: Headers) -> Trace:
    """The ids that a request brings, as far as they are valid.

    The request's id is `X-Request-ID`; where that is missing or not plain, the id of the caller's trace, or a new one.
    """
    given = headers.get(HEADER, "")
    parents = headers.getlist(TRACE_PARENT)
    traceparent = next_traceparent(parents[0]) if len(parents) == 1 else None
    if PLAIN_ID.fullmatch(given):
        return Trace(given, traceparent)
    return Trace(traceparent.split("-")[1] if traceparent else uuid.uuid4().hex, traceparent)


def next_traceparent(given: str) -> str | None:
    """A caller's `traceparent` with a span of our own in place of the caller's; None where it is not valid.

    Source: https://www.w3.org/TR/trace-context-2/#traceparent-header. A version later than ours is read as ours.
    """
    match = _TRACEPARENT.fullmatch(given.strip(" \t"))
    if match is None or match["version"] == "ff" or (match["version"] == "00" and match["more"]):
        return None
    if not int(match["trace"], 16) or not int(match["parent"], 16):
        return None
    return f"00-{match['trace']}-{_span_id()}-{int(match['flags'], 16) & _KNOWN_FLAGS:02x}"


def _span_id() -> str:
    """Eight random bytes that are not all zero, which would not be valid."""
    return f"{secrets.randbelow(2**64 - 1) + 1:016x}"
