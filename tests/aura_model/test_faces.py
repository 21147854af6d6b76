"""Detection of faces."""

import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from aura_model.faces import Face, largest_first, make_detector, overlaps, shrink, suppress
from aura_model.settings import load_config

MEDIA = Path(__file__).parents[1] / "media"


def frames(name, step=1):
    """RGB frames of a test file."""
    with av.open(str(MEDIA / name)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][::step]


def face_config(**settings):
    return load_config(env={}).dataset.face.model_copy(update=settings)


def boxes(*rows):
    return np.array(rows, dtype=np.float32).reshape(-1, 4)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# --- boxes ---


@pytest.mark.parametrize(
    ("a", "b", "union", "smaller"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1, 1),
        ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3, 1 / 2),
        ((0, 0, 10, 10), (0, 0, 5, 5), 1 / 4, 1),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0, 0),
        ((0, 0, 10, 10), (50, 50, 60, 60), 0, 0),
        ((-5, -5, 5, 5), (0, 0, 10, 10), 25 / 175, 25 / 100),
        ((3, 3, 3, 3), (3, 3, 3, 3), 0, 0),
    ],
)
def test_overlap_of_two_boxes(a, b, union, smaller):
    for first, second in ((a, b), (b, a)):
        assert overlaps(boxes(first), boxes(second))[0, 0] == pytest.approx(union)
        assert overlaps(boxes(first), boxes(second), over="smaller")[0, 0] == pytest.approx(smaller)


def test_overlap_of_each_with_each():
    assert overlaps(boxes((0, 0, 1, 1), (0, 0, 2, 1)), boxes((0, 0, 1, 1))).tolist() == [[1.0], [0.5]]
    assert overlaps(boxes(), boxes((0, 0, 1, 1))).shape == (0, 1)
    assert overlaps(boxes((0, 0, 1, 1)), boxes()).shape == (1, 0)


@pytest.mark.parametrize(
    ("rows", "scores", "threshold", "kept"),
    [
        ([], [], 0.4, []),
        ([(0, 0, 10, 10)], [0.5], 0.4, [0]),
        ([(0, 0, 10, 10), (1, 0, 11, 10)], [0.5, 0.9], 0.4, [1]),
        ([(0, 0, 10, 10), (5, 0, 15, 10)], [0.9, 0.5], 0.4, [0, 1]),
        ([(0, 0, 10, 10), (5, 0, 15, 10)], [0.9, 0.5], 0.3, [0]),
        # the middle one goes; the third, which only the middle one overlaps, stays
        ([(0, 0, 10, 10), (4, 0, 14, 10), (8, 0, 18, 10)], [0.9, 0.8, 0.7], 0.4, [0, 2]),
        ([(0, 0, 10, 10), (0, 0, 10, 10)], [0.5, 0.5], 0.4, [0]),
    ],
)
def test_suppression_keeps_the_best_of_what_overlaps(rows, scores, threshold, kept):
    assert suppress(boxes(*rows), np.array(scores, dtype=np.float32), threshold).tolist() == kept


def test_suppression_over_the_smaller_box_drops_a_box_inside_another():
    nested, scores = boxes((0, 0, 10, 10), (2, 2, 6, 6)), np.array([0.9, 0.8], dtype=np.float32)
    assert suppress(nested, scores, 0.7).tolist() == [0, 1]
    assert suppress(nested, scores, 0.7, over="smaller").tolist() == [0]


def make_face(*box, score=0.9):
    return Face(np.array(box, dtype=np.float32), np.zeros((5, 2), dtype=np.float32), score)


def test_a_face_knows_its_area_and_longer_side():
    assert (make_face(10, 20, 40, 60).area, make_face(10, 20, 40, 60).side) == (1200, 40)


@pytest.mark.parametrize(("min_side", "widths"), [(0, [40, 30, 20]), (20, [40, 30, 20]), (20.5, [40, 30]), (41, [])])
def test_faces_come_largest_first_without_the_small_ones(min_side, widths):
    faces = [make_face(0, 0, side, side) for side in (20, 40, 30)]
    assert [face.side for face in largest_first(faces, min_side)] == widths


def test_boxes_turned_inside_out_are_no_faces():
    turned = [make_face(10, 0, 5, 50), make_face(10, 50, 20, 50), make_face(10, 10, 5, 5)]
    assert largest_first(turned, 0) == []


def test_the_order_of_equal_faces_is_that_of_their_place():
    faces = [make_face(60, 0, 70, 10), make_face(0, 0, 10, 10), make_face(30, 0, 40, 10)]
    assert [face.box[0] for face in largest_first(faces, 0)] == [0, 30, 60]


@pytest.mark.parametrize(
    ("height", "width", "side", "expected"),
    [
        (100, 200, 50, (25, 50)),
        (200, 100, 50, (50, 25)),
        (100, 200, 200, (100, 200)),
        (100, 200, 400, (100, 200)),
        (2, 4000, 640, (1, 640)),
    ],
)
def test_shrinking_keeps_the_shape_and_never_grows(height, width, side, expected):
    assert shrink(noise(height, width), side).shape == (*expected, 3)


# --- detectors ---


