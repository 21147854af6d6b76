"""BentoML with a worker process for each core, each with the whole pipeline on one thread.

python -m bentoml serve bentoml_server:AuraService --port PORT
"""

from pathlib import Path
from typing import Any

import bentoml  # type: ignore[import-not-found] # it has an environment of its own
from pipeline import CORES, Pipeline


@bentoml.service(workers=CORES, traffic={"timeout": 300}, http={"host": "127.0.0.1"})
class AuraService:
    """What a worker does."""

    def __init__(self) -> None:
        self._pipeline = Pipeline(decoders=1, threads=1)

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    def predict(self, file: Path) -> dict[str, Any]:
        """The whole work."""
        return self._pipeline.predict(file.read_bytes())
