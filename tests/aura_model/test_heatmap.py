import numpy as np
import numpy.typing as npt
import pytest

from aura_model.heatmap import BLACK, WHITE, Heat, hottest, iou, legend, overlay, upsample

SKINS = {"dark": (61, 38, 28), "medium": (172, 118, 88), "light": (240, 214, 198)}


def spot(row: int, column: int, *, side: int = 7, base: float = 0.05, top: float = 0.95) -> Heat:
    """A map with one hot cell."""
    heat = np.full((side, side), base, np.float32)
    heat[row, column] = top
    return heat


def skin(name: str, side: int = 140) -> npt.NDArray[np.uint8]:
    return np.full((side, side, 3), SKINS[name], np.uint8)


def disc(side: int, x: float, y: float, radius: float) -> npt.NDArray[np.bool_]:
    rows, columns = np.mgrid[:side, :side]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)


def pooled(mask: npt.NDArray[np.bool_], cells: int) -> Heat:
    """The share of each cell that the mask covers: the best that a map can say."""
    side = len(mask) // cells
    return np.asarray(mask.reshape(cells, side, cells, side).mean(axis=(1, 3)), np.float32)


# --- the map in the crop's size


@pytest.mark.parametrize(("height", "width"), [(7, 7), (70, 70), (160, 90), (3, 3)])
def test_a_map_is_enlarged_to_the_picture(height: int, width: int) -> None:
    fine = upsample(spot(1, 5), height, width)
    assert (fine.shape, fine.dtype) == ((height, width), np.float32)


