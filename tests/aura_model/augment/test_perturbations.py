import cv2
import numpy as np
import pytest

from aura_model.augment.perturbations import LEVELS, PERTURBATIONS, blocks, perturb

SIDE = 96
STRENGTHS = {
    "saturation": (0.4, 0.3, 0.2, 0.1, 0.0),
    "contrast": (0.85, 0.725, 0.6, 0.475, 0.35),
    "blocks": (16, 32, 48, 64, 80),
    "noise": (0.001, 0.002, 0.005, 0.01, 0.05),
    "blur": (7, 9, 13, 17, 21),
    "pixelation": (2, 3, 4, 5, 6),
    "compression": (30, 32, 35, 38, 40),
}
GRID = [(name, level) for name in STRENGTHS for level in LEVELS]


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """Smooth colours with texture on them, moving a little."""
    draw = np.random.default_rng(0)
    rough = draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    smooth = cv2.resize(rough, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(int)
    frames = [np.roll(smooth + draw.integers(-20, 21, smooth.shape), time, 1) for time in range(3)]
    return np.clip(frames, 30, 225).astype(np.uint8)


def plain(colour: tuple[int, int, int], side: int = SIDE, frames: int = 2) -> np.ndarray:
    return np.full((frames, side, side, 3), colour, np.uint8)


def moved(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def test_the_grid_is_the_benchmarks():
    assert {name: one.strengths for name, one in PERTURBATIONS.items()} == STRENGTHS
    assert LEVELS == (1, 2, 3, 4, 5)


@pytest.mark.parametrize(("name", "level"), GRID)
def test_a_clip_keeps_its_shape_and_the_input_stays_as_it_was(clip, name, level):
    kept = clip.copy()
    kept.setflags(write=False)
    changed = perturb(kept, name, level, rng())
    assert changed.shape == clip.shape
    assert changed.dtype == np.uint8
    assert np.array_equal(kept, clip)
    assert not np.array_equal(changed, clip)


@pytest.mark.parametrize("name", STRENGTHS)
def test_each_level_changes_more_than_the_one_before(clip, name):
    changes = [moved(clip, perturb(clip, name, level, rng())) for level in LEVELS]
    assert changes == sorted(changes)
    assert changes[0] > 0.5


@pytest.mark.parametrize("name", STRENGTHS)
def test_the_same_generator_state_gives_the_same_bytes(clip, name):
    assert np.array_equal(perturb(clip, name, 3, rng()), perturb(clip, name, 3, rng()))


@pytest.mark.parametrize("name", ["blocks", "noise"])
def test_what_is_drawn_is_drawn_for_each_frame(name):
    still = plain((90, 120, 60))
    first, second = perturb(still, name, 2, rng())
    assert not np.array_equal(first, second)
    assert not np.array_equal(perturb(still, name, 2, np.random.default_rng(6)), np.stack([first, second]))


@pytest.mark.parametrize("name", ["sepia", ""])
def test_an_unknown_perturbation_is_refused(clip, name):
    with pytest.raises(KeyError):
        perturb(clip, name, 1, rng())


@pytest.mark.parametrize("level", [0, 6, -1])
def test_an_unknown_level_is_refused(clip, level):
    with pytest.raises(ValueError, match=r"levels 1 to 5"):
        perturb(clip, "blur", level, rng())


class TestSaturation:
    def test_level_five_leaves_grey_of_the_same_brightness(self):
        # 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2
        assert np.unique(perturb(plain((200, 100, 50)), "saturation", 5, rng())).tolist() == [124]

    @pytest.mark.parametrize(("level", "factor"), [(1, 0.4), (2, 0.3), (3, 0.2), (4, 0.1)])
    def test_a_colour_comes_nearer_to_its_grey(self, level, factor):
        changed = perturb(plain((200, 100, 50)), "saturation", level, rng())[0, 0, 0]
        expected = 124.2 + factor * (np.array([200, 100, 50]) - 124.2)
        assert changed == pytest.approx(expected, abs=2)

    def test_grey_stays(self):
        grey = plain((77, 77, 77))
        assert np.array_equal(perturb(grey, "saturation", 3, rng()), grey)


@pytest.mark.parametrize(
    ("level", "values"), [(1, [85, 170]), (2, [72, 145]), (3, [60, 120]), (4, [48, 95]), (5, [35, 70])]
)
def test_contrast_scales_every_value(level, values):
    clip = plain((100, 200, 100))
    assert np.unique(perturb(clip, "contrast", level, rng())).tolist() == values


class TestBlocks:
    @pytest.mark.parametrize(("side", "times"), [(64, 1), (224, 1), (256, 1), (512, 2), (800, 3)])
    def test_their_number_grows_with_the_shorter_side(self, side, times):
        class Counted(np.random.Generator):
            def integers(self, *args, **kwargs):
                sizes.append(kwargs["size"])
                return super().integers(*args, **kwargs)

        sizes: list[tuple[int, int]] = []
        perturb(plain((9, 9, 9), side, frames=1), "blocks", 1, Counted(np.random.PCG64(0)))
        assert sizes == [(16 * times, 2)]

    def test_one_block_is_eight_pixels_of_grey(self):
        changed = blocks(plain((9, 9, 9), frames=1), 1, rng())
        rows, columns = np.nonzero((changed[0] == 128).all(-1))
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1, len(rows)) == (8, 8, 64)
        assert np.unique(changed).tolist() == [9, 128]

    def test_blocks_reach_the_last_row_and_column(self):
        changed = blocks(plain((9, 9, 9), 16, frames=40), 40, rng())
        assert (changed[:, -1, -1] == 128).any()
        assert (changed[:, 0, 0] == 128).any()

    def test_a_picture_smaller_than_a_block_is_grey(self):
        assert np.unique(blocks(plain((9, 9, 9), 4), 1, rng())).tolist() == [128]


@pytest.mark.parametrize(("level", "variance"), [(1, 0.001), (3, 0.005), (4, 0.01)])
def test_noise_has_the_variance_that_it_says(level, variance):
    grey = plain((128, 128, 128), 128)
    brightness = np.stack(
        [cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb) for frame in perturb(grey, "noise", level, rng())]
    ).astype(float)
    assert brightness[..., 0].var() / 255**2 == pytest.approx(variance, rel=0.1)
    assert brightness[..., 0].mean() == pytest.approx(128, abs=1)


