"""Files that are whole or not there: written beside, flushed to disk, then renamed."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path, prefix: str) -> Iterator[BinaryIO]:
    """Open a temporary file `{prefix}*.tmp` beside `path`; it takes the place of `path` when the block ends well.

    On an exception nothing is left behind and `path` is as before. A killed process leaves its temporary file; the
    next call for that folder removes it, and knows it by its lock, which died with the process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent, prefix)
    temporary, file = _create_locked(path.parent, prefix)
    try:
        with file:
            yield file
            file.flush()
            _keep_mode(path, file)
            os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _create_locked(folder: Path, prefix: str) -> tuple[Path, BinaryIO]:
    while True:
        temporary = folder / f"{prefix}{secrets.token_hex(8)}.tmp"
        file = temporary.open("x+b")
        with suppress(OSError):  # a file system without locks: then nothing is swept either
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:  # no sweep came between the two calls
            return temporary, file
        file.close()


def _sweep(folder: Path, prefix: str) -> None:
    for stale in folder.glob(f"{prefix}*.tmp"):
        # a live writer holds the lock, another sweep was faster, or the file is someone else's
        with suppress(OSError), stale.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stale.unlink()


def _keep_mode(path: Path, file: BinaryIO) -> None:
    with suppress(FileNotFoundError):
        os.fchmod(file.fileno(), path.stat().st_mode & 0o7777)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
