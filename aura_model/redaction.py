"""What must not reach a log: secrets by the exact name of their field, the query and user of every URL, raw bytes.

The rules, and why they match names and not "anything with 'key' in it", are in `docs/logging.md`.
"""

import dataclasses
import math
import numbers
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

REDACTED = "<redacted>"
API_KEYS = "AURA_API_KEYS"
"""The environment variable with the API keys of the service, `NAME:KEY` or `KEY`, separated by commas."""
MIN_OWN_KEY = 8
"""Characters. What is shorter is no key, and its letters stand in every text."""
MAX_TEXT = 16_384
"""Characters kept of one string; the middle of a longer one is cut out."""
MAX_DEPTH = 12
"""Containers inside containers that are followed; what lies deeper is replaced."""

SECRET_NAMES = frozenset(
    {
        "accesskey",
        "accesstoken",
        "apikey",
        "authorization",
        "clientsecret",
        "cookie",
        "credential",
        "credentials",
        "filecontent",
        "imagebytes",
        "passphrase",
        "passwd",
        "password",
        "privatekey",
        "pwd",
        "rawdata",
        "secret",
        "secretaccesskey",
        "secretkey",
        "setcookie",
        "sig",
        "signature",
        "token",
    }
)
"""Names of secret fields, lower case and without separators."""

_SEGMENT = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_URL_NAMES = frozenset({"url", "uri", "href"})

# A quote or bracket ends a URL only where a delimiter follows; elsewhere it belongs to the URL and goes with the query.
# One slash will do: `pathlib` makes one of two.
_URL_END = r"""["'<>](?![\s,)\]}:;]|$)"""
_URL = re.compile(
    rf"""(?P<slashes>:/{{1,2}})(?:[^\s/?#"'<>]*@)?(?P<place>(?:[^\s?#"'<>]|{_URL_END})*)"""
    rf"""(?P<query>[?#](?:{REDACTED}|[^\s"'<>]|{_URL_END})*)?"""
)
_REQUEST_PATH = re.compile(r"""(?<![^\s"'])(?P<path>/[^\s?"']*)\?[^\s"']*""")
_DATA_URL = re.compile(r"\bdata:[\w/+.;=-]*,[^\s\"']*", re.IGNORECASE)
_CREDENTIALS = re.compile(r"\b(bearer|basic)\s+(?=[\w.~+/-]*(?:\d|=|(?-i:[a-z][A-Z])))[\w.~+/=-]{8,}", re.IGNORECASE)
_TOKEN_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:eyJ[\w-]{1,1024}\.[\w-]+\.[\w-]*|(?:AKIA|ASIA)[0-9A-Z]{16}(?![A-Za-z0-9]))"
)
_NAMED = re.compile(r"""(?<![\w.-])(?P<name>[A-Za-z][\w.-]*)["']?\s{0,8}[=:]\s{0,8}""")
_COOKIE_VALUE = re.compile(rf"""{REDACTED}|"[^"]*"|'[^']*'|[^\r\n]+""")
_VALUE = re.compile(r""""[^"]*"|'[^']*'|(?:(?i:bearer|basic|digest|token)\s+)?[^\s,;&"')\]}]+""")


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret.

    The name is split at dashes, underscores, dots and capitals. It is secret if it ends in one of `SECRET_NAMES` as
    whole segments: `db_password`, `X-Api-Key` and `accessToken` are; `monkey`, `keypoints` and `token_count` are not.
    """
    segments = [segment.lower() for segment in _SEGMENT.findall(name)]
    return any("".join(segments[start:]) in SECRET_NAMES for start in range(len(segments)))


def redact_text(text: str) -> str:
    """The text without this process's API keys, the query and user of any URL, `name=secret` pairs and tokens."""
    for key in _own_keys():
        text = text.replace(key, REDACTED)
    text = _DATA_URL.sub(f"data:{REDACTED}", text)
    text = _URL.sub(_bare_url, text)
    text = _REQUEST_PATH.sub(rf"\g<path>?{REDACTED}", text)
    text = _CREDENTIALS.sub(rf"\1 {REDACTED}", text)
    text = _TOKEN_SHAPES.sub(REDACTED, text)
    return _shorten(_redact_pairs(text))


