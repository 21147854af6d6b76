from collections.abc import Callable

import cv2
import numpy as np
import pytest

from aura_model.augment.perturbations import perturb
from aura_model.config import RestorationConfig
from aura_model.denoising import Frames, noise_level
from aura_model.restoration import coloured, lit, restored, without_bars
from aura_model.settings import load_config

SETTINGS = load_config(env={}).inference.restoration
NOTHING = RestorationConfig(bars_below=None, least_light=None, least_colour=None, most_noise=None)


def frames_of(seed: int = 0, count: int = 3, size: int = 64) -> Frames:
    """Pictures of strong colours, light and dark, that move a little."""
    rng = np.random.default_rng(seed)
    field = cv2.resize(
        rng.uniform(30, 250, (7, 7, 3)).astype(np.float32), (size + 9, size + 9), interpolation=cv2.INTER_CUBIC
    )
    whole = np.clip(field, 20, 255).round().astype(np.uint8)
    return np.stack([whole[place : place + size, 2 : size + 2] for place in range(count)])


def barred(frames: Frames, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0) -> Frames:
    height, width = frames.shape[1:3]
    dark = np.zeros_like(frames)
    seen = (slice(None), slice(top, height - bottom), slice(left, width - right))
    dark[seen] = frames[seen]
    return dark


def distance(one: Frames, other: Frames) -> float:
    """Mean of the differences, in levels of 255."""
    return float(np.abs(one.astype(float) - other).mean())


class TestBars:
    @pytest.mark.parametrize("bars", [{"top": 9, "bottom": 7}, {"left": 12}, {"top": 3, "right": 20}, {"bottom": 1}])
    def test_they_repeat_the_picture_beside_them(self, bars: dict[str, int]) -> None:
        frames = frames_of()
        seen = without_bars(barred(frames, **bars), 16)
        height, width = frames.shape[1:3]
        first = [bars.get(edge, 0) + (edge in bars) for edge in ("top", "left")]
        last = [side - 1 - bars.get(edge, 0) - (edge in bars) for edge, side in (("bottom", height), ("right", width))]
        rows, columns = (np.arange(side).clip(a, b) for side, a, b in zip((height, width), first, last, strict=True))
        assert np.array_equal(seen, frames[:, rows][:, :, columns])

    def test_noise_in_them_is_no_picture(self) -> None:
        frames = barred(frames_of(), top=9)
        frames[:, :9] = np.random.default_rng(0).integers(0, 12, frames[:, :9].shape)
        assert without_bars(frames, 16)[:, :9].min() > 16

    def test_pictures_without_them_stay(self) -> None:
        frames = frames_of()
        assert np.array_equal(without_bars(frames, 16), frames)

    def test_an_edge_that_is_dark_in_some_frames_stays(self) -> None:
        frames = frames_of()
        frames[0, :9] = 0
        assert np.array_equal(without_bars(frames, 16), frames)

    def test_dark_rows_within_the_picture_stay(self) -> None:
        frames = frames_of()
        frames[:, 30:35] = 0
        assert np.array_equal(without_bars(frames, 16), frames)

    @pytest.mark.parametrize("frames", [np.zeros((2, 16, 16, 3), np.uint8), barred(frames_of(), top=20, bottom=20)])
    def test_a_picture_that_is_mostly_dark_stays(self, frames: Frames) -> None:
        assert np.array_equal(without_bars(frames, 16), frames)


