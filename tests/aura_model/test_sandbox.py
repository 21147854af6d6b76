"""The pool of decode children: it answers as `load_clips` does, and no child takes the parent with it."""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from loguru import logger

from aura_model import sandbox
from aura_model.clips import ClipLoader
from aura_model.errors import ConfigError, DecoderError, MediaError
from aura_model.sandbox import Sandbox
from aura_model.settings import load_config

MEDIA = Path(__file__).parents[1] / "media"
VIDEO = MEDIA / "one_frame.mp4"
LIGHT = ("dataset.face.detector=center_crop", "dataset.audio.enabled=false", "dataset.face.size=64")
"""No networks: a child starts sooner."""


def config(*overrides):
    return load_config(env={}, overrides=(*LIGHT, *overrides))


def read(name):
    return (MEDIA / name).read_bytes()


def processes(pool):
    """The idle children."""
    return [child._process for child in list(pool._idle.queue) if child]


def pid(pool):
    (process,) = processes(pool)
    return process.pid


def running(number):
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def dead(pool):
    """Whether the idle child has died and can be reaped; a process ends thread by thread."""
    return processes(pool)[0].poll() is not None


def eventually(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def open_files(number="self"):
    return len(list(Path(f"/proc/{number}/fd").iterdir()))


def refusal(pool, source, **how):
    with pytest.raises(MediaError) as error:
        pool.load_clips(source, **how)
    return error.value


@pytest.fixture(scope="module")
def shared():
    """One ready child, for tests that leave it alive."""
    with Sandbox(config()) as pool:
        pool.load_clips(VIDEO)
        yield pool


@pytest.fixture
def small():
    """A pool of one ready child for each test that kills it; a file may take two seconds."""
    with Sandbox(config("limits.decode_seconds=2")) as pool:
        pool.load_clips(VIDEO)
        yield pool


# --- the same answers as in process ---


@pytest.fixture(scope="module")
def whole():
    """The default configuration: in a child, and in process."""
    settings = load_config(env={})
    with Sandbox(settings) as pool:
        yield pool, ClipLoader(settings)


def arrays(clip):
    return clip.times, clip.frames, clip.boxes, clip.landmarks, clip.wave


def same(one, other):
    pairs = [
        pair for a, b in zip(one.clips, other.clips, strict=True) for pair in zip(arrays(a), arrays(b), strict=True)
    ]
    return (
        (one.media, one.notes, set(one.timings)) == (other.media, other.notes, set(other.timings))
        and [(c.seconds, c.track_id) for c in one.clips] == [(c.seconds, c.track_id) for c in other.clips]
        and all((a is b is None) or (a.dtype == b.dtype and np.array_equal(a, b)) for a, b in pairs)
    )


@pytest.mark.parametrize(
    "name",
    [
        "talking_face.mp4",
        "two_faces.mp4",
        "no_face_speech.mp4",
        "no_face.mp4",
        "audio_only.m4a",
        "face.webp",
        "vfr.mp4",
    ],
)
def test_a_child_gives_the_same_clips(whole, name):
    pool, loader = whole
    expected = loader.load(MEDIA / name, None)
    for source in (MEDIA / name, read(name), memoryview(read(name))):
        assert same(pool.load_clips(source), expected)


def test_a_seed_draws_the_same_starts(whole):
    pool, loader = whole
    for seed in (0, 7):
        expected = loader.load(MEDIA / "long_gop.mp4", np.random.default_rng(seed))
        assert same(pool.load_clips(MEDIA / "long_gop.mp4", seed=seed), expected)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("empty.mp4", "empty_file"),
        ("not_a_video.mp4", "invalid_video"),
        ("huge_frame.mp4", "resolution_too_large"),
        ("ten_hours.mp4", "too_long"),
        ("unknown_codec.mp4", "unsupported_codec"),
        ("one_pixel.webm", "resolution_too_small"),
    ],
)
def test_a_refusal_costs_no_child(shared, name, code):
    before = pid(shared)
    assert refusal(shared, MEDIA / name).code == code
    assert refusal(shared, read(name)).code == code
    assert pid(shared) == before
    assert shared.replaced == 0


