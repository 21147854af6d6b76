"""The one geometry by which faces are cut out."""

import cv2
import numpy as np
import pytest

from aura_model.cropping import center_crop, crop_face, resample, square_crop

LANDMARKS = np.zeros((5, 2), dtype=np.float32)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("box", "margin", "square"),
    [
        ((10, 20, 30, 60), 0, (20, 40, 40)),
        ((10, 20, 30, 60), 0.125, (20, 40, 50)),
        ((10, 20, 90, 60), 0.25, (50, 40, 120)),
        ((-10, -20, 10, 20), 0.5, (0, 0, 80)),
        ((0.5, 0.5, 2, 3), 0, (1.25, 1.75, 2.5)),
    ],
)
def test_the_square_around_a_box(box, margin, square):
    assert square_crop(np.array(box, dtype=np.float32), margin) == pytest.approx(square)


def crop(image, box, margin=0.0, size=32):
    return crop_face(image, np.array(box, dtype=np.float32), LANDMARKS, margin, size)[0]


def test_a_crop_of_the_same_size_is_a_slice():
    image = noise(120, 160)
    np.testing.assert_array_equal(crop(image, (50, 40, 82, 72)), image[40:72, 50:82])


def test_the_margin_widens_the_slice():
    image = noise(120, 160)
    np.testing.assert_array_equal(crop(image, (50, 40, 66, 56), margin=0.5), image[32:64, 42:74])


def test_a_flat_box_is_cut_as_a_square_around_its_centre():
    image = noise(120, 160)
    np.testing.assert_array_equal(crop(image, (50, 48, 82, 64)), image[40:72, 50:82])


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_shrinking_by_a_whole_factor_averages_the_pixels(factor):
    image = noise(200, 200)
    side = 32 * factor
    cut = image[20 : 20 + side, 30 : 30 + side].astype(float)
    mean = cut.reshape(32, factor, 32, factor, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(crop(image, (30, 20, 30 + side, 20 + side)), mean, atol=0.51)


@pytest.mark.parametrize("side", [70, 150.5, 333, 390])
def test_a_fine_pattern_does_not_alias(side):
    """Stripes one pixel wide become even grey, at any scale; sampling without averaging would show waves."""
    image = np.zeros((400, 400, 3), dtype=np.uint8)
    image[:, ::2] = 255
    shrunk = crop(image, (4.3, 4.3, 4.3 + side, 4.3 + side)).astype(float)
    assert np.abs(shrunk - 127.5).max() < 50
    assert shrunk.std() < 30


def test_the_crop_follows_the_box_by_fractions_of_a_pixel():
    ramp = np.repeat(np.arange(0, 240, 2, dtype=np.uint8)[None, :, None], 120, axis=0).repeat(3, axis=2)
    at_rest = crop(ramp, (40, 40, 72, 72)).astype(float)
    for shift in (0.25, 0.5, 0.75):
        moved = crop(ramp, (40 + shift, 40, 72 + shift, 72)).astype(float)
        np.testing.assert_allclose(moved - at_rest, 2 * shift, atol=0.51)


def test_growing_does_not_overshoot():
    edge = np.full((60, 60, 3), 50, dtype=np.uint8)
    edge[:, 30:] = 200
    grown = crop(edge, (26, 26, 34, 34), size=64)
    assert (grown.min(), grown.max()) == (50, 200)
    assert np.all(np.diff(grown[0, :, 0].astype(int)) >= 0)
    assert 28 <= np.argmax(grown[0, :, 0] > 125) <= 36


@pytest.mark.parametrize("side", [20.0, 32.0, 47.3, 90.0])
@pytest.mark.parametrize("margin", [0.0, 0.125, 0.3])
def test_landmarks_point_at_the_same_spot_in_the_crop(side, margin):
    image = np.zeros((200, 200, 3), dtype=np.uint8)
    cv2.circle(image, (90, 94), 4, (255, 255, 255), -1)
    spot = np.full((5, 2), (90.5, 94.5), dtype=np.float32)
    box = np.array([80, 85, 80 + side, 85 + side], dtype=np.float32)
    out, landmarks = crop_face(image, box, spot, margin, 64)
    rows, columns = np.nonzero(out[:, :, 0] > 127)
    assert landmarks.shape == (5, 2)
    assert landmarks.dtype == np.float32
    assert landmarks[0].tolist() == pytest.approx([columns.mean() + 0.5, rows.mean() + 0.5], abs=0.8)


def test_landmarks_in_numbers():
    points = np.array([[10, 20], [50, 20], [30, 40], [20, 55], [30, 60]], dtype=np.float32)
    _, moved = crop_face(noise(100, 100), np.array([10, 20, 50, 60], dtype=np.float32), points, 0.25, 30)
    np.testing.assert_allclose(moved, [[5, 5], [25, 5], [15, 15], [10, 22.5], [15, 25]], atol=1e-4)


def test_over_the_edge_the_edge_is_repeated():
    image = noise(64, 64)
    cut = crop(image, (-16, 40, 16, 72))
    np.testing.assert_array_equal(cut[:24, 16:], image[40:64, :16])
    np.testing.assert_array_equal(cut[:24, :16], np.repeat(image[40:64, :1], 16, axis=1))
    np.testing.assert_array_equal(cut[24:, 16:], np.repeat(image[63:, :16], 8, axis=0))


@pytest.mark.parametrize(
    "box",
    [
        (1000, 1000, 1032, 1032),
        (-1000, 10, -968, 42),
        (1e6, 1e6, 1e6 + 50, 1e6 + 50),
        (-1e5, -1e5, 1e5, 1e5),
        (30, 30, 30, 30),
        (20, 20, 20.01, 20.01),
        (0, 0, 64, 64),
    ],
)
def test_any_box_gives_a_crop(box):
    assert crop(noise(64, 64), box, margin=0.125, size=224).shape == (224, 224, 3)


def test_a_box_far_outside_gives_the_nearest_corner():
    image = noise(64, 64)
    assert np.all(crop(image, (1000, 1000, 1032, 1032)) == image[63, 63])


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1)])
def test_a_crop_of_the_smallest_images(shape):
    image = noise(*shape)
    assert crop(image, (0, 0, shape[1], shape[0])).shape == (32, 32, 3)