class TestLight:
    @pytest.mark.parametrize("factor", [0.3, 0.5])
    def test_dim_pictures_are_as_bright_as_others(self, factor: float) -> None:
        frames = frames_of()
        bright = np.percentile(cv2.cvtColor(frames.reshape(-1, 64, 3), cv2.COLOR_RGB2GRAY), 98)
        dim = (frames * factor).astype(np.uint8)
        assert distance(lit(dim, bright), frames) < 3 < distance(dim, frames)

    def test_bright_ones_stay(self) -> None:
        frames = frames_of()
        assert lit(frames, 100) is frames

    @pytest.mark.parametrize("value", [0, 1, 4])
    def test_the_dark_is_not_multiplied_beyond_measure(self, value: int) -> None:
        dark = np.full((2, 8, 8, 3), value, np.uint8)
        assert lit(dark, 163).max() == 6 * value

    def test_the_whole_clip_is_changed_alike(self) -> None:
        """A flicker may tell something."""
        frames = (frames_of() * 0.4).astype(np.uint8)
        frames[1] //= 2
        shares = [float(frame.mean()) for frame in lit(frames, 163)]
        assert shares[1] / shares[0] == pytest.approx(frames[1].mean() / frames[0].mean(), rel=0.05)


class TestColour:
    def test_pale_pictures_have_their_colours_again(self) -> None:
        frames = frames_of()
        pale = perturb(frames, "saturation", 2, np.random.default_rng(0))
        planes = cv2.cvtColor(frames.reshape(-1, 64, 3), cv2.COLOR_RGB2YCrCb)[..., 1:].astype(float)
        strong = coloured(pale, float(np.abs(planes - 128).mean()))
        assert distance(strong, frames) < 4 < distance(pale, frames)

    def test_colourful_ones_stay(self) -> None:
        frames = frames_of()
        assert coloured(frames, 8) is frames

    def test_grey_stays_grey(self) -> None:
        grey = perturb(frames_of(), "saturation", 5, np.random.default_rng(0))
        assert coloured(grey, 8) is grey
        nearly = grey.copy()
        nearly[..., 0] = np.minimum(nearly[..., 0], 254) + 1
        assert coloured(nearly, 8) is nearly


class TestRestored:
    @pytest.mark.parametrize(
        "change",
        [
            lambda frames: barred(frames, top=8),
            lambda frames: perturb(frames, "contrast", 5, np.random.default_rng(0)),
            lambda frames: perturb(frames, "saturation", 3, np.random.default_rng(0)),
            lambda frames: perturb(frames, "noise", 2, np.random.default_rng(0)),
        ],
        ids=["bars", "light", "colour", "noise"],
    )
    def test_each_step_is_taken_and_can_be_left_out(self, change: Callable[[Frames], Frames]) -> None:
        frames = frames_of()
        changed = change(frames)
        assert distance(restored(changed, SETTINGS), frames) < 0.95 * distance(changed, frames)
        assert restored(changed, NOTHING) is changed

    def test_usual_pictures_stay_as_they_are(self) -> None:
        frames = frames_of()
        assert np.array_equal(restored(frames, SETTINGS), frames)

    def test_noise_is_judged_in_the_light(self) -> None:
        """What a dim picture has little of is much when it is lit."""
        dim = (frames_of(size=96) * 0.25).astype(np.uint8)
        noisy = np.clip(dim + np.random.default_rng(0).normal(0, 1.3, dim.shape), 0, 255).round().astype(np.uint8)
        lit_alone = restored(noisy, SETTINGS.model_copy(update={"most_noise": None}))
        both = restored(noisy, SETTINGS)
        assert noise_level(both[0, ..., 1]) < noise_level(lit_alone[0, ..., 1]) / 2

    def test_what_was_sent_is_not_touched(self) -> None:
        frames = perturb(barred(frames_of(), top=8), "noise", 2, np.random.default_rng(0))
        before = frames.copy()
        seen = restored(frames, SETTINGS)
        assert np.array_equal(frames, before)
        assert (seen.dtype, seen.shape, seen.flags.c_contiguous) == (np.uint8, frames.shape, True)

    @pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 2, 3, 3), (1, 5, 1, 3)])
    @pytest.mark.parametrize("value", [0, 3, 128, 255])
    def test_any_picture_can_be_restored(self, shape: tuple[int, ...], value: int) -> None:
        assert restored(np.full(shape, value, np.uint8), SETTINGS).shape == shape
