"""The decode child: a process that opens one untrusted file after another and can be killed at any moment.

Started by `aura_model.sandbox` with the number of an inherited socket; it ends when that closes.
"""

import ctypes
import os
import resource
import signal
import socket
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from pkgutil import walk_packages

import av
import cv2
import numpy as np

from aura_model import wire
from aura_model.clips import ClipLoader
from aura_model.errors import ConfigError, MediaError
from aura_model.media import check_ffmpeg
from aura_model.seccomp import confine
from aura_model.settings import parse_config

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PR_SET_NO_NEW_PRIVS = 38
OPEN_FILES = 64
NEVER_USED = frozenset({"av.__main__", "av.datasets"})


def leave_network() -> bool:
    """Move into an empty network namespace; False where the system does not allow it."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return any(libc.unshare(flags) == 0 for flags in (CLONE_NEWNET, CLONE_NEWUSER | CLONE_NEWNET))


def limit_resources(memory: int) -> None:
    """Bound memory (bytes of address space) and open files; forbid writing files and dumping core."""
    bounds = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, bound in bounds.items():
        hard = resource.getrlimit(kind)[1]
        least = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (least, least))


def serve(link: socket.socket) -> None:
    """Build the loader from the parent's first message, say so, then answer requests until the link closes."""
    opening = wire.receive_message(link, wire.Opening)
    config = parse_config(opening.config)
    cv2.setNumThreads(opening.threads)  # else one for each CPU, whose stacks alone could exceed the memory allowed
    try:
        check_ffmpeg()
        loader = ClipLoader(config, opening.threads)
    except ConfigError as error:
        wire.send(link, wire.Header(error=("config", error.detail[: wire.LARGEST_TEXT])))
        return
    import_the_rest()
    limit_resources(config.limits.child_memory_bytes)
    wire.send(link, wire.Header(notes=[] if confine() else [wire.UNCONFINED]))
    while True:
        request, descriptor = wire.receive_request(link)
        signal.alarm(request.alarm)  # ends this process even when its parent is gone
        rng = None if request.seed is None else np.random.default_rng(request.seed)
        wire.send(link, *load(loader, descriptor, rng))
        signal.alarm(0)


def import_the_rest() -> None:
    """Import what libraries import only when a file needs it: once the child is confined, they could not any more."""
    parts = (module.name for module in walk_packages(av.__path__, "av."))
    for name in ("numpy.ma", *(part for part in parts if part not in NEVER_USED)):
        import_module(name)


def load(loader: ClipLoader, descriptor: int, rng: np.random.Generator | None) -> tuple[wire.Header, list[wire.Array]]:
    """Load clips from an open file, which is closed; whatever it provokes becomes an answer."""
    try:
        with os.fdopen(descriptor, "rb") as file:
            return wire.encode(loader.load(file, rng))
    except MediaError as error:
        return wire.Header(error=(error.code, error.detail)), []
    except MemoryError:
        detail = "Decoding needs more memory than is allowed; send smaller frames."
        return wire.Header(error=("decode_out_of_memory", detail)), []
    except Exception:  # noqa: BLE001 the boundary between a hostile file and the service
        return wire.Header(error=("bug", traceback.format_exc(limit=-8)[-wire.LARGEST_TEXT :])), []


if __name__ == "__main__":
    leave_network()
    with suppress(EOFError, ConnectionError):
        serve(socket.socket(fileno=int(sys.argv[1])))
