"""What a request to `/predict` brings: in its body a URL (JSON) or a file (multipart form), in its query a wish."""

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Annotated, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.multipart import parse_options_header
from ray.exceptions import TaskCancelledError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from aura_model.config import Config
from aura_model.errors import AuraError, MediaError
from aura_model.logging import get_logger
from aura_model.redaction import redact_text
from deployments.fetching.fetch import fetch_video
from deployments.fetching.urls import MAX_URL
from deployments.forms import MAX_NAME, OVERHEAD, read_file
from deployments.problems import ServiceError

EXPLAIN = "explain"
"""The name of the query's parameter."""
MAX_JSON = 65536
"""Bytes of a JSON body; a URL is far shorter."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})
"""Errors of a full disk or table of open files, which pass."""
GRACE_SECONDS = 5.0
"""An upload has this long before its rate counts."""


@dataclass(frozen=True)
class Media:
    """One media file as it came."""

    spool: BinaryIO
    name: str | None
    """What the client called it, made safe for the log; None for a URL."""
    size: int
    """Bytes."""


class VideoRequest(BaseModel):
    """The JSON body of `POST /predict`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    video_url: Annotated[str, Field(min_length=1, max_length=MAX_URL)] = Field(
        description="Where the video lies: an http(s) URL, usually a signed one.",
        examples=["https://storage.example.com/uploads/interview.mp4?X-Signature=..."],
    )


def wants_heatmaps(request: Request) -> bool:
    """Whether the query says `explain=true`.

    Raises:
        ServiceError: `invalid_request`, where it says anything but `true` or `false`, once.
    """
    given = [value.lower() for value in request.query_params.getlist(EXPLAIN)] or ["false"]
    if given not in (["true"], ["false"]):
        raise ServiceError("invalid_request", f"{EXPLAIN}: say {EXPLAIN}=true or {EXPLAIN}=false.")
    return given == ["true"]


def body_kind(request: Request) -> Literal["json", "form"]:
    """Whether the body is JSON or a form.

    Raises:
        ServiceError: `unsupported_media_type`.
    """
    if {value.lower() for value in request.headers.getlist("content-encoding")} - {"identity", ""}:
        raise ServiceError("unsupported_media_type", "Send the body as it is, without a Content-Encoding.")
    content_type = parse_options_header(request.headers.get("content-type"))[0]
    if content_type == b"application/json":
        return "json"
    if content_type == b"multipart/form-data":
        return "form"
    raise ServiceError("unsupported_media_type", "Send application/json, or multipart/form-data with a field 'file'.")


async def read_url(request: Request) -> str:
    """The URL in a JSON body.

    Raises:
        ServiceError: `length_required`, `body_too_large` or `invalid_request`.
    """
    too_large = ServiceError("body_too_large", f"A JSON body holds at most {MAX_JSON} bytes.")
    try:
        body = await _bounded(request, MAX_JSON, too_large).body()
        return VideoRequest.model_validate_json(body).video_url
    except ValidationError as error:
        raise ServiceError("invalid_request", explain(error)) from None
    except ClientDisconnect:
        raise _cut_short() from None


@asynccontextmanager
async def receive_media(request: Request, config: Config, *, open_to_others: bool) -> AsyncIterator[Media]:
    """The media that a request brings or names, in a nameless temporary file that is gone when the block ends.

    Raises:
        ServiceError: as `body_kind`, `read_url`, `read_form` and `fetch_video`; `upload_timeout`; `unavailable`, where
            there is no room for it.
        MediaError: `file_too_large`.
    """
    request = paced(request, config.serving.upload_min_rate)
    with _room(), TemporaryFile() as spool:
        name = None
        if body_kind(request) == "form":
            name = await read_form(request, spool, config.limits.max_bytes)
        else:
            await fetch_video(await read_url(request), spool, config, open_to_others=open_to_others)
        spool.flush()
        yield Media(spool, name, spool.tell())


@contextmanager
def _room() -> Iterator[None]:
    """Says `unavailable` where the disk, or a table of open files, is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        get_logger(__name__).bind(error=error.strerror).error("there is no room for a file that comes")
        raise ServiceError("unavailable", "There is no room for the file now; try again later.") from None


async def read_form(request: Request, spool: BinaryIO, max_bytes: int) -> str:
    """Write the file in a form to `spool`; gives its name as `read_file` does.

    Raises:
        ServiceError: `length_required` or `invalid_request`.
        MediaError: `file_too_large`.
    """
    too_large = MediaError("file_too_large", f"A file holds at most {max_bytes} bytes.")
    try:
        return await read_file(_bounded(request, max_bytes + OVERHEAD, too_large), spool, max_bytes)
    except ClientDisconnect:
        raise _cut_short() from None


def as_array(spool: BinaryIO) -> npt.NDArray[np.uint8]:
    """The bytes of a spooled file `[N]`, mapped rather than read: the array outlives the closed file."""
    if not os.fstat(spool.fileno()).st_size:
        return np.empty(0, np.uint8)
    return np.asarray(np.memmap(spool, np.uint8, "r"))


def explain(error: ValidationError) -> str:
    """The first fault of a body, without the value, which may hold a signature. The name may be the caller's own."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = redact_text(".".join(str(part) for part in first["loc"]))[:MAX_NAME]
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def _bounded(request: Request, limit: int, too_large: AuraError) -> Request:
    """The same request, refused at once where it declares more than `limit` bytes, and later where it sends more."""
    if _declared_length(request) > limit:
        raise too_large
    return Request(request.scope, _count(request.receive, limit, too_large))


def paced(request: Request, min_rate: int) -> Request:
    """The same request, given up where its body comes too slowly.

    Args:
        request: whose body is yet to come.
        min_rate: bytes per second after the first `GRACE_SECONDS`; 0: any rate will do.
    """
    return Request(request.scope, _in_time(request.receive, min_rate) if min_rate else request.receive)


def _in_time(receive: Receive, min_rate: int) -> Receive:
    end = asyncio.get_running_loop().time() + GRACE_SECONDS

    async def timed() -> Message:
        """Receive a message of a body that comes fast enough; each byte moves the end."""
        nonlocal end
        try:
            async with asyncio.timeout_at(end):
                message = await receive()
        except TimeoutError:
            raise ServiceError("upload_timeout", f"Send the body at {min_rate} bytes a second at least.") from None
        end += len(message.get("body", b"")) / min_rate
        return message

    return timed


def _declared_length(request: Request) -> int:
    length = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers or not re.fullmatch(r"[0-9]{1,4000}", length):
        raise ServiceError("length_required", "Send the body with a Content-Length, not in chunks.")
    return int(length)


def _count(receive: Receive, limit: int, too_large: AuraError) -> Receive:
    received = 0

    async def counted() -> Message:
        """Receive a message of a body that is still within the limit."""
        nonlocal received
        try:
            message = await receive()
        except TaskCancelledError:  # Ray Serve's proxy has seen the client go
            raise ClientDisconnect from None
        received += len(message.get("body", b""))
        if received > limit:
            raise too_large
        return message

    return counted


def _cut_short() -> ServiceError:
    return ServiceError("invalid_request", "The connection ended before the body did.")