# --- what is handed over ---


def test_a_missing_path_is_an_os_error(shared, tmp_path):
    with pytest.raises(FileNotFoundError):
        shared.load_clips(tmp_path / "missing.mp4")


def test_what_is_no_plain_file_is_refused_at_once(shared, tmp_path):
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, Path("/dev/zero")):
        assert refusal(shared, path).code == "invalid_video"


def test_a_link_to_a_file_is_followed(shared, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(VIDEO)
    assert shared.load_clips(link).media.width == 400


@pytest.mark.parametrize("kind", [bytes, memoryview, lambda content: memoryview(np.frombuffer(content, np.uint16))])
def test_too_many_bytes_are_refused_before_they_are_copied(impostor, kind):
    pool = impostor("take(); time.sleep(30)", "limits.max_bytes=1000")  # no child is asked
    assert refusal(pool, kind(bytes(1002))).code == "file_too_large"


def test_a_path_may_change_its_meaning_meanwhile(shared, tmp_path):
    """The child gets the open file, not its name."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(VIDEO.read_bytes())
    loaded = shared.load_clips(path)
    path.unlink()
    path.write_bytes(b"other")
    assert loaded.media.bytes == VIDEO.stat().st_size


def test_no_descriptor_leaks(shared, tmp_path):
    def burden():
        for source in (VIDEO, VIDEO.read_bytes(), tmp_path, MEDIA / "empty.mp4"):
            with contextlib.suppress(MediaError):
                shared.load_clips(source)

    burden()
    before = open_files()
    for _ in range(5):
        burden()
    assert open_files() == before
    assert open_files(pid(shared)) < 12


def test_a_copy_that_fails_leaks_nothing(shared, monkeypatch):
    def full(descriptor, view):
        raise OSError(28, "No space left on device")

    before = open_files()
    monkeypatch.setattr(sandbox.os, "write", full)
    with pytest.raises(OSError, match="No space"):
        shared.load_clips(b"content")
    assert open_files() == before


# --- a child that dies ---


def test_a_child_that_died_idle_is_replaced_before_it_is_asked(small):
    """The next file is not to blame."""
    first = pid(small)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: dead(small))
    assert small.load_clips(VIDEO).clips
    assert pid(small) != first
    assert small.replaced == 1


def test_a_child_killed_at_work_costs_this_file_only(small):
    first = pid(small)
    os.kill(first, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        child = small._idle.queue[0]
        pending = thread.submit(refusal, small, VIDEO)
        eventually(lambda: not child._usable)
        os.kill(first, signal.SIGKILL)
        error = pending.result(timeout=30)
    assert error.code == "decode_out_of_memory"  # most often; no fault of the file's that would be remembered
    assert "killed from outside" in error.detail
    assert small.load_clips(VIDEO).clips
    assert small.replaced == 1


def test_a_child_that_overruns_its_time_is_killed_and_replaced(small):
    first = pid(small)
    os.kill(first, signal.SIGSTOP)
    error = refusal(small, VIDEO)
    assert error.code == "decode_timeout"
    assert "2 s" in error.detail
    assert not running(first)
    assert small.load_clips(VIDEO).clips
    assert small.replaced == 1


def test_the_callers_time_counts_too(shared):
    with Sandbox(config()) as pool:
        pool.load_clips(VIDEO)
        os.kill(pid(pool), signal.SIGSTOP)
        assert refusal(pool, VIDEO, seconds=0.3).code == "decode_timeout"
        assert pool.load_clips(VIDEO, seconds=60).clips


def test_a_child_is_replaced_after_its_number_of_files():
    with Sandbox(config("limits.files_per_child=2")) as pool:
        seen = []
        for _ in range(5):
            pool.load_clips(VIDEO)
            seen.append(pid(pool))
        assert len(set(seen)) == 3  # who will serve next, after each file
        assert seen[1] == seen[2]
        assert seen[3] == seen[4]
        assert pool.replaced == 0
        assert not running(seen[0])


def test_refused_files_count_as_well():
    with Sandbox(config("limits.files_per_child=1")) as pool:
        first = pid(pool)
        refusal(pool, MEDIA / "empty.mp4")
        assert pid(pool) != first


def test_memory_that_runs_out_costs_this_file_only(small, films):
    large = films.film("mp4", films.Pictures(range(12), size=(3072, 1728), options={"preset": "ultrafast"}))
    used = psutil.Process(pid(small)).memory_info().vms
    with Sandbox(config(f"limits.child_memory_bytes={used + 40_000_000}")) as pool:
        assert pool.load_clips(VIDEO).clips
        assert refusal(pool, large).code in {"decode_out_of_memory", "decode_crashed"}
        assert pool.load_clips(VIDEO).clips
    assert small.load_clips(large).clips


def test_hardly_any_memory_is_an_error_of_the_service():
    with Sandbox(config("limits.child_memory_bytes=1")) as pool, pytest.raises((DecoderError, MediaError)):
        pool.load_clips(VIDEO)


# --- a child that lies ---

READY = b"\2\0\0\0\0\0\0\0{}"
PRELUDE = """
import json, os, socket, struct, sys, time
link = socket.socket(fileno=int(sys.argv[1]))
def take():
    size = struct.unpack("<Q", link.recv(8, socket.MSG_WAITALL))[0]
    link.recv(size, socket.MSG_WAITALL)
MEDIA = {"sha256": "0" * 64, "bytes": 5, "container": "avi", "duration": 2.5, "width": 64, "height": 48, "fps": 25.0,
         "rotation": 0, "video_codec": "h264", "audio_codec": None}
FACE = {"track_id": 0, "sound": False}
def say(value, more=b""):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    link.sendall(struct.pack("<Q", len(body)) + body + more)
"""


@pytest.fixture
def impostor(monkeypatch):
    """A pool whose children run a script of ours instead."""
    pools = []

    def start(script, *overrides):
        def popen(link):
            return subprocess.Popen([sys.executable, "-S", "-c", PRELUDE + script, str(link)], pass_fds=[link])

        monkeypatch.setattr(sandbox, "_start", popen)
        pools.append(Sandbox(config("limits.decode_seconds=1", *overrides)))
        return pools[-1]

    yield start
    for pool in pools:
        pool.close()


ANSWER = """
take(); say({}); take()
"""


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("say({})", "decode_crashed"),  # clips of no media
        ("say(b'garbage')", "decode_crashed"),
        ("say(b'[' * 100_000)", "decode_crashed"),
        ("say({'notes': ['rm -rf']})", "decode_crashed"),
        ("say({'error': ['too_long', 'It lasts.']}); take()", "too_long"),
        ("say({'error': ['made_up', 'x']}); take()", "decode_crashed"),
        ("say({'error': ['config', 'x']}); take()", "decode_crashed"),
        ("say({'error': ['bug', 'x']}); take()", "decode_crashed"),
        ("say({'error': ['too_long', 'x' * 5000]})", "decode_crashed"),
        ("link.sendall(b'\\xff' * 8)", "decode_crashed"),
        ("say({'media': MEDIA, 'clips': [FACE] * 1000})", "decode_crashed"),
        ("say({'media': MEDIA, 'clips': [FACE] * 4}); link.sendall(bytes(1000)); link.close()", "decode_crashed"),
        ("say({'media': MEDIA, 'clips': [FACE]}); link.sendall(b'\\xff' * 10_000_000)", "decode_crashed"),  # no times
        ("say({'media': MEDIA, 'clips': [FACE]})\nwhile True: link.sendall(b'x'); time.sleep(0.05)", "decode_timeout"),
        ("link.close()", "decode_crashed"),
        ("sys.exit(3)", "decode_crashed"),
        ("os.abort()", "decode_crashed"),
        ("time.sleep(30)", "decode_timeout"),
        ("link.sendall(b'\\0\\1\\0\\0'); time.sleep(30)", "decode_timeout"),
        ("link.sendall(struct.pack('<Q', 1 << 20))\nwhile True: link.sendall(b' '); time.sleep(0.1)", "decode_timeout"),
    ],
)
def test_a_lying_child_costs_this_file_only(impostor, script, code):
    assert refusal(impostor(ANSWER + script), b"content").code == code


@pytest.mark.parametrize("more", ["struct.pack('<Q', 2) + b'{}'", "bytes(100_000_000)"])
def test_what_a_child_says_unasked_is_no_answer_to_the_next_file(impostor, more):
    pool = impostor(ANSWER + "say({'media': MEDIA}, " + more + "); take()")
    assert pool.load_clips(b"content").media.width == 64
    assert pool.load_clips(b"content").media.width == 64
    assert pool.replaced >= 1


def test_a_confined_child_has_a_filter(shared):
    modes = [line for line in Path(f"/proc/{pid(shared)}/status").read_text().splitlines() if line.startswith("Sec")]
    assert "Seccomp:\t2" in modes


def test_what_a_file_would_load_is_not_missed(shared, films):
    """For the name of a transport stream's service FFmpeg asks the C library to load a converter of characters."""
    assert shared.load_clips(films.film("mpegts", films.Pictures(range(5)))).clips


def test_a_child_that_cannot_be_confined_is_said_once(impostor):
    messages = []
    sink = logger.add(lambda message: messages.append(message.record["message"]), level="WARNING")
    try:
        pool = impostor("take(); say({'notes': ['unconfined']})\nwhile True: take(); say({'media': MEDIA})")
        for _ in range(3):
            pool.load_clips(b"content")
    finally:
        logger.remove(sink)
    (message,) = messages
    assert "seccomp" in message


def test_a_bug_is_logged_with_its_traceback_and_not_told_to_the_client(impostor):
    records = []
    sink = logger.add(lambda message: records.append(message.record), level="WARNING")
    try:
        pool = impostor(ANSWER + "say({'error': ['bug', 'Traceback: secret']}); take()")
        error = refusal(pool, b"content")
    finally:
        logger.remove(sink)
    assert error.code == "decode_crashed"
    assert "secret" not in error.detail
    (record,) = records
    assert record["extra"]["traceback"] == "Traceback: secret"
    assert record["extra"]["name"] == "aura_model.sandbox"


@pytest.mark.parametrize("end", ["sys.exit(5)", "link.close()", "say(b'nonsense')", "os.abort()"])
def test_a_child_that_does_not_start_is_an_error_of_the_service(impostor, end):
    pool = impostor("take(); " + end)
    for _ in range(2):
        with pytest.raises(DecoderError, match="did not start"):
            pool.load_clips(VIDEO)


def test_networks_that_are_missing_are_an_error_of_the_configuration(impostor):
    pool = impostor("take(); say({'error': ['config', 'pip install mtcnn']})")
    with pytest.raises(ConfigError, match="pip install mtcnn"):
        pool.load_clips(VIDEO)


def test_a_child_that_starts_slowly_is_waited_for_as_long_as_the_caller_can(impostor):
    pool = impostor("take(); time.sleep(30)")
    first = pid(pool)
    error = refusal(pool, VIDEO, seconds=0.2)
    assert error.code == "decode_timeout"
    assert "became ready" in error.detail
    assert pid(pool) == first  # and goes on starting
    assert pool.replaced == 0


def test_a_child_may_take_only_so_long_to_start(impostor, monkeypatch):
    monkeypatch.setattr(sandbox, "START_SECONDS", 0.2)
    pool = impostor("take(); time.sleep(30)")
    with pytest.raises(DecoderError, match="did not start"):
        pool.load_clips(VIDEO)


def test_a_child_that_cannot_be_replaced_now_is_replaced_later(small, monkeypatch):
    def refuse(link):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "_start", refuse)
        os.kill(pid(small), signal.SIGKILL)
        eventually(lambda: dead(small))
        for _ in range(2):
            with pytest.raises(DecoderError, match="temporarily unavailable"):
                small.load_clips(VIDEO)
    assert small.load_clips(VIDEO).clips


