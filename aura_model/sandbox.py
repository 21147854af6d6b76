"""The pool of decode children: untrusted media is opened in processes that can be killed, never in this one.

A child has a scrubbed environment and bounds on memory, files and time. Where the system allows that, it has no network
and no way to open a file by its name. It is replaced when it crashes, overruns its time or has served its number of
files. A file is handed over as an open descriptor, so that the child needs no path and no temporary file exists.
"""

import os
import queue
import signal
import socket
import stat
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from select import select
from types import TracebackType
from typing import Self

from aura_model import wire
from aura_model.clips import Clips
from aura_model.config import Config
from aura_model.errors import MEDIA_ERRORS, ConfigError, DecoderError, MediaError
from aura_model.logging import get_logger

GRACE = 5
"""Seconds after the parent's limit at which a child ends itself, should the parent be gone."""
START_SECONDS = 120.0
"""A child may take this long to load its networks."""
ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}


class Sandbox:
    """Runs `load_clips` in child processes; safe to call from several threads, one file a child at a time."""

    def __init__(self, config: Config, children: int = 1, threads: int = 1) -> None:
        """Start the children; they load their networks while this returns.

        Args:
            config: what is cut out, and the limits.
            children: how many files are opened at once.
            threads: threads of each child.

        Raises:
            DecoderError: a child cannot be started.
        """
        self._config = config
        self._threads = threads
        self._idle: queue.LifoQueue[_Child | None] = queue.LifoQueue()  # None: closed
        for _ in range(children):
            self._idle.put(_Child(config, threads))
        self._children = children
        self.replaced = 0
        """Children that died: of a file, of its time, or idle."""

    def load_clips(
        self, source: Path | bytes | memoryview, *, seed: int | None = None, seconds: float | None = None
    ) -> Clips:
        """Load the clips of one file in a child.

        Args:
            source: a path, or the bytes themselves.
            seed: draws the clip starts in training; None means evaluation.
            seconds: time left for this call, waiting for a child included; `limits.decode_seconds` bounds decoding.

        Raises:
            MediaError: the media cannot be used; nothing else for bad media.
            OSError: the path cannot be opened.
            ConfigError: the children cannot load their networks.
            DecoderError: a child does not start, or the sandbox is closed.
        """
        end = time.monotonic() + (seconds if seconds is not None else float("inf"))
        with _descriptor(source, self._config.limits.max_bytes) as descriptor, self._child(end) as child:
            return child.load(descriptor, seed, end)

    @contextmanager
    def _child(self, end: float) -> Iterator["_Child"]:
        """Lend a child; a dead one is replaced before and after, a spent one after."""
        child = self._take(end)
        try:
            child = self._renewed(child)
            yield child
        finally:
            with suppress(DecoderError):  # a process cannot be started now; the next call tries again
                child = self._renewed(child)
            self._idle.put(child)

    def _take(self, end: float) -> "_Child":
        try:
            child = self._idle.get(timeout=_left(end))
        except queue.Empty:
            raise MediaError("decode_timeout", "No decoder became free in time; try again later.") from None
        if child is None:
            self._idle.put(None)
            raise DecoderError("The sandbox is closed.")
        return child

    def _renewed(self, child: "_Child") -> "_Child":
        """The child, or a new one in its place."""
        if child.alive and child.files < self._config.limits.files_per_child:
            return child
        fresh = _Child(self._config, self._threads)
        self.replaced += not child.alive
        child.close()
        return fresh

    def close(self) -> None:
        """End every child; those at work are waited for. Whoever still waits for one gets a DecoderError."""
        while self._children:
            child = self._idle.get()
            if child:
                child.close()
                self._children -= 1
        self._idle.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Child:
    """One process and the link to it."""

    def __init__(self, config: Config, threads: int) -> None:
        self._config = config
        self._link, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = _start(theirs.fileno())
            except OSError as error:
                self._link.close()
                raise DecoderError(f"A decode child cannot be started: {error.strerror}.") from None
        self._finalizer = weakref.finalize(self, _end, self._process, self._link)
        self._start_by = time.monotonic() + START_SECONDS
        self._ready = False
        self._usable = True
        self.files = 0
        with suppress(OSError):  # one that has ended already is found when it is greeted
            wire.send(self._link, wire.Opening(config=config.plain(), threads=threads))

    @property
    def alive(self) -> bool:
        """Whether it can take a file: what a ready child says unasked would pass for the answer to the next one."""
        speaks = self._ready and bool(select([self._link], [], [], 0)[0])
        return self._usable and not speaks and self._process.poll() is None

    def load(self, descriptor: int, seed: int | None, end: float) -> Clips:
        """Load one file before the moment `end`; on failure the child is of no use afterwards."""
        self._await_ready(end)
        limit = max(0.01, min(self._config.limits.decode_seconds, end - time.monotonic()))
        self.files += 1
        self._usable = False  # until the whole answer is here
        try:
            wire.send(self._link, wire.Request(seed=seed, alarm=int(limit) + GRACE), descriptor=descriptor)
            answer = _Until(self._link, time.monotonic() + limit)
            header = wire.receive_message(answer, wire.Header)
            clips = None if header.error else wire.decode(answer, header, self._config.dataset)
        except TimeoutError:
            raise MediaError(
                "decode_timeout", f"Decoding took longer than {limit:.0f} s; send a shorter video."
            ) from None
        except (EOFError, ConnectionError, ValueError):
            raise self._end_of_child() from None
        self._usable = True
        if clips is None:
            raise _media_error(*(header.error or ("bug", "")))
        return clips

    def _await_ready(self, end: float) -> None:
        if self._ready:
            return
        try:
            header = self._greeting(end)
        except (EOFError, OSError, ValueError):
            self._usable = False
            raise DecoderError(f"A decode child did not start: {self._cause()}.") from None
        if header.error:
            self._usable = False
            raise ConfigError(header.error[1])
        if wire.UNCONFINED in header.notes:
            get_logger(__name__).warning("decode children keep all system calls: this machine has no seccomp")
        self._ready = True

    def _greeting(self, end: float) -> wire.Header:
        """The child's first message, which says that its networks are loaded; not waited for beyond `end`."""
        try:
            _Until(self._link, min(end, self._start_by)).recv_into(memoryview(bytearray(1)), socket.MSG_PEEK)
        except TimeoutError:
            if end < self._start_by:
                raise MediaError("decode_timeout", "No decoder became ready in time; try again later.") from None
            raise
        return wire.receive_message(_Until(self._link, self._start_by), wire.Header)

    def _end_of_child(self) -> MediaError:
        """What the end of the process says of the file. Its own excess of memory is an error, and no SIGKILL."""
        cause = self._cause()
        if self._process.returncode == -signal.SIGKILL:
            return MediaError("decode_out_of_memory", "The decoder was killed from outside; try again later.")
        return MediaError("decode_crashed", f"The decoder ended with {cause}; re-encode the file.")

    def _cause(self) -> str:
        """How the process ended, in a word."""
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout=1)
            return f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"status {code}"
        return "a garbled answer"

    def close(self) -> None:
        """End the process and reap it."""
        self._finalizer()


