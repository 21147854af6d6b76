"""Python runs this at the start of each process that has this folder on its PYTHONPATH.

In a decode child it makes any file that ends with the mark a poisonous one, as a defect of a decoder would.
"""

import os
import sys
from typing import Any

MARK = b"POISON"

if "aura_model.decode_child" in sys.orig_argv:
    from aura_model.clips import ClipLoader

    _load = ClipLoader.load

    def _crash_or_load(self: ClipLoader, file: Any, *args: Any) -> Any:
        file.seek(0)
        content = file.read()
        if content.endswith(MARK):
            os.abort()
        file.seek(0)
        return _load(self, file, *args)

    ClipLoader.load = _crash_or_load  # type: ignore[method-assign]
