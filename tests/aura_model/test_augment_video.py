import cv2
import numpy as np
import pytest

from aura_model.augment import video

NO_LANDMARKS = np.zeros((1, 5, 2), np.float32)


def smooth(side: int = 32) -> np.ndarray:
    """Two frames [2, side, side, 3]: red rises to the right, green downwards, blue is constant."""
    ramp = np.linspace(0, 255, side)
    picture = np.stack([np.tile(ramp, (side, 1)), np.tile(ramp[:, None], (1, side)), np.full((side, side), 128)], -1)
    return np.broadcast_to(picture.astype(np.uint8), (2, side, side, 3)).copy()


def random_frames(side: int = 24, frames: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, side, side, 3), dtype=np.uint8)


def marked(places: list[tuple[int, int]], side: int) -> tuple[np.ndarray, np.ndarray]:
    """A frame with the value i + 1 in the pixel of place i (x, y), and landmarks in the middles of these pixels."""
    frames = np.zeros((1, side, side, 3), np.uint8)
    for value, (x, y) in enumerate(places, start=1):
        frames[0, y, x] = value
    return frames, np.array([places], np.float32) + np.float32(0.5)


def test_a_flip_mirrors_pictures_and_landmarks_together() -> None:
    frames, landmarks = marked([(1, 2), (6, 2), (3, 4), (2, 6), (5, 6)], 8)  # eyes, nose, mouth corners: x, y
    flipped, moved = video.flip(frames, landmarks)
    assert [int(flipped[0, int(y), int(x), 0]) for x, y in moved[0]] == [2, 1, 3, 5, 4]
    assert moved[0, 0, 0] < moved[0, 1, 0]
    np.testing.assert_array_equal(video.flip(flipped, moved)[0], frames)
    np.testing.assert_array_equal(video.flip(flipped, moved)[1], landmarks)


def test_a_flip_mirrors_every_frame() -> None:
    frames = random_frames(frames=3)
    np.testing.assert_array_equal(video.flip(frames, np.zeros((3, 5, 2), np.float32))[0], frames[:, :, ::-1])


def test_landmarks_of_a_symmetric_face_stay_where_they_are_in_a_flip() -> None:
    face = np.array([[[20, 30], [44, 30], [32, 40], [24, 50], [40, 50]]], np.float32)
    np.testing.assert_allclose(video.flip(np.zeros((1, 64, 64, 3), np.uint8), face)[1], face)


@pytest.mark.parametrize(
    ("share", "right", "down", "left", "top"),
    [(0.5, 0, 0, 0, 0), (0.5, 1, 0, 16, 0), (0.5, 0, 1, 0, 16), (0.5, 0.5, 0.5, 8, 8), (0.75, 1, 1, 8, 8)],
)
def test_a_crop_shows_its_window(share: float, right: float, down: float, left: int, top: int) -> None:
    frames, side = smooth(), round(32 * share)
    cropped, _ = video.crop(frames, np.zeros((2, 5, 2), np.float32), share, right, down)
    expected = cv2.resize(frames[1][top : top + side, left : left + side], (32, 32))
    np.testing.assert_array_equal(cropped[1], expected)


@pytest.mark.parametrize(("right", "down"), [(0, 0), (1, 1), (0.4, 0.8)])
def test_landmarks_follow_a_crop(right: float, down: float) -> None:
    """A bright square about each landmark is found about the moved landmark again."""
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    landmarks = np.array([[[25, 27], [38, 25], [32, 33], [26, 40], [39, 41]]], np.float32)
    for x, y in landmarks[0].astype(int):
        frames[0, y - 2 : y + 2, x - 2 : x + 2] = 255
    cropped, moved = video.crop(frames, landmarks, 0.75, right, down)
    for x, y in moved[0]:
        near = cropped[0, int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5, 0].astype(float)
        rows, columns = np.mgrid[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5] + 0.5
        assert (near * columns).sum() / near.sum() == pytest.approx(x, abs=0.3)
        assert (near * rows).sum() / near.sum() == pytest.approx(y, abs=0.3)


def test_a_whole_crop_changes_nothing() -> None:
    frames, landmarks = random_frames(), np.random.default_rng(1).random((2, 5, 2)).astype(np.float32)
    cropped, moved = video.crop(frames, landmarks, 1.0, 0.3, 0.9)
    np.testing.assert_array_equal(cropped, frames)
    np.testing.assert_array_equal(moved, landmarks)


def test_a_tiny_crop_still_has_a_pixel() -> None:
    cropped, _ = video.crop(random_frames(4), np.zeros((2, 5, 2), np.float32), 0.1, 0.5, 0.5)
    assert (cropped == cropped[:, :1, :1]).all()


def test_colours_stay_as_they_are_at_strength_one() -> None:
    np.testing.assert_array_equal(video.jitter_color(random_frames(), 1, 1, 1), random_frames())


@pytest.mark.parametrize(("brightness", "expected"), [(0.5, 50), (1.5, 150), (10, 255), (0, 0)])
def test_brightness_scales_and_clips(brightness: float, expected: int) -> None:
    frames = np.full((1, 4, 4, 3), 100, np.uint8)
    assert (video.jitter_color(frames, brightness, 1, 1) == expected).all()