@pytest.fixture(scope="module", params=["retinaface", "mtcnn"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def detector(name):
    return make_detector(face_config(detector=name), threads=1)


@pytest.mark.parametrize("settings", [{"detect": False}, {"detector": "center_crop"}])
def test_without_detection_there_is_no_detector(settings):
    assert make_detector(face_config(**settings), threads=1) is None


@pytest.mark.parametrize(
    ("file", "count"), [("face.jpg", 1), ("talking_face.mp4", 1), ("two_faces.mp4", 2), ("no_face.mp4", 0)]
)
def test_it_finds_the_faces_there_are(detector, file, count):
    assert {len(detector.detect(frame)) for frame in frames(file, step=20)} == {count}


def test_the_landmarks_lie_where_they_should(detector):
    (face,) = detector.detect(frames("face.jpg")[0])
    x1, y1, x2, y2 = face.box
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert x1 < left_eye[0] < nose[0] < right_eye[0] < x2
    assert x1 < left_mouth[0] < right_mouth[0] < x2
    assert y1 < left_eye[1] < nose[1] < left_mouth[1] < y2
    assert y1 < right_eye[1] < nose[1] < right_mouth[1] < y2
    assert 0.9 < face.score <= 1


def test_the_faces_are_plain_float32(detector):
    for face in detector.detect(frames("two_faces.mp4")[0]):
        assert (face.box.dtype, face.box.shape) == (np.float32, (4,))
        assert (face.landmarks.dtype, face.landmarks.shape) == (np.float32, (5, 2))
        assert type(face.score) is float


def test_the_largest_face_comes_first(detector):
    first, second = detector.detect(frames("two_faces.mp4")[0])
    assert first.area > second.area


def test_the_same_image_gives_the_same_faces(detector):
    image = frames("two_faces.mp4")[0]
    first, second = detector.detect(image), detector.detect(image)
    assert [face.box.tolist() for face in first] == [face.box.tolist() for face in second]


@pytest.mark.parametrize(("width", "height"), [(1200, 900), (1200, 1400), (2000, 900)])
def test_a_large_image_is_searched_small_and_answered_large(detector, width, height):
    image = frames("talking_face.mp4")[0]
    (face,) = detector.detect(image)
    (large,) = detector.detect(cv2.resize(image, (width, height)))
    stretch = np.array([width / image.shape[1], height / image.shape[0]] * 2, dtype=np.float32)
    assert overlaps(boxes(large.box), boxes(face.box * stretch))[0, 0] > 0.75
    assert np.abs(large.landmarks - face.landmarks * stretch[:2]).max() < 0.03 * width


def test_a_face_over_the_edge_is_found(detector):
    image = frames("talking_face.mp4")[0]
    (whole,) = detector.detect(image)
    cut = int(whole.box[0] + 0.15 * (whole.box[2] - whole.box[0]))
    (face,) = detector.detect(np.ascontiguousarray(image[:, cut:]))
    assert overlaps(boxes(face.box), boxes(whole.box - [cut, 0, cut, 0]))[0, 0] > 0.6


@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 2), (11, 11), (12, 12), (31, 33), (33, 31), (1, 4000), (4000, 1), (640, 13), (97, 641)]
)
@pytest.mark.parametrize("picture", [np.zeros, noise])
def test_any_size_can_be_searched(detector, shape, picture):
    image = np.zeros((*shape, 3), dtype=np.uint8) if picture is np.zeros else noise(*shape)
    assert all(isinstance(face, Face) for face in detector.detect(image))


def test_the_threshold_is_the_configured_one(name):
    image = frames("two_faces.mp4")[0]
    assert make_detector(face_config(detector=name, threshold=1.0), threads=1).detect(image) == []
    scores = [face.score for face in make_detector(face_config(detector=name), threads=1).detect(image)]
    strict = make_detector(face_config(detector=name, threshold=float(np.mean(scores))), threads=1).detect(image)
    assert [face.score for face in strict] == pytest.approx([max(scores)])


def test_faces_below_the_least_side_are_left_out(name):
    image = frames("two_faces.mp4")[0]
    large, small = make_detector(face_config(detector=name), threads=1).detect(image)
    between = (large.side + small.side) / 2
    (kept,) = make_detector(face_config(detector=name, min_side=between), threads=1).detect(image)
    assert kept.side == pytest.approx(large.side)


def test_a_read_only_and_a_strided_image_can_be_searched(detector):
    image = frames("face.jpg")[0]
    mirrored = image[:, ::-1]
    mirrored.flags.writeable = False
    assert len(detector.detect(mirrored)) == 1


def test_the_detectors_agree():
    image = frames("talking_face.mp4")[0]
    (one,), (other,) = (
        make_detector(face_config(detector=name), threads=1).detect(image) for name in ("retinaface", "mtcnn")
    )
    assert overlaps(boxes(one.box), boxes(other.box))[0, 0] > 0.8
    assert np.abs(one.landmarks - other.landmarks).max() < 0.05 * one.side


def test_the_decode_child_stays_small():
    """Neither PyTorch nor TensorFlow nor SciPy is imported by what runs in the decode child."""
    program = """
import sys
from aura_model import tracks
from aura_model.settings import load_config
from aura_model.faces import make_detector
from aura_model.speech import SpeechGate
face = load_config(env={}).dataset.face
make_detector(face, 1)
SpeechGate(0.5, 1)
print(*{"torch", "tensorflow", "scipy", "joblib"} & sys.modules.keys())
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "", "")