def _start(link: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "aura_model.decode_child", str(link)],
        pass_fds=[link],
        env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


class _Until:
    """Receives from a socket up to one moment, however often it is asked: a child that trickles gains no time."""

    def __init__(self, link: socket.socket, end: float) -> None:
        self._link = link
        self._end = end

    def recv_into(self, buffer: memoryview, flags: int = 0) -> int:
        """See `socket.recv_into`; raises TimeoutError when the moment has come."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._link.settimeout(left)
        return self._link.recv_into(buffer, 0, flags)


def _end(process: "subprocess.Popen[bytes]", link: socket.socket) -> None:
    link.close()
    process.kill()
    process.wait()


def _media_error(code: str, detail: str) -> MediaError:
    if code in MEDIA_ERRORS:
        return MediaError(code, detail)
    get_logger(__name__).bind(traceback=detail).warning("a file provoked an error that has no code of its own")
    return MediaError("decode_crashed", "The file provokes an error in the decoder; re-encode it and send it again.")


@contextmanager
def _descriptor(source: Path | bytes | memoryview, max_bytes: int) -> Iterator[int]:
    """An open, seekable descriptor of the source; only plain files are opened."""
    descriptor = (
        os.open(source, os.O_RDONLY | os.O_NONBLOCK) if isinstance(source, Path) else _in_memory(source, max_bytes)
    )
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise MediaError("invalid_video", "This is not a plain file.")
        yield descriptor
    finally:
        os.close(descriptor)


def _in_memory(content: bytes | memoryview, max_bytes: int) -> int:
    view = memoryview(content).cast("B")
    if len(view) > max_bytes:
        raise MediaError("file_too_large", f"The file has {len(view)} bytes; at most {max_bytes} are accepted.")
    descriptor = os.memfd_create("media")
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _left(end: float) -> float | None:
    left = end - time.monotonic()
    return None if left == float("inf") else max(0.0, left)
