"""The files of a store, in a local folder or behind a URI: a file there is whole, or it is not there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast

import pyarrow as pa
from pyarrow.fs import LocalFileSystem

from aura_model.atomic import replacing
from training.data.errors import DatasetError
from training.data.locations import list_files, locate, plain_errors

STORE_ERRORS = {
    "store_missing": "There is no store at this place, or it holds no clips.",
    "store_unreachable": "The place of the store cannot be reached.",
    "store_unwritable": "A file of the store cannot be written.",
    "store_damaged": "A file of the store cannot be read, or is not one of a store.",
    "store_mixed": "The store holds a video twice, or otherwise than the data set names it.",
    "video_unknown": "The store does not hold this video.",
}
"""Every code a `StoreError` may carry."""
TEMPORARY = ".unfinished-"
"""Prefix of the names of files that are being written."""


class StoreError(DatasetError):
    """The store of clips cannot be used; `code` is a key of `STORE_ERRORS`, `detail` names the place."""


class StoreFiles:
    """The folder of a store."""

    def __init__(self, location: str) -> None:
        """Open the folder at `location`: a path, or a URI such as `s3://bucket/folder`.

        Raises:
            StoreError: store_unreachable.
        """
        self.location = location
        try:
            self._system, self._folder = locate(location)
        except OSError as error:
            raise StoreError("store_unreachable", str(error)) from None
        if isinstance(self._system, LocalFileSystem):
            self._folder = self.location = str(Path(self._folder).expanduser().resolve())

    def names(self, ending: str) -> list[str]:
        """The names of the finished files with this ending, sorted; none where there is no folder.

        Raises:
            StoreError: store_unreachable.
        """
        try:
            with plain_errors(self.location):
                found = list_files(self._system, self._folder)
        except OSError as error:
            raise StoreError("store_unreachable", str(error)) from None
        names = (name for name, _ in found)
        return sorted(name for name in names if name.endswith(ending) and not name.startswith("."))

    @contextmanager
    def reading(self, name: str) -> Iterator[pa.NativeFile]:
        """A file to read anywhere in it; whatever goes wrong in the block is damage, Aura's own errors apart.

        Raises:
            StoreError: store_damaged.
        """
        place = f"{self.location}/{name}"
        try:
            with plain_errors(place), self._system.open_input_file(f"{self._folder}/{name}") as file:
                yield file
        except OSError as error:
            advice = "if the file is damaged, delete it and run preextract.py again"
            raise StoreError("store_damaged", f"{error}; {advice}") from None

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file to write; it is there, in place of an older one, once the block has ended well.

        In a local folder a killed process leaves a temporary file, which the next call removes.

        Raises:
            StoreError: store_unwritable.
        """
        try:
            with self._replacing(name) as file:
                yield file
        except OSError as error:
            raise StoreError("store_unwritable", f"cannot write {self.location}/{name}: {error}") from error

    @contextmanager
    def _replacing(self, name: str) -> Iterator[BinaryIO]:
        if isinstance(self._system, LocalFileSystem):
            with replacing(Path(self._folder) / name, TEMPORARY) as file:
                yield file
            return
        with TemporaryFile() as file:
            yield cast("BinaryIO", file)
            file.seek(0)
            self._put(name, cast("BinaryIO", file))

    def _put(self, name: str, source: BinaryIO) -> None:
        """Upload a whole file: an object is there when its upload has ended."""
        with plain_errors(self.location):
            self._system.create_dir(self._folder)
            with self._system.open_output_stream(f"{self._folder}/{name}") as target:
                shutil.copyfileobj(source, target)
