"""An open-loop load: requests leave on a schedule, whether or not earlier ones have been answered.

Latency counts from the moment that the schedule names, so that a service that stalls is charged for all who would have
come meanwhile (no coordinated omission). Each request has a connection of its own.
"""

import asyncio
import json
import math
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

NO_REPLY = 0
"""The status of a request that got no reply: refused, cut off or out of time."""
BOUNDARY = "aura-benchmark"
CHUNK = 65536


@dataclass(frozen=True)
class Reply:
    """What became of one request."""

    scheduled: float
    """Seconds from the start of the run to the planned moment."""
    sent: float
    """Seconds from the start of the run to the moment at which its connection was asked for."""
    status: int
    seconds: float
    """From the planned moment to the end of the reply."""
    retry_after: str | None = None
    code: str | None = None
    """The code of a problem, or the verdict of an analysis."""

    @property
    def late(self) -> float:
        """Seconds by which the generator itself ran behind."""
        return self.sent - self.scheduled


@dataclass(frozen=True)
class Answer:
    """One HTTP reply."""

    status: int
    headers: dict[str, str]
    """Names in small letters."""
    body: bytes

    @property
    def whole(self) -> bool:
        """Whether the body is as long as announced; False where nothing was."""
        return len(self.body) >= int(self.headers.get("content-length", 1 << 62))


async def open_loop(
    port: int, message: Callable[[int], bytes], rate: float, seconds: float, *, patience: float = 60.0
) -> list[Reply]:
    """Send `rate` requests a second for `seconds`, evenly spaced, and wait for every reply.

    Args:
        port: where the service listens on 127.0.0.1.
        message: the whole HTTP request with this number, counted from 0; see `request` and `upload`.
        rate: requests per second.
        seconds: for how long requests leave.
        patience: seconds after which a request counts as unanswered.

    Returns:
        One entry a request, in the order of the schedule.
    """
    return await scheduled(port, message, [number / rate for number in range(round(rate * seconds))], patience=patience)


async def scheduled(
    port: int, message: Callable[[int], bytes], moments: Sequence[float], *, patience: float = 60.0
) -> list[Reply]:
    """Send one request at each moment, in seconds from now; otherwise as `open_loop`."""
    start = time.perf_counter()
    tasks = []
    for number, moment in enumerate(moments):
        await asyncio.sleep(max(0.0, start + moment - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(port, message(number), start, moment, patience)))
    return list(await asyncio.gather(*tasks))


async def ask(port: int, message: bytes, start: float, moment: float, patience: float) -> Reply:
    """Send one request that was planned for `moment`, in seconds after `start` of the clock, and wait for its reply."""
    sent = time.perf_counter() - start
    try:
        async with asyncio.timeout(patience):
            answer = await send(port, message)
    except (OSError, TimeoutError, EOFError, ValueError):
        return Reply(moment, sent, NO_REPLY, time.perf_counter() - start - moment)
    seconds = time.perf_counter() - start - moment
    return Reply(moment, sent, answer.status, seconds, answer.headers.get("retry-after"), code_of(answer.body))


async def send(port: int, message: bytes) -> Answer:
    """One request over a connection of its own.

    Raises:
        OSError: the connection was refused or cut off.
        EOFError: it ended before the reply did.
        ValueError: what came is no HTTP.
    """
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        sending = asyncio.create_task(loop.sock_sendall(connection, message))
        try:  # a service may refuse, and close, before it has read everything
            return await _receive(connection)
        finally:
            sending.cancel()
            with suppress(OSError, asyncio.CancelledError):
                await sending


async def _receive(connection: socket.socket) -> Answer:
    loop = asyncio.get_running_loop()
    received = bytearray()
    while True:
        part = await loop.sock_recv(connection, CHUNK)
        received += part
        answer = parse(received)
        if answer and (answer.whole or (not part and "content-length" not in answer.headers)):
            return answer
        if not part:
            raise EOFError("the connection ended before the reply did")


def parse(received: bytes | bytearray) -> Answer | None:
    """The reply in what has been received so far; None before the head is complete.

    Raises:
        ValueError: it is no HTTP.
    """
    head, end, body = bytes(received).partition(b"\r\n\r\n")
    if not end:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    try:
        return Answer(int(first.split()[1]), headers, body)
    except IndexError:
        raise ValueError("the reply is no HTTP") from None


def request(path: str, method: str = "GET", headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """The bytes of a request that asks for the connection to be closed afterwards."""
    fields = {"Host": "127.0.0.1", "Connection": "close", "Content-Length": str(len(body)), **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def upload(content: bytes, name: str = "video.mp4", headers: dict[str, str] | None = None) -> bytes:
    """The bytes of `POST /predict` with one file."""
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return request("/predict", "POST", {**kind, **(headers or {})}, form(content, name))


def form(content: bytes, name: str = "video.mp4") -> bytes:
    """A multipart body with one file."""
    quoted = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A").encode(errors="surrogateescape")
    head = b'Content-Disposition: form-data; name="file"; filename="%b"\r\n\r\n' % quoted
    return f"--{BOUNDARY}\r\n".encode() + head + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def code_of(body: bytes) -> str | None:
    """The code of a problem or the verdict of an analysis; None for any other body."""
    with suppress(ValueError):
        fields = json.loads(body)
        if isinstance(fields, dict):
            return fields.get("code") or fields.get("verdict")
    return None


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed; nan without any."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else float("nan")
