"""What happens inside a decode child, seen from inside."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from aura_model import decode_child, media, wire
from aura_model.clips import Clips
from aura_model.errors import ConfigError, MediaError
from aura_model.media import MediaInfo
from aura_model.settings import load_config

MEDIA = Path(__file__).parents[1] / "media"
CONFIG = load_config(env={})
INFO = MediaInfo(
    sha256="0" * 64,
    bytes=5,
    container="avi",
    duration=2.5,
    width=64,
    height=48,
    fps=25.0,
    rotation=0,
    video_codec="h264",
    audio_codec=None,
)
EMPTY = Clips((), INFO, ("no_face",), {"open": 0.5})


class Stub:
    """A loader that notes what it is given, and returns or raises what it was told."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.read = []
        self.draws = []

    def load(self, file, rng):
        self.read.append(file.read())
        self.draws.append(None if rng is None else float(rng.uniform()))
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def descriptor(tmp_path, content=b"bytes"):
    path = tmp_path / "file"
    path.write_bytes(content)
    return os.open(path, os.O_RDONLY)


def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


# --- one file ---


def test_clips_become_a_header_and_arrays(tmp_path):
    number = descriptor(tmp_path)
    loader = Stub(EMPTY)
    header, arrays = decode_child.load(loader, number, None)
    assert (header, arrays) == wire.encode(EMPTY)
    assert loader.read == [b"bytes"]
    assert not is_open(number)


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (MediaError("too_long", "It lasts."), "too_long", "It lasts."),
        (MemoryError(), "decode_out_of_memory", "memory"),
        (ValueError("a bug of ours"), "bug", "a bug of ours"),
        (RecursionError("deep"), "bug", "deep"),
        (OSError("disk"), "bug", "disk"),
        (AssertionError(), "bug", "AssertionError"),
    ],
)
def test_whatever_a_file_provokes_is_an_answer(tmp_path, raised, code, text):
    number = descriptor(tmp_path)
    header, arrays = decode_child.load(Stub(raised), number, None)
    assert header.error[0] == code
    assert text in header.error[1]
    assert header.media is None
    assert arrays == []
    assert not is_open(number)


def test_a_bug_comes_with_the_end_of_its_traceback(tmp_path):
    header, _ = decode_child.load(Stub(ValueError("x" * 10_000 + "the end")), descriptor(tmp_path), None)
    assert header.error[1].rstrip().endswith("the end")
    assert len(header.error[1]) == wire.LARGEST_TEXT
    header, _ = decode_child.load(Stub(ValueError("short")), descriptor(tmp_path), None)
    assert "Traceback" in header.error[1]
    assert "in load" in header.error[1]


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(3)])
def test_the_wish_to_end_is_no_answer(tmp_path, raised):
    with pytest.raises(type(raised)):
        decode_child.load(Stub(raised), descriptor(tmp_path), None)


# --- the conversation ---


class Talk:
    """A child's `serve` in a thread, without what changes this process."""

    def __init__(self, monkeypatch, loader, confined=True):
        self.alarms = []
        self.confined = confined
        self.limits = []
        self.pools = []
        self.opened = []

        def build(config, threads):
            self.opened.append((config, threads))
            if isinstance(loader, Exception):
                raise loader
            return loader

        monkeypatch.setattr(decode_child, "ClipLoader", build)
        monkeypatch.setattr(decode_child.signal, "alarm", self.alarms.append)
        monkeypatch.setattr(decode_child, "limit_resources", self.limits.append)
        monkeypatch.setattr(decode_child, "confine", self._confine)
        monkeypatch.setattr(decode_child.cv2, "setNumThreads", self.pools.append)
        self.link, theirs = socket.socketpair()
        self.link.settimeout(10)
        self._theirs = theirs
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        self.ended = None
        with self._theirs:
            try:
                decode_child.serve(self._theirs)
            except (EOFError, ConnectionError) as error:
                self.ended = error

    def _confine(self):
        """Afterwards no file can be opened, so what libraries import late is there by now."""
        assert sys.modules.keys() >= {
            "numpy.ma",
            "av.subtitles.stream",
            "av.subtitles.codeccontext",
            "av.sidedata.encparams",
        }
        assert self.limits
        return self.confined

    def hello(self, threads=1):
        wire.send(self.link, wire.Opening(config=CONFIG.plain(), threads=threads))
        return wire.receive_message(self.link, wire.Header)

    def ask(self, number, seed=None, alarm=9):
        wire.send(self.link, wire.Request(seed=seed, alarm=alarm), descriptor=number)
        os.close(number)
        return wire.receive_message(self.link, wire.Header)

    def end(self):
        self.link.close()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def talk(monkeypatch):
    talks = []

    def start(loader, **settings):
        talks.append(Talk(monkeypatch, loader, **settings))
        return talks[-1]

    yield start
    for one in talks:
        one.end()


