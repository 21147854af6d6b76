"""The id of a request: the caller's own where it is a plain one, else a new one."""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-ID"
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")


class RequestIds:
    """ASGI middleware that gives each request an id.

    The reply gets the header where the request came without. One that came in is echoed by Ray Serve's proxy, a plain
    one or not, and the proxy makes one for a caller without any; a second header would join the two to "id, id".
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _PLAIN.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            """Send a message; the first one of a reply gets the header where it is ours to set."""
            if message["type"] == "http.response.start" and not given:
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        return await self._app(scope, receive, send_with_id)


def request_id_of(request: Request) -> str:
    """The id that `RequestIds` gave."""
    return str(request.state.request_id)