def test_contrast_keeps_the_mean_and_scales_the_spread() -> None:
    frames = np.array([90, 110], np.uint8).repeat(3).reshape(1, 1, 2, 3)
    np.testing.assert_array_equal(video.jitter_color(frames, 1, 2, 1)[0, 0, :, 0], [80, 120])


def test_contrast_turns_about_the_mean_of_the_whole_clip() -> None:
    frames = np.stack([np.full((4, 4, 3), level, np.uint8) for level in (80, 120)])
    found = video.jitter_color(frames, 1, 1.5, 1)
    assert (found[0] == 70).all()
    assert (found[1] == 130).all()


def test_no_saturation_is_grey_of_the_same_brightness() -> None:
    grey = video.jitter_color(smooth(), 1, 1, 0).astype(int)
    assert np.ptp(grey, axis=-1).max() == 0
    assert np.abs(grey[..., 0] - smooth() @ video.LUMA).max() <= 1


@pytest.mark.parametrize("factors", [(0.8, 1.2, 0.9), (1.2, 0.8, 1.3), (1.9, 1.9, 1.9), (0.1, 0.1, 0.1)])
def test_colours_agree_with_the_formula_in_floats(factors: tuple[float, float, float]) -> None:
    brightness, contrast, saturation = factors
    pixels = random_frames() * brightness
    mean = (pixels @ video.LUMA).mean()
    pixels = (pixels - mean) * contrast + mean
    grey = (pixels @ video.LUMA)[..., None]
    expected = np.clip((pixels - grey) * saturation + grey, 0, 255)
    assert np.abs(video.jitter_color(random_frames(), *factors) - expected).max() <= 1


@pytest.mark.parametrize("deviation", [0.8, 1.5, 3.0])
def test_blur_spreads_a_point_as_a_gaussian_does(deviation: float) -> None:
    frames = np.zeros((2, 41, 41, 3), np.uint8)
    frames[1, 18:23, 18:23] = 255
    blurred = video.blur(frames, deviation)
    assert not blurred[0].any()
    weights, places = blurred[1, :, :, 0].astype(float).sum(0), np.arange(41) - 20
    spread = (weights * places**2).sum() / weights.sum()
    assert spread == pytest.approx(2 + deviation**2, rel=0.1)  # a square of 5 pixels has the variance 2


def test_sharpening_adds_what_a_blur_takes_away() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(100, 150, (2, 16, 20, 3)).astype(np.uint8)
    expected = frames + 0.5 * (frames - video.blur(frames, 1.0).astype(float))
    np.testing.assert_allclose(video.sharpen(frames, 0.5), expected, atol=1)
    assert video.sharpen(frames, 0.0) is frames


def test_a_sharpened_edge_does_not_wrap_around() -> None:
    edge = np.zeros((1, 8, 8, 3), np.uint8)
    edge[:, :, 4:] = 255
    np.testing.assert_array_equal(video.sharpen(edge, 1.5), edge)


def test_no_blur_changes_nothing() -> None:
    np.testing.assert_array_equal(video.blur(random_frames(), 0), random_frames())


@pytest.mark.parametrize("deviation", [1.0, 3.0, 6.0, 20.0])
def test_grain_has_the_asked_for_deviation_and_no_bias(deviation: float) -> None:
    frames = np.full((2, 128, 128, 3), 128, np.uint8)
    added = video.add_noise(frames, deviation, np.random.default_rng(0)).astype(float) - 128
    assert added.std() == pytest.approx(np.hypot(deviation, 12**-0.5), rel=0.03)  # rounded to whole levels
    assert abs(added.mean()) < 0.03 * deviation
    assert np.abs(added).max() > 2.5 * deviation  # 1.7 were all values of a range equally likely


def test_grain_differs_between_frames_channels_and_pixels() -> None:
    frames = np.full((2, 64, 64, 3), 128, np.uint8)
    added = video.add_noise(frames, 5, np.random.default_rng(0)).astype(float) - 128
    views = [added[0, ..., 0], added[1, ..., 0], added[0, ..., 1], np.roll(added[0, ..., 0], 1, 0)]
    correlation = np.corrcoef([view.ravel() for view in views])
    assert np.abs(correlation - np.eye(4)).max() < 0.06


@pytest.mark.parametrize("level", [0, 255])
def test_grain_is_clipped(level: int) -> None:
    noisy = video.add_noise(np.full((1, 64, 64, 3), level, np.uint8), 20, np.random.default_rng(0))
    assert np.abs(noisy.astype(int) - level).max() < 70
    assert (noisy == level).mean() > 0.4


def test_the_strongest_grain_saturates() -> None:
    noisy = video.add_noise(np.full((1, 64, 64, 3), 128, np.uint8), 255, np.random.default_rng(0))
    assert ((noisy == 0) | (noisy == 255)).mean() == pytest.approx(0.617, abs=0.03)  # beyond half a deviation


def test_no_grain_changes_nothing() -> None:
    np.testing.assert_array_equal(video.add_noise(random_frames(), 0, np.random.default_rng(0)), random_frames())
