"""FastAPI and PyTorch in a single process: requests are decoded in its threads, and scored one at a time.

python fastapi_server.py PORT [children]
"""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, UploadFile
from pipeline import CORES, Pipeline


def main() -> None:
    """Serve until killed."""
    pipeline = Pipeline(decoders=CORES, threads=max(1, CORES // 2), in_children="children" in sys.argv)
    api = FastAPI()

    @api.post("/predict")
    def predict(file: UploadFile) -> dict[str, Any]:
        """Runs in one of the framework's threads."""
        return pipeline.predict(file.file.read())

    uvicorn.run(api, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
