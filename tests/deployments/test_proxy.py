"""The headers that Ray Serve's proxy gets to see, with Ray's own middleware in place."""

from typing import Any

import pytest
from ray.serve._private.http_util import _apply_middlewares, validate_http_proxy_callback_return
from starlette.types import Receive, Scope, Send

from deployments.proxy import PLAIN_ID, middlewares


async def through(*headers: tuple[bytes, bytes]) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    """The headers that come behind the proxy, and those of the reply."""
    came: list[tuple[bytes, bytes]] = []
    sent: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        came.extend(scope["headers"])
        for _, value in came:
            value.decode()  # as the proxy does
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError

    wrapped = _apply_middlewares(app, validate_http_proxy_callback_return(middlewares()))
    await wrapped({"type": "http", "headers": list(headers)}, receive, send)
    return came, sent[0]["headers"]


def ids(headers: list[tuple[bytes, bytes]]) -> list[str]:
    return [value.decode() for name, value in headers if name.lower() == b"x-request-id"]


@pytest.mark.parametrize("given", [b"abc-1", b"A_9", b"a" * 64])
async def test_a_plain_id_is_kept(given: bytes) -> None:
    came, sent = await through((b"x-request-id", given))
    assert ids(came) == ids(sent) == [given.decode()]


@pytest.mark.parametrize(
    "given", [b"\xff", "é".encode(), "é".encode("latin-1"), b"a" * 65, b"a" * 60_000, b"", b"a b", b"a\tb", b"<script>"]
)
async def test_any_other_is_replaced_by_the_proxys_own(given: bytes) -> None:
    came, sent = await through((b"X-Request-ID", given))
    (made,) = ids(came)
    assert ids(sent) == [made]
    assert PLAIN_ID.fullmatch(made)


async def test_headers_that_the_proxy_cannot_read_are_dropped_and_the_others_kept() -> None:
    good = [(b"host", b"aura"), (b"x-note", "č".encode()), (b"authorization", b"Bearer a")]
    bad = [(b"x-session-id", b"\xff"), (b"serve_multiplexed_model_id", b"\xe9"), (b"x-other", b"\x80")]
    came, _ = await through(*good, *bad, (b"x-request-id", b"abc-1"))
    assert came == [*good, (b"x-request-id", b"abc-1")]


async def test_messages_without_headers_pass() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        seen.append(scope)

    (middleware,) = middlewares()
    await middleware.cls(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == [{"type": "lifespan"}]