def test_the_work_for_a_crop_is_bounded():
    assert resample(noise(64, 64), -1e5, -1e5, 2e5, 1024).shape == (1024, 1024, 3)


def test_the_image_is_left_as_it_is():
    image = noise(64, 64)
    before = image.copy()
    crop(image, (10, 10, 30, 30))
    center_crop(image, 32)
    np.testing.assert_array_equal(image, before)


# --- centre crop ---


@pytest.mark.parametrize(
    ("height", "width", "square"),
    [
        (100, 100, (0, 0, 100, 100)),
        (90, 160, (35, 0, 125, 90)),
        (160, 90, (0, 35, 90, 125)),
        (90, 161, (35.5, 0, 125.5, 90)),
    ],
)
def test_the_centre_is_the_largest_square(height, width, square):
    out, box, landmarks = center_crop(noise(height, width), 48)
    assert out.shape == (48, 48, 3)
    assert box.tolist() == list(square)
    assert landmarks.shape == (5, 2)


def test_the_centre_crop_of_a_square_is_the_image():
    image = noise(64, 64)
    np.testing.assert_array_equal(center_crop(image, 64)[0], image)


@pytest.mark.parametrize("size", [32, 224])
def test_neutral_landmarks_look_like_a_face(size):
    left_eye, right_eye, nose, left_mouth, right_mouth = center_crop(noise(90, 160), size)[2] / size
    assert 0.2 < left_eye[0] < nose[0] < right_eye[0] < 0.8
    assert 0.2 < left_mouth[0] < nose[0] < right_mouth[0] < 0.8
    assert 0.3 < left_eye[1] < nose[1] < left_mouth[1] < 0.9
    assert left_eye[1] == pytest.approx(right_eye[1], abs=0.01)
    assert left_mouth[1] == pytest.approx(right_mouth[1], abs=0.01)