def test_a_child_says_when_it_is_ready_and_then_answers(talk, tmp_path):
    loader = Stub(EMPTY, MediaError("too_long", "It lasts."), EMPTY)
    child = talk(loader)
    assert child.hello(threads=3) == wire.Header()
    assert child.opened == [(CONFIG, 3)]
    assert child.limits == [CONFIG.limits.child_memory_bytes]
    assert child.pools == [3]
    assert child.ask(descriptor(tmp_path)).media == INFO
    assert child.ask(descriptor(tmp_path)).error == ("too_long", "It lasts.")
    assert child.ask(descriptor(tmp_path)).notes == ["no_face"]
    child.end()
    assert isinstance(child.ended, EOFError)


def test_an_alarm_runs_during_each_file_and_not_between(talk, tmp_path):
    child = talk(Stub(EMPTY, EMPTY))
    child.hello()
    child.ask(descriptor(tmp_path), alarm=7)
    child.ask(descriptor(tmp_path), alarm=11)
    child.end()
    assert child.alarms == [7, 0, 11, 0]


def test_the_seed_fixes_the_draws(talk, tmp_path):
    loader = Stub(EMPTY, EMPTY, EMPTY, EMPTY)
    child = talk(loader)
    child.hello()
    for seed in (5, 5, 6, None):
        child.ask(descriptor(tmp_path), seed=seed)
    assert loader.draws[0] == loader.draws[1] == float(np.random.default_rng(5).uniform())
    assert loader.draws[2] != loader.draws[0]
    assert loader.draws[3] is None


def test_networks_that_are_missing_are_said_and_end_the_child(talk):
    child = talk(ConfigError("pip install mtcnn" + "!" * 10_000))
    code, detail = child.hello().error
    assert code == "config"
    assert detail.startswith("pip install mtcnn")
    assert child.link.recv(1) == b""


def test_a_child_that_keeps_all_system_calls_says_so(talk):
    assert talk(Stub(), confined=False).hello() == wire.Header(notes=["unconfined"])


def test_an_ffmpeg_with_holes_opens_nothing(talk, monkeypatch):
    monkeypatch.setattr(media, "OLDEST_FFMPEG", (99,))
    child = talk(Stub())
    code, detail = child.hello().error
    assert code == "config"
    assert "must be 99 or newer" in detail
    assert not child.opened


# --- limits, in a process of its own ---


def run(script, *, inherited=()):
    """What a script prints as JSON."""
    found = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60, pass_fds=inherited
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def test_limits_are_set_and_cannot_be_raised():
    limits = run("""
import json, resource
from aura_model.decode_child import limit_resources
limit_resources(3 << 30)
names = ["RLIMIT_AS", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_CORE"]
print(json.dumps({name: resource.getrlimit(getattr(resource, name)) for name in names}))
""")
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    memory = 3 << 30 if hard == resource.RLIM_INFINITY else min(3 << 30, hard)
    assert limits == {
        "RLIMIT_AS": [memory] * 2,
        "RLIMIT_NOFILE": [64, 64],
        "RLIMIT_FSIZE": [0, 0],
        "RLIMIT_CORE": [0, 0],
    }