def redact(value: Any, *, name: str = "") -> Any:
    """A copy made of plain JSON types, without secrets.

    Mappings, sequences, sets, named tuples, dataclasses and pydantic models are followed to `MAX_DEPTH`. Bytes, arrays
    and tensors become `<bytes N>`. Anything else becomes its text.

    Args:
        value: what is to be logged.
        name: the field that holds it.
    """
    try:
        return _redact(value, name, 0)
    except Exception:  # noqa: BLE001 - foreign `__str__` and properties run here, and a logger must not raise
        return f"<{type(value).__name__} that cannot be shown>"


def _redact(value: Any, name: str, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if (size := _byte_count(value)) is not None:
        return f"<bytes {size}>"
    if is_secret_name(name):
        return REDACTED
    if isinstance(value, str):
        return _redact_string(str.__str__(value), name)
    if isinstance(value, numbers.Number) or getattr(value, "shape", None) == ():
        return _plain_number(value)
    return _redact_container(value, depth)


def _redact_string(text: str, name: str) -> str:
    if _URL_NAMES.intersection(segment.lower() for segment in _SEGMENT.findall(name)[-1:]):
        text = re.sub(r"(?s)[?#].*", f"?{REDACTED}", text)
    return redact_text(text)


def _redact_container(value: Any, depth: int) -> Any:
    fields = _fields(value)
    if fields is None and not isinstance(value, (list, tuple, set, frozenset)):
        return redact_text(str(value))
    if depth >= MAX_DEPTH:
        return f"<{type(value).__name__}>"
    if fields is None:
        return _redact_sequence(value, depth)
    return {redact_text(str(key)): _redact(item, str(key), depth + 1) for key, item in fields.items()}


def _redact_sequence(items: Iterable[Any], depth: int) -> list[Any]:
    found = list(items)
    # A header list holds (name, value) pairs.
    name = found[0] if len(found) == 2 and isinstance(found[0], str) and is_secret_name(found[0]) else ""
    return [_redact(item, name if at == 1 else "", depth + 1) for at, item in enumerate(found)]


def _fields(value: Any) -> Mapping[Any, Any] | None:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, BaseModel):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return dict(value._asdict())
    return None


def _byte_count(value: Any) -> int | None:
    if isinstance(value, (bytes, bytearray)):
        return len(value)
    size = getattr(value, "nbytes", None)
    return size if isinstance(size, int) and getattr(value, "shape", None) != () else None


def _plain_number(value: Any) -> Any:
    plain = value if isinstance(value, (int, float)) else value.item() if hasattr(value, "item") else str(value)
    return str(plain) if isinstance(plain, float) and not math.isfinite(plain) else plain


def _own_keys() -> list[str]:
    """Read at each call: a logger that held the keys would take them along wherever it is sent."""
    keys = (entry.rpartition(":")[2].strip() for entry in os.environ.get(API_KEYS, "").split(","))
    return [key for key in keys if len(key) >= MIN_OWN_KEY]


def _bare_url(match: re.Match[str]) -> str:
    return match["slashes"] + match["place"] + (f"?{REDACTED}" if match["query"] else "")


def _redact_pairs(text: str) -> str:
    parts: list[str] = []
    done = at = 0
    while found := _NAMED.search(text, at):
        at = found.end()
        if not is_secret_name(found["name"]):
            continue
        pattern = _COOKIE_VALUE if found["name"].lower().endswith("cookie") else _VALUE
        if value := pattern.match(text, at):
            parts += [text[done:at], REDACTED]
            done = at = value.end()
    return "".join([*parts, text[done:]])


def _shorten(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2
    return f"{text[:half]}<{len(text) - 2 * half} characters>{text[-half:]}"
