"""The one file of a multipart form, streamed to where it is wanted."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from aura_model.errors import MediaError
from aura_model.redaction import redact_text
from deployments.problems import ServiceError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = "file"
OVERHEAD = 65536
"""Bytes that a form may have beside its file: boundaries, part headers, other fields."""
MAX_PARTS = 16
MAX_NAME = 100


async def read_file(request: Request, spool: BinaryIO, max_bytes: int) -> str:
    """Write the file in the field `file` to `spool`; other fields are passed over.

    Returns:
        What the client called the file, fit for a log line; to be used for nothing else.

    Raises:
        ServiceError: `invalid_request`.
        MediaError: `file_too_large`.
    """
    boundary = parse_options_header(request.headers.get("content-type"))[1].get(b"boundary", b"")
    if not boundary:
        raise ServiceError("invalid_request", "The content type names no boundary.")
    form = _Form(spool, max_bytes)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for chunk in _from_boundary(request.stream(), boundary):
            parser.write(chunk)
        parser.finalize()
    except FormParserError:
        raise ServiceError("invalid_request", "The form cannot be parsed.") from None
    if not form.ended:
        raise ServiceError("invalid_request", "The form has no end.")
    if form.filename is None:
        raise ServiceError("invalid_request", f"The form must hold a field '{FIELD}' with a file in it.")
    return form.filename


async def _from_boundary(chunks: AsyncIterator[bytes], boundary: bytes) -> AsyncIterator[bytes]:
    """The body from its first boundary line on: what is before that is no part of the form (RFC 2046, 5.1.1)."""
    line, head = b"\n--" + boundary, b"\n"
    async for chunk in chunks:
        head += chunk
        preamble, found, rest = head.partition(line)
        if len(preamble) > OVERHEAD:
            raise ServiceError("invalid_request", f"Before its first boundary a form has at most {OVERHEAD} bytes.")
        if found:
            yield found[1:] + rest
            break
    else:
        raise ServiceError("invalid_request", "The form does not hold the boundary that its content type names.")
    async for chunk in chunks:
        yield chunk


def safe_name(name: str) -> str:
    """The last part of a client's file name, which may be a whole URL: no secrets, odd characters replaced."""
    path = redact_text(re.split(r"[?#]", name, maxsplit=1)[0]).replace("\\", "/")
    return re.sub(r"[^\w.\- ]", "_", path.rsplit("/", 1)[-1], flags=re.ASCII)[:MAX_NAME]


def _names(headers: Mapping[bytes, bytes]) -> tuple[bytes, str | None]:
    """The field of a part, and what it calls its file: None where it is none.

    The name may be left out where the type tells that it is a file (RFC 7578, 4.2), and some clients give it in another
    form (`filename*`, RFC 5987), which goes into no log.
    """
    disposition = headers.get(b"content-disposition", b"")
    options, kind = parse_options_header(disposition)[1], parse_options_header(headers.get(b"content-type"))[0]
    name = options.get(b"filename")
    if name is None and (b"filename*=" in disposition.lower() or (kind and not kind.startswith(b"text/"))):
        name = b""
    return options.get(b"name", b""), None if name is None else name.decode(errors="replace")


class _Form:
    """What the parser calls while it reads."""

    def __init__(self, spool: BinaryIO, max_bytes: int) -> None:
        self.filename: str | None = None
        self.ended = False
        self._spool = spool
        self._left = max_bytes
        self._left_besides = OVERHEAD
        self._max_bytes = max_bytes
        self._parts = 0
        self._in_file = False
        self._name = self._value = b""
        self._headers: dict[bytes, bytes] = {}

    def callbacks(self) -> "MultipartCallbacks":
        """What `MultipartParser` is to call, by the name of the event."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_name,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_data,
            "on_part_data": self._add_data,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ServiceError("invalid_request", f"A form has at most {MAX_PARTS} parts.")
        self._in_file = False
        self._name = self._value = b""
        self._headers = {}

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _begin_data(self) -> None:
        field, name = _names(self._headers)
        if field != FIELD.encode() or name is None:
            return
        if self.filename is not None:
            raise ServiceError("invalid_request", f"The form holds more than one field '{FIELD}'.")
        self._in_file = True
        self.filename = safe_name(name)

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if not self._in_file:
            self._left_besides -= end - start
            if self._left_besides < 0:
                raise ServiceError("invalid_request", f"The other fields of a form hold at most {OVERHEAD} bytes.")
            return
        self._left -= end - start
        if self._left < 0:
            raise MediaError("file_too_large", f"A file holds at most {self._max_bytes} bytes.")
        self._spool.write(memoryview(data)[start:end])

    def _end(self) -> None:
        self.ended = True