def test_a_cell_stays_where_it_was() -> None:
    fine = upsample(spot(1, 5), 70, 70)
    row, column = np.unravel_index(int(fine.argmax()), fine.shape)
    assert (row // 10, column // 10) == (1, 5)


def test_interpolation_never_leaves_the_probabilities() -> None:
    fine = upsample(np.indices((6, 6), dtype=np.float32).sum(axis=0) % 2, 96, 96)
    assert fine.min() >= 0
    assert fine.max() <= 1


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_an_even_map_stays_even(value: float) -> None:
    assert upsample(np.full((6, 6), value, np.float32), 50, 50) == pytest.approx(value, abs=1e-6)


def test_a_map_of_one_place_fills_the_picture() -> None:
    assert upsample(np.array([[0.4]], np.float32), 20, 20) == pytest.approx(0.4)


# --- the map over the crop


@pytest.mark.parametrize("name", SKINS)
def test_where_nothing_is_suspected_the_picture_is_untouched(name: str) -> None:
    crop = skin(name)
    assert np.array_equal(overlay(crop, np.full((7, 7), 0.1, np.float32)), crop)


@pytest.mark.parametrize("name", SKINS)
def test_a_suspected_place_stands_out_of_any_skin(name: str) -> None:
    """Far from the skin's own colour, and not in the direction of another skin: more blue than green."""
    crop = skin(name)
    drawn = overlay(crop, spot(3, 3)).astype(int)
    middle = drawn[70, 70]
    assert np.linalg.norm(middle - crop[70, 70]) > 60
    assert middle[2] - middle[1] > 25
    assert np.array_equal(drawn[5, 5], crop[5, 5])


@pytest.mark.parametrize("name", SKINS)
def test_a_line_is_drawn_where_forged_becomes_likelier_than_not(name: str) -> None:
    crop, heat = skin(name), np.zeros((7, 7), np.float32)
    heat[2:5, 2:5] = 0.9
    drawn = overlay(crop, heat)
    fine = upsample(heat, 140, 140)
    on_line = (drawn == WHITE).all(axis=2)
    assert on_line.any()
    assert fine[on_line] == pytest.approx(0.5, abs=0.1)
    assert (drawn == BLACK).all(axis=2).sum() > on_line.sum()


def test_no_line_around_what_is_unlikely() -> None:
    drawn = overlay(skin("medium"), spot(3, 3, top=0.45))
    assert not (drawn == WHITE).all(axis=2).any()


def test_the_likelier_the_less_of_the_picture_shows() -> None:
    """Black and white stripes: what is left of their contrast."""
    stripes = np.zeros((70, 70, 3), np.uint8)
    stripes[:, ::2] = 255
    left = [
        int(np.ptp(overlay(stripes, np.full((7, 7), value, np.float32))[35, 30:40, 1])) for value in (0, 0.3, 0.7, 1)
    ]
    assert left == sorted(left, reverse=True)
    assert left[0] == 255
    assert left[-1] >= 90


def test_the_picture_itself_is_left_alone() -> None:
    crop = skin("light")
    overlay(crop, spot(3, 3))
    assert np.array_equal(crop, skin("light"))


def test_the_legend_has_the_colours_of_the_map() -> None:
    bar = legend(10, 101)
    assert (bar.shape, bar.dtype) == ((10, 101, 3), np.uint8)
    grey = np.full((10, 10, 3), 128, np.uint8)
    for percent in (0, 20, 60, 90):
        drawn = overlay(grey, np.full((7, 7), percent / 100, np.float32))
        assert bar[5, percent].tolist() == pytest.approx(drawn[5, 5].tolist(), abs=1)
    assert [tuple(bar[5, percent].tolist()) for percent in (49, 50, 51)] == [BLACK, WHITE, BLACK]


# --- the hottest place


@pytest.mark.parametrize(
    ("row", "column", "x", "y"), [(0, 0, 0.5 / 8, 0.5 / 4), (2, 4, 4.5 / 8, 2.5 / 4), (3, 7, 7.5 / 8, 3.5 / 4)]
)
def test_the_hottest_place_is_the_middle_of_the_hot_cell(row: int, column: int, x: float, y: float) -> None:
    heat = np.full((4, 8), 0.2, np.float32)
    heat[row, column] = 0.75
    peak = hottest(heat)
    assert (peak.x, peak.y, peak.probability) == (x, y, 0.75)


@pytest.mark.parametrize("shape", [(1, 1), (6, 6), (4, 8)])
def test_the_hottest_place_lies_in_the_crop(shape: tuple[int, int]) -> None:
    peak = hottest(np.random.default_rng(0).random(shape, np.float32))
    assert 0 < peak.x < 1
    assert 0 < peak.y < 1
    assert 0 <= peak.probability <= 1


# --- the overlap with a true mask


@pytest.mark.parametrize(("cells", "least"), [(7, 0.85), (14, 0.92), (35, 0.95)])
def test_a_map_that_knows_the_truth_overlaps_it(cells: int, least: float) -> None:
    truth = np.stack([disc(140, 70, 80, 40), disc(140, 60, 50, 30)])
    value = iou(np.stack([pooled(mask, cells) for mask in truth]), truth)
    assert value is not None
    assert value >= least


@pytest.mark.parametrize(
    ("heat", "expected"),
    [([[1, 0], [1, 0]], 1.0), ([[0, 1], [0, 1]], 0.0), ([[1, 1], [1, 1]], 0.5), ([[0, 0], [0, 0]], 0.0)],
)
def test_overlap_of_halves(heat: list[list[int]], expected: float) -> None:
    truth = np.zeros((1, 40, 40), np.float32)
    truth[:, :, :20] = 1
    assert iou(np.array([heat], np.float32), truth) == pytest.approx(expected, abs=0.03)


def test_frames_count_together_by_their_area() -> None:
    heat = np.array([[[1.0]], [[0.0]], [[1.0]]], np.float32)
    truth = np.zeros((3, 10, 10), np.uint8)
    truth[0] = 1
    truth[1, :5] = 1
    assert iou(heat, truth) == pytest.approx(100 / 250)


def test_nothing_forged_and_nothing_called_so_is_no_overlap_at_all() -> None:
    assert iou(np.zeros((2, 7, 7), np.float32), np.zeros((2, 70, 70), np.float32)) is None


@pytest.mark.parametrize(("threshold", "expected"), [(0.3, 1.0), (0.5, 0.0)])
def test_the_threshold_decides_what_is_called_forged(threshold: float, expected: float) -> None:
    heat = np.full((1, 6, 6), 0.4, np.float32)
    assert iou(heat, np.ones((1, 60, 60), np.bool_), threshold) == expected


@pytest.mark.parametrize(("frames", "masks"), [(2, 1), (1, 2), (0, 1)])
def test_a_map_for_each_mask(frames: int, masks: int) -> None:
    with pytest.raises(ValueError, match=f"{frames} maps for {masks} masks"):
        iou(np.zeros((frames, 7, 7), np.float32), np.zeros((masks, 70, 70), np.float32))
