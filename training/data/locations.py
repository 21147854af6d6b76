"""Where a file is: a local path or a URI, opened as a `pyarrow` file system and a path in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from urllib.parse import unquote, urlsplit

import fsspec.core
from pyarrow import ArrowInvalid
from pyarrow.fs import FileSelector, FileSystem, FileType, FSSpecHandler, LocalFileSystem, PyFileSystem

from aura_model.errors import AuraError
from aura_model.redaction import redact_text
from training.data.manifest import is_uri

BLOCK = 1 << 20
"""Bytes read at once."""


def locate(path: str) -> tuple[FileSystem, str]:
    """The file system and the path in it: `pyarrow`'s own (file, s3, gs, abfs, hdfs), else one of `fsspec`.

    Raises:
        OSError: nothing opens such a URI.
    """
    if not is_uri(path):
        return LocalFileSystem(), path
    with plain_errors(path):
        parts = urlsplit(path)
        native = _native(parts.scheme, parts.netloc, parts.query)
        if native:
            system, root = native
            return system, f"{root}{unquote(parts.path)}"
        other, place = fsspec.core.url_to_fs(path)
        return PyFileSystem(FSSpecHandler(other)), place


def read_bounded(system: FileSystem, path: str, limit: int) -> bytes:
    """The content of a file, cut after `limit` + 1 bytes."""
    blocks, left = [], limit + 1
    with system.open_input_stream(path) as file:
        while left and (block := file.read(min(BLOCK, left))):
            blocks.append(block)
            left -= len(block)
    return b"".join(blocks)


def list_files(system: FileSystem, folder: str) -> list[tuple[str, int]]:
    """Name and size of each file in a folder, in no order; none where there is no such folder."""
    found = system.get_file_info(FileSelector(folder, allow_not_found=True))
    return [(info.base_name, info.size or 0) for info in found if info.type == FileType.File]


@contextmanager
def plain_errors(path: str) -> Iterator[None]:
    """Turn whatever a file system raises into an OSError of one sentence, without what is secret in a URI.

    Aura's own errors pass.
    """
    try:
        yield
    except (AuraError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - the plug-ins of fsspec raise errors of their own kinds
        cause = redact_text(str(error)).partition("\n")[0]
        raise OSError(f"cannot read {redact_text(path)}: {cause or type(error).__name__:.300}") from None


@lru_cache(maxsize=64)
def _native(scheme: str, netloc: str, query: str) -> tuple[FileSystem, str] | None:
    """`pyarrow`'s file system for a bucket or a host, and the path of its root; None where it has none for the scheme.

    Kept, for opening one may ask the network where the bucket is.
    """
    try:
        system, root = FileSystem.from_uri(f"{scheme}://{netloc}/" + (f"?{query}" if query else ""))
    except ArrowInvalid:
        return None
    return system, root.rstrip("/")
