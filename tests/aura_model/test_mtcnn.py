"""MTCNN: its networks held against PyTorch, and the care taken with its pickled weights."""

import hashlib
import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from aura_model import mtcnn
from aura_model.errors import ConfigError
from aura_model.faces import make_detector
from aura_model.settings import load_config


def face_config(**settings):
    return load_config(env={}).dataset.face.model_copy(update={"detector": "mtcnn", **settings})


@pytest.fixture(scope="module")
def weights():
    return {name: mtcnn.load_weights(mtcnn.weights_folder() / f"{name}.lz4") for name in mtcnn.WEIGHTS_SHA256}


def pixels(*shape):
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


# --- the networks ---


def reference(tensors, images, pools):
    """The layers up to the heads in PyTorch: convolutions with pooling, then, where there is one, the dense layer."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    for number, pool in enumerate(pools):
        kernel, bias, slope = (torch.from_numpy(tensor) for tensor in tensors[3 * number : 3 * number + 3])
        x = functional.prelu(functional.conv2d(x, kernel.permute(3, 2, 0, 1), bias), slope.flatten())
        x = functional.max_pool2d(x, pool, 2, ceil_mode=True) if pool else x
    rest = [torch.from_numpy(tensor) for tensor in tensors[3 * len(pools) :]]
    if rest[0].ndim == 4:
        return x.permute(0, 2, 3, 1), [tensor.squeeze() for tensor in rest]
    x = functional.prelu(x.permute(0, 3, 2, 1).flatten(1) @ rest[0] + rest[1], rest[2])
    return x, rest[3:]


@pytest.mark.parametrize("shape", [(1, 12, 12), (1, 13, 12), (2, 40, 57), (1, 33, 100)])
def test_the_proposal_network(weights, shape):
    images = pixels(*shape, 3)
    x, (box, box_bias, score, score_bias) = reference(weights["pnet"], images, (2, 0, 0))
    scores, shifts = mtcnn.propose(weights["pnet"], images)
    assert scores.shape == (shape[0], (shape[1] + 1) // 2 - 5, (shape[2] + 1) // 2 - 5)
    np.testing.assert_allclose(scores, (x @ score + score_bias).softmax(-1)[..., 1], atol=1e-5)
    np.testing.assert_allclose(shifts, x @ box + box_bias, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_refinement_network(weights, count):
    images = pixels(count, 24, 24, 3)
    x, (box, box_bias, score, score_bias) = reference(weights["rnet"], images, (3, 3, 0))
    scores, shifts = mtcnn.refine(weights["rnet"], images)
    assert (scores.shape, shifts.shape) == ((count,), (count, 4))
    np.testing.assert_allclose(scores, (x @ score + score_bias).softmax(-1)[..., 1], atol=1e-5)
    np.testing.assert_allclose(shifts, x @ box + box_bias, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_output_network(weights, count):
    images = pixels(count, 48, 48, 3)
    x, heads = reference(weights["onet"], images, (3, 3, 2, 0))
    box, box_bias, point, point_bias, score, score_bias = heads
    scores, shifts, points = mtcnn.output(weights["onet"], images)
    assert (scores.shape, shifts.shape, points.shape) == ((count,), (count, 4), (count, 5, 2))
    np.testing.assert_allclose(scores, (x @ score + score_bias).softmax(-1)[..., 1], atol=1e-5)
    np.testing.assert_allclose(shifts, x @ box + box_bias, atol=1e-5)
    flat = (x @ point + point_bias).numpy()
    np.testing.assert_allclose(points[:, :, 0], flat[:, :5], atol=1e-5)
    np.testing.assert_allclose(points[:, :, 1], flat[:, 5:], atol=1e-5)


# --- the whole ---


def test_noise_costs_a_bounded_number_of_windows(monkeypatch):
    """Whatever the picture, the later networks see at most so many windows."""
    monkeypatch.setattr(mtcnn, "_PROPOSAL_THRESHOLD", 0.0)
    detector = make_detector(face_config(), threads=1)
    seen = []
    refine = mtcnn.refine
    monkeypatch.setattr(mtcnn, "refine", lambda weights, images: seen.append(len(images)) or refine(weights, images))
    detector.detect(np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8))
    assert 100 < seen[0] <= 1024


@pytest.mark.parametrize(("height", "width", "count"), [(39, 39, 0), (40, 40, 1), (40, 4000, 1), (57, 57, 2)])
def test_the_pyramid_starts_at_a_face_of_40_pixels(monkeypatch, height, width, count):
    scales = []
    propose = mtcnn.propose
    monkeypatch.setattr(mtcnn, "propose", lambda weights, image: scales.append(image.shape) or propose(weights, image))
    side = max(height, width)
    make_detector(face_config(detection_side=min(4096, max(64, side))), 1).detect(
        np.zeros((height, width, 3), dtype=np.uint8)
    )
    assert len(scales) == count
    assert all(min(shape[1:3]) >= 12 for shape in scales)


# --- the weights ---


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[mtcnn\]'"):
        make_detector(face_config(), threads=1)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["pnet.lz4", "rnet.lz4", "onet.lz4", "other.lz4"])
def test_a_strange_pickle_is_never_loaded(tmp_path, name):
    mark = tmp_path / "exploded"
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ConfigError, match="mtcnn"):
        mtcnn.load_weights(tmp_path / name)
    assert not mark.exists()


def test_one_changed_byte_is_noticed(tmp_path):
    content = bytearray((mtcnn.weights_folder() / "pnet.lz4").read_bytes())
    content[-1] ^= 1
    (tmp_path / "pnet.lz4").write_bytes(content)
    with pytest.raises(ConfigError, match=r"mtcnn==1\.0\.0"):
        mtcnn.load_weights(tmp_path / "pnet.lz4")


def test_a_network_is_not_taken_for_another(tmp_path):
    (tmp_path / "rnet.lz4").write_bytes((mtcnn.weights_folder() / "pnet.lz4").read_bytes())
    with pytest.raises(ConfigError):
        mtcnn.load_weights(tmp_path / "rnet.lz4")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"pnet\.lz4"):
        mtcnn.load_weights(tmp_path / "pnet.lz4")


def test_the_installed_files_are_the_known_ones():
    for name, digest in mtcnn.WEIGHTS_SHA256.items():
        assert hashlib.sha256((mtcnn.weights_folder() / f"{name}.lz4").read_bytes()).hexdigest() == digest
