from collections.abc import Callable

import cv2
import numpy as np
import pytest

from aura_model.denoising import Frames, denoised, noise_level

LEAST = 1.5


def smooth(seed: int = 0, size: int = 96) -> np.ndarray:
    """A picture [size, size, 3] with slopes and edges, and without noise."""
    rng = np.random.default_rng(seed)
    picture = cv2.resize(
        rng.uniform(60, 190, (6, 6, 3)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
    )
    cv2.rectangle(picture, (20, 30), (60, 70), (210, 120, 90), -1)
    cv2.circle(picture, (70, 25), 12, (40, 60, 120), 2)
    return np.clip(picture, 0, 255)


def noisy(deviation: float, frames: int = 3, seed: int = 1) -> Frames:
    rng = np.random.default_rng(seed)
    still = smooth()
    return np.stack(
        [np.clip(still + rng.normal(0, deviation, still.shape), 0, 255).round().astype(np.uint8) for _ in range(frames)]
    )


def distance(frames: Frames) -> float:
    """Root mean square from the picture without noise."""
    return float(np.sqrt(((frames.astype(float) - smooth()) ** 2).mean()))


class TestNoiseLevel:
    @pytest.mark.parametrize("deviation", [2.0, 5.0, 10.0, 25.0])
    def test_it_is_the_standard_deviation(self, deviation: float) -> None:
        assert noise_level(noisy(deviation)[0, ..., 1]) == pytest.approx(deviation, rel=0.1)

    def test_slopes_and_edges_are_no_noise(self) -> None:
        assert noise_level(noisy(0)[0, ..., 0]) < 0.5
        ramp = np.tile(np.arange(0, 240, 3, dtype=np.uint8), (80, 1))
        assert noise_level(ramp) == noise_level(ramp.T) == 0

    def test_what_a_codec_smoothed_has_little(self) -> None:
        coded = cv2.imencode(".jpg", noisy(4)[0], [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
        assert noise_level(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)) < LEAST

    @pytest.mark.parametrize("shape", [(1, 1), (2, 9), (9, 2)])
    def test_a_picture_of_no_size_has_none(self, shape: tuple[int, int]) -> None:
        assert noise_level(np.zeros(shape, np.uint8)) == 0


class TestDenoised:
    @pytest.mark.parametrize("deviation", [4.0, 10.0, 25.0])
    def test_most_of_the_noise_goes(self, deviation: float) -> None:
        frames = noisy(deviation)
        assert distance(denoised(frames, LEAST)) < distance(frames) / 2

    def test_less_of_it_is_left_alone(self) -> None:
        frames = noisy(1.0)
        assert denoised(frames, LEAST) is frames
        assert denoised(frames, 0.5) is not frames

    def test_the_clip_is_changed_alike_whatever_a_frame_of_it_has(self) -> None:
        """One frame that a codec smoothed is filtered like those beside it."""
        frames = noisy(8)
        frames[0] = smooth().round()
        level = [noise_level(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)) for frame in frames]
        assert level[0] < LEAST < level[1]
        assert not np.array_equal(denoised(frames, LEAST)[0], frames[0])

    def test_coloured_noise_goes_too(self) -> None:
        rng = np.random.default_rng(3)
        planes = cv2.cvtColor(smooth().round().astype(np.uint8), cv2.COLOR_RGB2YCrCb).astype(float)
        planes += rng.normal(0, (2, 12, 12), planes.shape)
        frames = cv2.cvtColor(np.clip(planes, 0, 255).astype(np.uint8), cv2.COLOR_YCrCb2RGB)[None]
        assert distance(denoised(frames, LEAST)) < distance(frames) / 2

    def test_edges_stay(self) -> None:
        clean, left = (
            frames[0, 30:70, 15:25].astype(float).mean((0, 2)) for frames in (noisy(0), denoised(noisy(8), LEAST))
        )
        assert np.abs(np.diff(left)).max() > 0.8 * np.abs(np.diff(clean)).max()

    @pytest.mark.parametrize("make", [np.zeros, np.ones, lambda *of: np.full(*of[:1], 255, of[1])])
    def test_flat_pictures_stay_as_they_are(self, make: Callable[..., Frames]) -> None:
        frames = make((2, 32, 32, 3), np.uint8)
        assert denoised(frames, LEAST) is frames

    def test_the_same_frames_give_the_same(self) -> None:
        frames = noisy(8)
        before = frames.copy()
        assert np.array_equal(denoised(frames, LEAST), denoised(frames, LEAST))
        assert np.array_equal(frames, before)
        assert (denoised(frames, LEAST).dtype, denoised(frames, LEAST).shape) == (np.uint8, frames.shape)
