"""Whatever a file asks for, a decode child opens nothing and makes no socket: one that tried would be dead."""

import asyncio
import ctypes
import io
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from aura_model import media, sandbox
from aura_model.errors import MediaError
from aura_model.sandbox import ENVIRONMENT, Sandbox
from aura_model.seccomp import KILL
from aura_model.settings import load_config
from deployments.messages import Scored
from tests.deployments.conftest import FakeBackend, client_of, make_config, make_scored
from tests.fuzz.playlists import SCRIPTS, playlists

MEDIA = Path(__file__).parents[1] / "media"
LIGHT = ("dataset.face.detector=center_crop", "dataset.audio.min_speech=0", "dataset.face.size=64")
LIMITS = load_config(env={}).limits
NAMES = sorted(playlists(Path("canary.mp4"), 1))
WATCHFUL = f"""
import socket, sys
from aura_model import decode_child
confine = decode_child.confine
decode_child.confine = lambda: confine({KILL})
decode_child.leave_network()
try:
    decode_child.serve(socket.socket(fileno=int(sys.argv[1])))
except EOFError:
    pass
"""
"""A decode child whose first try to open, connect or start anything ends it with SIGSYS, instead of failing."""


@dataclass
class Canary:
    """A file whose opening is noticed, by whatever process, and ports on which a connection or a datagram is."""

    file: Path
    watch: int
    server: socket.socket
    datagrams: socket.socket

    @property
    def port(self) -> int:
        return int(self.server.getsockname()[1])

    @property
    def sings(self) -> bool:
        """Whether anything was opened or connected since the last time."""
        return bool(select.select([self.watch, self.server, self.datagrams], [], [], 0)[0])


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    file = tmp_path_factory.mktemp("canary") / "canary.mp4"
    file.write_bytes((MEDIA / "one_frame.mp4").read_bytes())
    libc = ctypes.CDLL(None)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(watch, os.fsencode(file), 0x20) >= 0  # IN_OPEN
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(server.getsockname())
        yield Canary(file, watch, server, datagrams)
    os.close(watch)


@pytest.fixture(scope="module")
def files(canary: Canary) -> dict[str, bytes]:
    return playlists(canary.file, canary.port)


@pytest.fixture(scope="module")
def pool() -> Iterator[Sandbox]:
    """One watchful child."""

    def start(link: int) -> "subprocess.Popen[bytes]":
        path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.Popen(
            [sys.executable, "-P", "-c", WATCHFUL, str(link)], pass_fds=[link], env=ENVIRONMENT | path
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "_start", start)
        with Sandbox(load_config(env={}, overrides=LIGHT)) as found:
            found.load_clips(MEDIA / "one_frame.mp4")
            yield found


def outcome(pool: Sandbox, source: Path | bytes) -> str:
    try:
        pool.load_clips(source)
    except MediaError as error:
        return error.code
    return "clips"


def test_there_are_enough() -> None:
    assert len(NAMES) >= 90
    assert len({bytes(content) for content in playlists(Path("/tmp/canary.mp4"), 1).values()}) == len(NAMES)


def test_the_canary_sings(canary: Canary) -> None:
    assert not canary.sings
    canary.file.read_bytes()
    assert canary.sings
    os.read(canary.watch, 4096)
    socket.create_connection(("127.0.0.1", canary.port)).close()
    assert canary.sings
    canary.server.accept()[0].close()
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", canary.port))
    assert canary.sings
    canary.datagrams.recv(1)
    assert not canary.sings


@pytest.mark.parametrize("name", NAMES)
def test_a_child_looks_at_nothing_else(pool: Sandbox, files: dict[str, bytes], canary: Canary, name: str) -> None:
    code = outcome(pool, files[name])
    assert code != "decode_crashed"
    assert name not in SCRIPTS or code in {"invalid_video", "unsupported_container"}
    assert pool.replaced == 0
    assert not canary.sings


