"""One process at a time: a file that is locked for as long as it is open."""

import fcntl
from typing import BinaryIO

from aura_model.errors import AuraError


def hold_alone(file: BinaryIO, taken: AuraError) -> None:
    """Lock `file` until it is closed, or its process dies; raise `taken` where another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise taken from None
