"""Every parser of what comes from outside, as a function of bytes; of exceptions, only an `AuraError` may come out."""

import asyncio
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import torch
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message
from torch import nn

from aura_model.checkpoint import read_checkpoint, save_checkpoint
from aura_model.clips import Clips, blank_clip
from aura_model.config import DEFAULTS, Config, load_config
from aura_model.media import MediaInfo
from aura_model.stills import still_size
from deployments.forms import read_file, safe_name
from deployments.keys import KeyRing, find
from deployments.request_ids import read_trace
from deployments.uploads import body_kind, read_form, read_url
from deployments.urls import parse_url
from training.data.manifest import Sample, read_folder, read_manifest
from training.data.sound_file import read_sound
from training.evaluation.score_table import ClipLine, VideoLines, read_scores, write_scores
from training.prediction.inputs import find_inputs
from training.rows import EVALUATION, ClipShape, error_row, rows_of
from training.store.clip_store import ClipStore
from training.store.files import StoreFiles
from training.store.writer import write_videos

MEDIA = Path(__file__).parents[1] / "tests" / "media"
MAX_BYTES = 1 << 20
"""Of an upload."""
INFO = MediaInfo(
    sha256="0" * 64,
    bytes=5,
    container="mp4",
    duration=2.0,
    width=64,
    height=48,
    fps=8.0,
    rotation=0,
    video_codec="h264",
    audio_codec=None,
)


@dataclass(frozen=True)
class Parser:
    """One parser."""

    parse: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    """What is to be damaged; the first is accepted."""


@cache
def tiny() -> Config:
    """Settings of small clips."""
    return load_config(env={}, overrides=["dataset.face.size=32", "dataset.video.temporal_window=2"])


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


@contextmanager
def stored(data: bytes, name: str) -> Iterator[Path]:
    """A file with this content."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(data)
        yield path


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


def path_row(sample: Sample) -> dict[str, object]:
    """A video as a pass over the data asks for it."""
    place = {"video_id": sample.video_id, "path": sample.path, "label": sample.label, "split": sample.split}
    return place | {"epoch": EVALUATION, "slot": 0}


# --- what they accept ---


def written(name: str, write: Callable[[Path], object]) -> list[bytes]:
    """The files that a writer leaves."""
    with stored(b"", name) as path:
        path.unlink()
        write(path)
        return [file.read_bytes() for file in sorted(path.parent.iterdir())]


def checkpoints() -> list[bytes]:
    """A small checkpoint."""
    return written("a.pth", lambda path: save_checkpoint(path, nn.Linear(2, 2), tiny(), 1, {"auc": 0.5}))


def pickles() -> list[bytes]:
    """The pickle inside it, and some with other contents."""
    with zipfile.ZipFile(io.BytesIO(checkpoints()[0])) as archive:
        inner = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    target = io.BytesIO()
    torch.save({"a": torch.zeros(2, 2), "b": [1.5, "x", None, torch.float16, torch.Size([2])]}, target)
    with zipfile.ZipFile(target) as archive:
        return [inner, archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))]


def stores() -> list[bytes]:
    """A store with a video of one clip and one that is not usable."""
    samples = [Sample("a", 1, "train", "/a.mp4", {"identity": "x"}), Sample("b", 0, "train", "/b.mp4")]
    shape = ClipShape.of(tiny())
    rows = [
        rows_of(Clips((blank_clip(tiny()),), INFO, (), {}), path_row(samples[0]), shape),
        [error_row("invalid_video", "why", path_row(samples[1]), shape)],
    ]
    return written("x", lambda path: list(write_videos(StoreFiles(str(path.parent)), tiny(), samples, rows)))


def tables() -> list[bytes]:
    """A table of scores."""
    clip = ClipLine(clip=0, track_id=1, start=0.0, end=1.0, logit=0.5, video_logit=-1.0)
    lines = [
        VideoLines("a", 1, "test", "/a.mp4", {"x": "y"}, (clip,)),
        VideoLines("b", 0, "test", "/b.mp4", error="no"),
    ]
    return written("scores.csv", lambda path: write_scores(path, lines))


PART = b'--b\r\nContent-Disposition: form-data; name="%s"\r\nContent-Type: video/mp4\r\n\r\nx\r\n'
FORM = PART % b'file"; filename="a.mp4' + b"--b--\r\n"
URLS = (
    b"https://storage.example.com:443/a%20b/c.mp4?X-Signature=abc&x=1#y",
    b"https://user:secret@[::ffff:127.0.0.1]:8443/",
    b"http://0x7f.1/",
    "https://xn--bcher-kva.example/ü".encode(),
)
MANIFEST = b"video_id,label,split,path,identity\na,real,train,s3://x/a.mp4,i\nb,1,val,s3://x/b.mp4,\n"
JSON_MANIFEST = b'[{"video_id": "a", "label": "real", "split": "train", "path": "s3://x/a.mp4", "n": 1.5}]'
KEYS = b"# comment\nalice:0123456789abcdef0123\nbob:sha256:" + b"ab" * 32 + b"\n"
TRACE = (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"request-1")
WAV = (MEDIA / "audio_only.wav").read_bytes()[:4000]
NPY = b"\x93NUMPY\1\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (8,), }".ljust(127) + b"\n" + bytes(32)
TYPES = (
    b"multipart/form-data; boundary=b",
    b"multipart/form-data; boundary=\"b\"; charset*=utf-8''x",
    b"application/json",
)

PARSERS: Mapping[str, Parser] = {
    "url": Parser(parse_address, lambda: URLS),
    "form": Parser(parse_form, lambda: (FORM, PART % b"x" + FORM)),
    "content type": Parser(parse_content_type, lambda: TYPES),
    "json": Parser(parse_json, lambda: (b'{"video_url": "https://storage.example.com/a.mp4"}',)),
    "headers": Parser(parse_headers, lambda: TRACE),
    "keys": Parser(partial(parse_file, "keys", partial(KeyRing, {})), lambda: (KEYS,)),
    "configuration": Parser(
        partial(parse_file, "a.yaml", partial(load_config, env={})), lambda: (DEFAULTS.read_bytes(),)
    ),
    "setting": Parser(
        parse_override, lambda: (b"limits.max_bytes=1", b"serving.allowed_hosts=[a.b, '*.c']", b"seed=0x1f")
    ),
    "manifest": Parser(partial(parse_file, "a.csv", lambda path: list(read_manifest(path))), lambda: (MANIFEST,)),
    "json manifest": Parser(
        partial(parse_file, "a.json", lambda path: list(read_manifest(path))), lambda: (JSON_MANIFEST,)
    ),
    "inputs": Parser(partial(parse_file, "a.csv", lambda path: find_inputs(str(path))), lambda: (MANIFEST,)),
    "meta": Parser(parse_meta, lambda: (b'{"label": "fake", "identity": "x", "n": 2.5, "more": [1]}',)),
    "checkpoint": Parser(partial(parse_file, "a.pth", read_checkpoint), checkpoints),
    "pickle": Parser(parse_pickle, pickles),
    "store": Parser(partial(parse_file, "train-0.parquet", read_store), stores),
    "scores": Parser(partial(parse_file, "a.csv", read_scores), tables),
    "wave": Parser(lambda data: list(read_sound(data, "a.wav", 16000).blocks()), lambda: (WAV,)),
    "array": Parser(lambda data: list(read_sound(data, "a.npy", 16000).blocks()), lambda: (NPY,)),
    "picture": Parser(
        still_size, lambda: [(MEDIA / f"face.{kind}").read_bytes()[:1000] for kind in ("jpg", "png", "webp")]
    ),
}