def test_a_lower_limit_from_outside_is_kept():
    assert run("""
import json, resource
from aura_model.decode_child import limit_resources
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
limit_resources(3 << 30)
print(json.dumps(resource.getrlimit(resource.RLIMIT_NOFILE)))
""") == [32, 32]


def test_no_file_can_be_written(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    refused = run(f"""
import json, os
from aura_model.decode_child import limit_resources
limit_resources(3 << 30)
refused = []
for target in ({str(path)!r}, {str(tmp_path / "new")!r}):
    number = os.open(target, os.O_WRONLY | os.O_CREAT)
    try:
        os.write(number, b"x")
    except OSError as error:
        refused.append(error.errno)
memory = os.memfd_create("memory")
try:
    os.write(memory, b"x")
except OSError as error:
    refused.append(error.errno)
print(json.dumps(refused))
""")
    assert refused == [27, 27, 27]  # EFBIG
    assert path.read_bytes() == b"content"


def test_memory_that_is_not_granted_is_a_memory_error():
    assert (
        run("""
import json
import numpy as np
from aura_model.decode_child import limit_resources
limit_resources(3 << 30)
try:
    np.ones(1 << 30)
except MemoryError:
    print(json.dumps("MemoryError"))
""")
        == "MemoryError"
    )


def test_there_is_no_network_where_the_system_can_take_it_away():
    left, interfaces, privileges = run("""
import json
from pathlib import Path
from aura_model.decode_child import leave_network
left = leave_network()
interfaces = [line.split(":")[0].strip() for line in Path("/proc/self/net/dev").read_text().splitlines()[2:]]
privileges = [l.split()[1] for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("NoNewPrivs")]
print(json.dumps([left, interfaces, privileges]))
""")
    assert privileges == ["1"]
    if not left:
        pytest.skip("this system does not let a process leave the network")
    assert set(interfaces) <= {
        "lo",
        "tunl0",
        "sit0",
        "ip6tnl0",
        "gre0",
        "gretap0",
        "erspan0",
        "ip_vti0",
        "ip6_vti0",
        "ip6gre0",
    }


# --- as a program ---


def program(*messages):
    """Start the module, send it messages, close the link, and wait for its end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "aura_model.decode_child", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stderr=subprocess.PIPE,
        )
        theirs.close()
        for message in messages:
            ours.sendall(message)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors.decode()


def test_a_child_ends_quietly_with_its_link():
    assert program() == (0, "")


@pytest.mark.parametrize("message", [b"\xff" * 8, b"\2\0\0\0\0\0\0\0{}", b"\4\0\0\0\0\0\0\0null"])
def test_a_child_that_is_not_spoken_to_properly_ends(message):
    code, errors = program(message)
    assert code == 1
    assert "Error" in errors


def test_a_child_ends_itself_when_its_alarm_rings(tmp_path):
    """Should the parent be gone, so that nobody else does."""
    path = tmp_path / "slow.py"
    path.write_text("""
import socket, sys, time
from aura_model import decode_child
class Slow:
    def __init__(self, config, threads): pass
    def load(self, file, rng): time.sleep(60)
decode_child.ClipLoader = Slow
decode_child.serve(socket.socket(fileno=int(sys.argv[1])))
""")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen([sys.executable, str(path), str(theirs.fileno())], pass_fds=[theirs.fileno()])
        ours.settimeout(60)
        wire.send(ours, wire.Opening(config=CONFIG.plain(), threads=1))
        wire.receive_message(ours, wire.Header)
        number = descriptor(tmp_path)
        wire.send(ours, wire.Request(seed=None, alarm=1), descriptor=number)
        os.close(number)
        assert process.wait(timeout=60) == -signal.SIGALRM