@pytest.mark.parametrize(("level", "kernel"), [(1, 7), (2, 9), (3, 13), (4, 17), (5, 21)])
def test_blur_spreads_a_point_by_a_sixth_of_its_kernel(level, kernel):
    point = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    point[0, 48 - 4 : 48 + 5, 48 - 4 : 48 + 5] = 255
    before, after = (spread(frames) for frames in (point, perturb(point, "blur", level, rng())))
    assert after - before == pytest.approx((kernel / 6) ** 2, rel=0.12)


def spread(frames: np.ndarray) -> float:
    """The variance of where the light is, pixels squared."""
    rows = frames[0, ..., 0].astype(float).sum(1)
    places = np.arange(len(rows))
    mean = (rows * places).sum() / rows.sum()
    return float((rows * (places - mean) ** 2).sum() / rows.sum())


@pytest.mark.parametrize(("level", "divisor"), [(1, 2), (2, 3), (3, 4), (4, 5), (5, 6)])
def test_pixelation_keeps_only_what_is_coarser_than_its_divisor(level, divisor):
    """A column of light spreads over about two small pixels, and is lost where none looks at it."""
    wide = stripes(4 * divisor)
    assert perturb(wide, "pixelation", level, rng()).std() > 0.75 * wide.std()
    fine = perturb(np.random.default_rng(3).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8), "pixelation", level, rng())
    shifted = fine[0, :, 1:].astype(float) - fine[0, :, :-1]
    assert np.abs(shifted).mean() < 85 / divisor  # of neighbours without any likeness: 85


def stripes(width: int) -> np.ndarray:
    row = np.where(np.arange(SIDE) // width % 2, 200, 50).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(row[None, None, :, None], (1, SIDE, SIDE, 3)))


def test_pixelation_by_two_of_columns_in_twos_is_known():
    changed = perturb(stripes(2), "pixelation", 1, rng())[0, 0, 3:9, 0]
    # halves keep 50, 200, 50 ...; enlarged by two, a quarter of each neighbour comes in
    assert changed == pytest.approx([162.5, 87.5, 87.5, 162.5, 162.5, 87.5], abs=1)


def test_compression_is_a_real_codec(clip):
    """It smooths, leaves the mean, and codes a change over time."""
    changed = perturb(clip, "compression", 5, rng())
    assert changed.mean() == pytest.approx(clip.mean(), abs=2)
    assert roughness(changed) < 0.75 * roughness(clip)


def roughness(frames: np.ndarray) -> float:
    return float(np.abs(np.diff(frames.astype(float), axis=2)).mean())


@pytest.mark.parametrize(("height", "width"), [(33, 47), (224, 224), (64, 65)])
def test_compression_takes_any_size(height, width):
    frames = np.random.default_rng(1).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    assert perturb(frames, "compression", 1, rng()).shape == frames.shape