# --- what a child may do ---


def test_the_environment_is_scrubbed(monkeypatch):
    monkeypatch.setenv("AURA_CANARY_TOKEN", "canary")
    monkeypatch.setenv("LD_PRELOAD", "")
    with Sandbox(config()) as pool:
        pool.load_clips(VIDEO)
        content = Path(f"/proc/{pid(pool)}/environ").read_bytes()
    assert b"canary" not in content
    names = {entry.partition(b"=")[0].decode() for entry in content.split(b"\0") if entry}
    assert names == {*sandbox.ENVIRONMENT, "PYTHONPATH"}


def test_the_limits_are_those_of_the_configuration():
    with Sandbox(config("limits.child_memory_bytes=1500000000")) as pool:
        pool.load_clips(VIDEO)
        process = psutil.Process(pid(pool))
        assert process.rlimit(psutil.RLIMIT_AS) == (1_500_000_000,) * 2
        assert process.rlimit(psutil.RLIMIT_NOFILE) == (64, 64)
        assert process.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)


def test_a_child_has_no_network_of_ours(shared):
    theirs, ours = (Path(f"/proc/{number}/ns/net").readlink() for number in (pid(shared), "self"))
    if theirs == ours:
        pytest.skip("this system does not let a process leave the network")
    assert "NoNewPrivs:\t1" in Path(f"/proc/{pid(shared)}/status").read_text()