@pytest.mark.parametrize("suffix", [".m3u8", ".mpd", ".sdp", ".ffconcat", ".idx", ".avs", "%03d.png"])
def test_a_path_of_any_name_is_its_bytes(pool: Sandbox, files: dict[str, bytes], canary: Canary, suffix: str) -> None:
    path = canary.file.with_name("clip" + suffix)
    for name in ("hls relative", "ffconcat", "dash file", "sdp", "vobsub", "image pattern"):
        path.write_bytes(files[name])
        assert outcome(pool, path) in {"invalid_video", "unsupported_container"}
    path.write_bytes((MEDIA / "one_frame.mp4").read_bytes())
    assert outcome(pool, path) == "clips"
    assert pool.replaced == 0
    assert not canary.sings


@pytest.mark.parametrize("name", sorted(path.name for path in MEDIA.iterdir() if path.suffix not in {".py", ".md"}))
def test_a_watchful_child_lives_through_every_ordinary_file(pool: Sandbox, name: str) -> None:
    """Nothing that decoding needs is missing: no library comes late, none opens a file of its own."""
    assert outcome(pool, MEDIA / name) != "decode_crashed"
    assert pool.replaced == 0


def test_a_watchful_child_that_opens_something_is_dead() -> None:
    """The control: the same child, with a loader that opens a file."""
    loader = "decode_child.ClipLoader.load = lambda self, file, rng: open('/etc/passwd')\n"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        script = WATCHFUL.replace("decode_child.leave_network()\n", loader)
        command = [sys.executable, "-c", script, str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        child = sandbox.wire
        child.send(ours, child.Opening(config=load_config(env={}, overrides=LIGHT).plain(), threads=1))
        child.receive_message(ours, child.Header)
        with (MEDIA / "one_frame.mp4").open("rb") as file:
            child.send(ours, child.Request(seed=None, alarm=9), descriptor=file.fileno())
        assert process.wait(timeout=60) == -signal.SIGSYS


@pytest.mark.parametrize("name", ["hls file", "hls relative", "hls http", "hls key", "ffconcat", "ffconcat absolute"])
def test_where_the_list_of_formats_fails_that_of_protocols_holds(
    files: dict[str, bytes], canary: Canary, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """In this very process, which could open all of it."""
    monkeypatch.chdir(canary.file.parent)
    monkeypatch.setattr(media, "check_names", lambda head: None)
    monkeypatch.setattr(media, "CONTAINERS", f"{media.CONTAINERS},hls,concat,dash,sdp,imf")
    with pytest.raises(MediaError), media.open_media(io.BytesIO(files[name]), LIMITS):
        pass
    assert not canary.sings


# --- as uploads ---


def decoding(pool: Sandbox) -> FakeBackend:
    """A backend that opens uploads in a pool, as a FaceCropper does."""

    async def answer(content: npt.NDArray[np.uint8], seconds: float) -> Scored:
        await asyncio.to_thread(pool.load_clips, content.data)
        return make_scored()

    backend = FakeBackend()
    backend.answer = answer
    return backend


@pytest.mark.parametrize("filename", ["clip.m3u8", "http://127.0.0.1:{port}/a.m3u8", "concat:{file}", "../{name}"])
async def test_an_upload_named_like_a_playlist_is_its_bytes(
    pool: Sandbox, files: dict[str, bytes], canary: Canary, filename: str
) -> None:
    given = filename.format(port=canary.port, file=canary.file, name=canary.file.name)
    async with client_of(make_config(), decoding(pool)) as client:
        for name in sorted(SCRIPTS):
            reply = await client.post("/predict", files={"file": (given, files[name])})
            assert reply.status_code == 422
            assert reply.json()["code"] in {"invalid_video", "unsupported_container"}
        film = (MEDIA / "one_frame.mp4").read_bytes()
        assert (await client.post("/predict", files={"file": (given, film)})).status_code == 200
    assert pool.replaced == 0
    assert not canary.sings
