"""Files that crashed a decode child, remembered for a while so that the next copy costs none."""

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aura_model.errors import MediaError

MOST = 4096
"""Files remembered at once; beyond that the oldest is forgotten."""


class Crashes:
    """Digests of files, each with the moment at which it is forgotten. Safe to use from several threads."""

    def __init__(self, seconds: float, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        """Remember each file for `seconds`; nothing where they are 0."""
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._until: dict[str, float] = {}  # the oldest first
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        """Whether any file is remembered: without one, nothing needs to be hashed."""
        with self._lock:
            self._forget()
            return bool(self._until)

    def __contains__(self, digest: str) -> bool:
        with self._lock:
            self._forget()
            return digest in self._until

    def add(self, digest: str) -> None:
        """Remember a file from now on; one that is known already, anew."""
        with self._lock:
            self._until.pop(digest, None)
            if self._seconds > 0:
                self._until[digest] = self._clock() + self._seconds
            self._forget()

    def _forget(self) -> None:
        now = self._clock()
        while self._until and (len(self._until) > self._most or next(iter(self._until.values())) <= now):
            del self._until[next(iter(self._until))]


def digest_of(source: Path | npt.NDArray[np.uint8]) -> str:
    """The SHA-256 of a file or of bytes `[N]`, hexadecimal.

    Raises:
        OSError: the path cannot be read.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(source.data).hexdigest()


def crashed_before() -> MediaError:
    """The answer to a remembered file."""
    return MediaError(
        "decode_crashed", "This very file crashed the decoder before and was not opened again; re-encode it."
    )