def test_a_child_sits_in_no_folder_and_holds_no_file_of_ours(shared, tmp_path):
    with (tmp_path / "open").open("w"):
        shared.load_clips(VIDEO)
        child = Path(f"/proc/{pid(shared)}")
        held = [entry.readlink() for entry in (child / "fd").iterdir()]
    assert (child / "cwd").readlink() == Path("/")
    assert (child / "fd" / "1").readlink() == Path("/dev/null")
    assert not [path for path in held if path.is_relative_to(tmp_path) or path.is_relative_to(MEDIA)]


def test_threads_stay_as_configured(shared):
    shared.load_clips(MEDIA / "talking_face.mp4")
    assert psutil.Process(pid(shared)).num_threads() <= 2


# --- many callers ---


def test_four_threads_share_two_children():
    names = ["one_frame.mp4", "talking_face.mp4", "empty.mp4", "vfr.mp4", "face.png", "not_a_video.mp4"] * 2
    loader = ClipLoader(config())

    def outcome(load, name):
        try:
            return load(MEDIA / name)
        except MediaError as error:
            return error.code

    expected = {name: outcome(lambda path: loader.load(path, None), name) for name in set(names)}
    with Sandbox(config(), children=2) as pool, ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda name: outcome(pool.load_clips, name), names))
        assert len(processes(pool)) == 2
        assert pool.replaced == 0
    for name, value in zip(names, found, strict=True):
        assert value == expected[name] if isinstance(value, str) else same(value, expected[name])


