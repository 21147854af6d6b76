"""What Ray Serve's HTTP proxy does to a request before anything else does, where it is asked to.

Set `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=deployments.proxy:middlewares` in the environment of Ray's nodes. Without
it the proxy answers 500 where a header that it reads is not UTF-8, and repeats an `X-Request-ID` of any length to the
caller and in its log.
"""

import re

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

HEADER = "X-Request-ID"
PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""An id that is kept as the caller gave it."""


def middlewares() -> list[Middleware]:
    """For Ray Serve: they see a request before its own ones do."""
    return [Middleware(CleanHeaders)]


class CleanHeaders:
    """ASGI middleware that drops headers that are not UTF-8, and an id that is not plain: then the proxy makes one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if "headers" in scope:
            scope = {**scope, "headers": [header for header in scope["headers"] if _is_clean(*header)]}
        await self._app(scope, receive, send)


def _is_clean(name: bytes, value: bytes) -> bool:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return False
    return name.lower() != HEADER.lower().encode() or PLAIN_ID.fullmatch(text) is not None
