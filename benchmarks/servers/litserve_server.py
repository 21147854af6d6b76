"""LitServe with a worker process for each core, each with the whole pipeline on one thread.

python litserve_server.py PORT
"""

import sys
from typing import Any, cast

import litserve  # type: ignore[import-not-found] # it has an environment of its own
from fastapi import Request
from pipeline import CORES, Pipeline


class AuraApi(litserve.LitAPI):  # type: ignore[misc]
    """What a worker does."""

    def setup(self, _: str) -> None:
        """Load the networks."""
        self._pipeline = Pipeline(decoders=1, threads=1)

    def decode_request(self, request: Request) -> bytes:
        """The uploaded file; LitServe reads the annotation, and hands the form over."""
        content: bytes = cast("Any", request)["file"].file.read()
        return content

    def predict(self, content: bytes) -> dict[str, Any]:
        """The whole work."""
        return self._pipeline.predict(content)

    def encode_response(self, answer: dict[str, Any]) -> dict[str, Any]:
        """It is JSON already."""
        return answer


def main() -> None:
    """Serve until killed."""
    server = litserve.LitServer(AuraApi(), accelerator="cpu", workers_per_device=CORES, timeout=300)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