def test_who_gets_no_child_in_time_is_told_so(small):
    os.kill(pid(small), signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        busy = thread.submit(refusal, small, VIDEO)
        eventually(small._idle.empty)
        error = refusal(small, VIDEO, seconds=0.1)
        assert error.code == "decode_timeout"
        assert "became free" in error.detail
        assert busy.result(timeout=30).code == "decode_timeout"
    assert small.load_clips(VIDEO).clips


def test_deaths_under_load_lose_no_child():
    with Sandbox(config("limits.decode_seconds=20"), children=2) as pool, ThreadPoolExecutor(4) as threads:
        stop = threading.Event()

        def kill_one_now_and_then():
            while not stop.wait(0.3):
                for process in processes(pool)[:1]:
                    process.kill()

        killer = threading.Thread(target=kill_one_now_and_then)
        killer.start()
        try:
            found = list(threads.map(lambda _: attempt(pool), range(24)))
        finally:
            stop.set()
            killer.join()
        assert len(processes(pool)) == 2
        assert pool.load_clips(VIDEO).clips
    assert set(found) <= {"clips", "decode_crashed", "decode_out_of_memory"}
    assert "clips" in found


def attempt(pool):
    try:
        return "clips" if pool.load_clips(VIDEO).clips else "nothing"
    except MediaError as error:
        return error.code
    except DecoderError:  # killed before it was ready
        return "decode_out_of_memory"


# --- the end ---


def test_close_ends_and_reaps_every_child():
    pool = Sandbox(config(), children=3)
    children = [process.pid for process in processes(pool)]
    assert len(set(children)) == 3
    pool.close()
    assert not [number for number in children if psutil.pid_exists(number)]


def test_a_closed_pool_says_so():
    pool = Sandbox(config())
    pool.close()
    pool.close()
    for _ in range(4):
        with pytest.raises(DecoderError, match="closed"):
            pool.load_clips(VIDEO)


def test_closing_waits_for_work_and_wakes_who_waits(small):
    os.kill(pid(small), signal.SIGSTOP)
    with ThreadPoolExecutor(3) as threads:
        busy = threads.submit(refusal, small, VIDEO)
        eventually(small._idle.empty)
        closing = threads.submit(small.close)
        waiting = threads.submit(small.load_clips, VIDEO)
        assert busy.result(timeout=60).code == "decode_timeout"
        closing.result(timeout=60)
        error = waiting.exception(timeout=60)  # none where it came before the closing
        assert error is None or "closed" in str(error)


def test_a_forgotten_pool_leaves_no_child():
    pool = Sandbox(config())
    child = pid(pool)
    del pool
    gc.collect()
    assert not psutil.pid_exists(child)


PARENT = f"""
import json, os, signal, sys, time
from pathlib import Path
from aura_model.settings import load_config
from aura_model.sandbox import Sandbox
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell starts with it ignored
pool = Sandbox(load_config(env={{}}, overrides={LIGHT!r}), children=1)
pids = [child._process.pid for child in pool._idle.queue]
for _ in pids:
    pool.load_clips(Path({str(VIDEO)!r}))
print(json.dumps(pids), flush=True)
"""


def parent(script):
    """A process of its own session with a pool; the children's numbers."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT + script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    return process, json.loads(process.stdout.readline())


def test_children_end_with_a_parent_that_is_killed():
    process, children = parent("time.sleep(60)")
    with process:
        assert all(running(number) for number in children)
        process.kill()
    eventually(lambda: not any(running(number) for number in children))


@pytest.mark.parametrize("script", ["", "raise SystemError"])
def test_children_end_with_a_parent_that_ends(script):
    process, children = parent(script + "\n")
    process.stdin.close()
    process.stdout.close()
    process.wait(timeout=60)
    eventually(lambda: not any(running(number) for number in children))


def test_an_interrupt_of_the_parents_group_leaves_the_children_alone():
    process, children = parent(
        f"""
try:
    print("listening", flush=True)
    sys.stdin.readline()
except KeyboardInterrupt:
    pass
pool.load_clips(Path({str(VIDEO)!r}))
print(json.dumps([child._process.pid for child in pool._idle.queue]), flush=True)
pool.close()
"""
    )
    with process:
        assert process.stdout.readline() == "listening\n"
        os.killpg(process.pid, signal.SIGINT)
        assert sorted(json.loads(process.stdout.readline())) == sorted(children)
        assert process.wait(timeout=60) == 0
