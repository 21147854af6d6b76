"""ONNX Runtime on the CPU, with a bounded number of threads."""

import os
from pathlib import Path
from typing import Any


def cpu_session(model: bytes | Path, threads: int) -> Any:
    """Open a model, raw or in a file, for the CPU.

    `threads` bounds the threads inside one operator. Waiting threads sleep instead of spinning, so that several
    processes can share a machine.
    """
    # The official builds report to their maker over the network, from the import on; only this keeps them quiet.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
