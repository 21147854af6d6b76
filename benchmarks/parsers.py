"""Every parser of what comes from outside, as a function of bytes; of exceptions, only an `AuraError` may come out."""

import asyncio
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from seeds import (
    FORM,
    JSON_BODY,
    JSON_MANIFEST,
    KEYS,
    MANIFEST,
    META,
    NPY,
    SETTINGS,
    TRACE,
    TWO_PARTS,
    TYPES,
    URLS,
    WAV,
    checkpoints,
    pickles,
    pictures,
    stored,
    stores,
    tables,
    tiny,
)
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message

from aura_model.checkpoint import read_checkpoint
from aura_model.settings import DEFAULTS, load_config
from aura_model.stills import still_size
from deployments.fetching.urls import parse_url
from deployments.forms import read_file, safe_name
from deployments.keys import KeyRing, find
from deployments.request_ids import read_trace
from deployments.uploads import body_kind, read_form, read_url
from training.data.manifest import read_folder, read_manifest
from training.data.sound_file import read_sound
from training.evaluation.score_table import read_scores
from training.prediction.inputs import find_inputs
from training.rows import path_row
from training.store.clip_store import ClipStore

MAX_BYTES = 1 << 20
"""Of an upload."""


@dataclass(frozen=True)
class Parser:
    """One parser."""

    parse: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    """What is to be damaged; the first is accepted."""


# --- requests ---


def request(body: bytes = b"", headers: Mapping[str, bytes] | None = None) -> Request:
    """A request as the server hands it on, its body in two pieces."""
    pieces = [body[: len(body) // 2], body[len(body) // 2 :]]
    given = {"content-length": str(len(body)).encode()} | dict(headers or {})

    async def receive() -> Message:
        """The next piece of the body."""
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    raw = [(name.encode(), value) for name, value in given.items()]
    return Request({"type": "http", "method": "POST", "path": "/predict", "headers": raw, "query_string": b""}, receive)


def parse_form(data: bytes) -> object:
    """A multipart body."""
    with TemporaryFile() as spool:
        form = request(data, {"content-type": b"multipart/form-data; boundary=b"})
        return safe_name(asyncio.run(read_form(form, spool, MAX_BYTES)))


def parse_content_type(data: bytes) -> object:
    """The header that says what the body is, and between which boundaries."""
    with TemporaryFile() as spool:
        given = request(b"--b--", {"content-type": data})
        body_kind(given)
        return asyncio.run(read_file(given, spool, MAX_BYTES))


def parse_json(data: bytes) -> object:
    """A JSON body."""
    return asyncio.run(read_url(request(data)))


def parse_address(data: bytes) -> object:
    """The URL of a video, and as what it would redirect to."""
    text = data.decode(errors="replace")
    parse_url("https://media.example/a/b").redirected(text)
    return parse_url(text).netloc


def parse_headers(data: bytes) -> object:
    """What names a request, its trace and its caller."""
    names = ("x-request-id", "traceparent", "x-api-key")
    headers = Headers(raw=[(name.encode(), data) for name in names])
    trace = read_trace(headers)
    if not trace.request_id.isascii() or len(trace.request_id) > 64:
        raise ValueError(trace.request_id)
    return find((), headers["x-api-key"])


# --- files ---


def parse_file(name: str, read: Callable[[Path], object], data: bytes) -> object:
    """What a reader of files makes of this content under that name."""
    with stored(data, name) as path:
        return read(path)


def parse_override(data: bytes) -> object:
    """A setting of the command line, and one of the environment."""
    text = data.decode(errors="replace").replace("\0", "")
    key, _, value = text.partition("=")
    load_config(env={f"AURA_{key.replace('.', '__').upper()}": value})
    return load_config(env={}, overrides=[text])


def parse_meta(data: bytes) -> object:
    """The `meta.json` of a video's folder."""
    with stored(data, "train/video/meta.json") as path:
        path.with_name("video.mp4").touch()
        return list(read_folder(path.parents[2]))


def parse_pickle(data: bytes) -> object:
    """A pickle within a sound torch archive."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("net/data.pkl", data)
        archive.writestr("net/data/0", bytes(64))
        archive.writestr("net/version", b"3\n")
    return parse_file("a.pth", read_checkpoint, target.getvalue())


def read_store(path: Path) -> object:
    """Every row of a store of one file."""
    store = ClipStore(str(path.parent), tiny())
    return [store.rows(path_row(sample)) for sample in store.samples()]


PARSERS: Mapping[str, Parser] = {
    "url": Parser(parse_address, lambda: URLS),
    "form": Parser(parse_form, lambda: (FORM, TWO_PARTS)),
    "content type": Parser(parse_content_type, lambda: TYPES),
    "json": Parser(parse_json, lambda: (JSON_BODY,)),
    "headers": Parser(parse_headers, lambda: TRACE),
    "keys": Parser(partial(parse_file, "keys", partial(KeyRing, {})), lambda: (KEYS,)),
    "configuration": Parser(
        partial(parse_file, "a.yaml", partial(load_config, env={})), lambda: (DEFAULTS.read_bytes(),)
    ),
    "setting": Parser(parse_override, lambda: SETTINGS),
    "manifest": Parser(partial(parse_file, "a.csv", lambda path: list(read_manifest(path))), lambda: (MANIFEST,)),
    "json manifest": Parser(
        partial(parse_file, "a.json", lambda path: list(read_manifest(path))), lambda: (JSON_MANIFEST,)
    ),
    "inputs": Parser(partial(parse_file, "a.csv", lambda path: find_inputs(str(path))), lambda: (MANIFEST,)),
    "meta": Parser(parse_meta, lambda: (META,)),
    "checkpoint": Parser(partial(parse_file, "a.pth", read_checkpoint), checkpoints),
    "pickle": Parser(parse_pickle, pickles),
    "store": Parser(partial(parse_file, "train-0.parquet", read_store), stores),
    "scores": Parser(partial(parse_file, "a.csv", read_scores), tables),
    "wave": Parser(lambda data: list(read_sound(data, "a.wav", 16000).blocks()), lambda: (WAV,)),
    "array": Parser(lambda data: list(read_sound(data, "a.npy", 16000).blocks()), lambda: (NPY,)),
    "picture": Parser(still_size, pictures),
}
