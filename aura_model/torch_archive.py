"""Torch's files, read with care: the archive is compared with its checksums before torch opens it."""

import pickletools
import warnings
import zipfile
import zlib
from collections import deque
from itertools import islice
from typing import BinaryIO

import torch

from aura_model.errors import CheckpointError

ZIP_MAGIC = b"PK\x03\x04"
DOS_FOLDER = 0x10
"""The bit of an entry's attributes that marks a folder (APPNOTE.TXT 4.4.15)."""
MOST_OPCODES = 100_000
"""Instructions after which a pickle is taken for one."""


def load_archive(file: BinaryIO) -> object:
    """What torch saved in a file, tensors on the CPU; nothing in it is executed.

    Raises:
        CheckpointError: checkpoint_damaged or checkpoint_foreign; its text does not name the file.
    """
    _check_archive(file)
    file.seek(0)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # The archive is whole, so it was written like this, and a foreign one can raise anything. Torch's own text
        # advises to switch the safety off: it is kept for the traceback.
        raise CheckpointError("checkpoint_foreign", "an archive of other things than weights; refused") from error


def _check_archive(file: BinaryIO) -> None:
    """Torch itself compares no checksums, so a flipped bit in a weight would pass; here each one is compared.

    Nor does it ask how much comes out of an archive: one that is compressed, or whose entries overlap, may hold a
    thousand times its size. Torch writes neither. Of an entry that is marked as a folder it reads nothing, and takes
    what lies in memory for weights.
    """
    size = file.seek(0, 2)
    file.seek(0)
    if file.read(4) != ZIP_MAGIC:
        raise _not_an_archive(file)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise CheckpointError("checkpoint_foreign", "a compressed archive, as no checkpoint is")
            if any(entry.external_attr & DOS_FOLDER for entry in entries):
                raise CheckpointError("checkpoint_damaged", "a part says that it is a folder")
            if sum(entry.file_size for entry in entries) > size:
                raise CheckpointError("checkpoint_damaged", "its parts are larger than the file")
            broken = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise CheckpointError("checkpoint_damaged", f"the file is cut short or overwritten: {error}") from None
    if broken:
        raise CheckpointError("checkpoint_damaged", f"the checksum of {broken} is wrong")


def _not_an_archive(file: BinaryIO) -> CheckpointError:
    file.seek(0)
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes in its texts
            deque(islice(pickletools.genops(file), MOST_OPCODES), maxlen=0)  # lists the instructions, executes none
    except (ValueError, MemoryError):  # the latter for a text that claims to be longer than any
        return CheckpointError("checkpoint_damaged", "the file is empty or not a checkpoint at all")
    return CheckpointError("checkpoint_foreign", "a pickle or an old torch file, which could run code; refused")
