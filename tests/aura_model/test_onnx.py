"""Sessions of ONNX Runtime."""

import os
import subprocess
import sys

import pytest
from retinaface.weights import WEIGHTS

from aura_model.onnx import cpu_session


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_bounded(threads):
    session = cpu_session(WEIGHTS, threads)
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (threads, 1)
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_a_model_is_read_from_a_file_too(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(WEIGHTS)
    assert [item.name for item in cpu_session(path, 1).get_inputs()] == ["input"]


def test_nothing_is_reported_to_the_makers_of_onnx_runtime():
    """Its official builds report over the network from their import on; the variable must be there before."""
    script = """
import os, sys
from contextlib import suppress
seen = []
def note(event, arguments):
    if event == "import" and arguments[0] == "onnxruntime":
        seen.append(os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.addaudithook(note)
from aura_model.onnx import cpu_session
with suppress(Exception):
    cpu_session(b"no model", 1)
print(seen[0])
"""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == "1\n"
