"""Sessions of ONNX Runtime."""

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
