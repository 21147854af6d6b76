"""A log file that several processes may write and rotate at once."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class RotatingFile:
    """Appends to `path`; a full file becomes `path.1`, the one before it `path.2`, and so on.

    loguru's own rotation assumes one writing process. A Ray node has several, and each would rename the others' file
    away. So each write opens the file, locks it, and looks whether it is still the one at `path`.

    Attributes:
        path: the current file.
        max_bytes: size at which it is rotated.
        keep: rotated files kept.
    """

    path: Path
    max_bytes: int = 10_000_000
    keep: int = 3

    def write(self, text: str) -> None:
        """Append the text, whole and in one piece.

        Raises:
            OSError: the file cannot be written.
        """
        data = text.encode("utf-8", "backslashreplace")
        while True:
            with self._locked() as file:
                if not self._is_current(file):
                    continue
                size = os.fstat(file.fileno()).st_size
                if size and size + len(data) > self.max_bytes:
                    self._rotate()
                    continue
                file.write(data)
                return

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        with self.path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def _is_current(self, file: BinaryIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        for number in range(self.keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self.path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")
