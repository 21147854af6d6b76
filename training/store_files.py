"""The files of a store, in a local folder or behind a URI: a file there is whole, or it is not there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast

import pyarrow as pa
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from aura_model.atomic import replacing
from training.manifest import DatasetError

STORE_ERRORS = {
    "store_missing": "There is no store at this place, or it holds no clips.",
    "store_unreachable": "The place of the store cannot be reached.",
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
        """Open the folder at `location`: a path, or a URI that pyarrow knows (`s3://`, `gs://`, `fsspec+…://`).

        Raises:
            StoreError: store_unreachable.
        """
        self.location = location
        try:
            if "://" in location:
                self._system, self._folder = FileSystem.from_uri(location)
            else:
                self._system, self._folder = LocalFileSystem(), str(Path(location).expanduser().resolve())
        except (pa.ArrowException, OSError, ImportError, ValueError) as error:
            raise StoreError("store_unreachable", f"cannot open {location}: {error}") from None

    def names(self, ending: str) -> list[str]:
        """The names of the finished files with this ending, sorted; none where there is no folder.

        Raises:
            StoreError: store_unreachable.
        """
        try:
            found = self._system.get_file_info(FileSelector(self._folder, allow_not_found=True))
        except (pa.ArrowException, OSError) as error:
            raise StoreError("store_unreachable", f"cannot list {self.location}: {error}") from None
        names = (info.base_name for info in found if info.type == FileType.File)
        return sorted(name for name in names if name.endswith(ending) and not name.startswith("."))

    def open(self, name: str) -> pa.NativeFile:
        """A file for reading anywhere in it. Raises OSError and `pyarrow.ArrowException`."""
        return self._system.open_input_file(f"{self._folder}/{name}")

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file to write; it is there, in place of an older one, once the block has ended well.

        In a local folder a killed process leaves a temporary file, which the next call removes.
        """
        if isinstance(self._system, LocalFileSystem):
            with replacing(Path(self._folder) / name, TEMPORARY) as file:
                yield file
            return
        with TemporaryFile() as file:
            yield cast("BinaryIO", file)
            file.seek(0)
            self._system.create_dir(self._folder)
            with self._system.open_output_stream(f"{self._folder}/{name}") as target:
                shutil.copyfileobj(file, target)
