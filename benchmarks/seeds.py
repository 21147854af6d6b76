"""What the parsers of outside input accept, small, to be damaged."""

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from aura_model.checkpoint import save_checkpoint
from aura_model.clips import Clips, blank_clip
from aura_model.config import Config
from aura_model.media import MediaInfo
from aura_model.settings import load_config
from training.data.manifest import Sample
from training.evaluation.score_table import ClipLine, VideoLines, write_scores
from training.rows import ClipShape, error_row, path_row, rows_of
from training.store.files import StoreFiles
from training.store.writer import write_videos

MEDIA = Path(__file__).parents[1] / "tests" / "media"
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


@cache
def tiny() -> Config:
    """Settings of small clips."""
    return load_config(env={}, overrides=["dataset.face.size=32", "dataset.video.temporal_window=2"])


@contextmanager
def stored(data: bytes, name: str) -> Iterator[Path]:
    """A file with this content."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(data)
        yield path


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

TWO_PARTS = PART % b"x" + FORM
JSON_BODY = b'{"video_url": "https://storage.example.com/a.mp4"}'
META = b'{"label": "fake", "identity": "x", "n": 2.5, "more": [1]}'
SETTINGS = (b"limits.max_bytes=1", b"serving.allowed_hosts=[a.b, '*.c']", b"seed=0x1f")


def pictures() -> list[bytes]:
    """The beginnings of stills."""
    return [(MEDIA / f"face.{kind}").read_bytes()[:1000] for kind in ("jpg", "png", "webp")]
