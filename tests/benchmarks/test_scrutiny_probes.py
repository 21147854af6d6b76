import numpy as np
import pytest
from scrutiny.probes import (
    EDITS,
    GREY,
    coded,
    file_facts,
    hidden_places,
    picture_statistics,
    silence,
    without,
)

from aura_model.augment.face_model import FIVE

SIDE = 64
LANDMARKS = np.repeat((np.array([32.0, 26.0]) + 10 * FIVE[:, :2]).astype(np.float32)[None], 2, 0)
NOWHERE = np.zeros((2, SIDE, SIDE), np.float32)


@pytest.fixture
def clip() -> np.ndarray:
    frames = np.random.default_rng(0).integers(60, 180, (2, SIDE, SIDE, 3), dtype=np.uint8)
    frames.setflags(write=False)
    return frames


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_changes_the_clip_but_not_its_shape(clip, name):
    edited = EDITS[name](clip)
    assert edited.shape == clip.shape
    assert edited.dtype == np.uint8
    assert not np.array_equal(edited, clip)


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_does_the_same_to_every_frame(clip, name):
    still = np.repeat(clip[:1], 3, 0)
    first, *others = EDITS[name](still)
    assert all(np.array_equal(first, other) for other in others)


def test_a_caption_is_written_over_the_lower_edge(clip):
    changed = (EDITS["caption"](clip) != clip).any((0, 2, 3))
    assert not changed[: SIDE // 2].any()
    assert changed[-8:].any()


def test_a_letterbox_leaves_the_middle(clip):
    edited = EDITS["letterbox"](clip)
    assert not edited[:, :6].any()
    assert not edited[:, -6:].any()
    assert np.array_equal(edited[:, 6:-6], clip[:, 6:-6])


@pytest.mark.parametrize(("name", "factor"), [("brighter", 1.2), ("darker", 0.75)])
def test_brightness_is_scaled(clip, name, factor):
    assert EDITS[name](clip).mean() == pytest.approx(factor * clip.mean(), rel=0.02)


def test_grey_has_no_colour(clip):
    assert np.ptp(EDITS["grey"](clip).astype(int), axis=-1).max() <= 1


def test_a_clip_is_coded_anew(clip):
    once, twice = coded(clip), coded(coded(clip))
    assert once.shape == clip.shape
    assert not np.array_equal(once, clip)
    assert not np.array_equal(twice, once)
    assert np.abs(twice.astype(int) - once).mean() < np.abs(once.astype(int) - clip).mean()


class TestHiding:
    def test_the_face_is_hidden_and_the_corners_are_not(self):
        hidden = hidden_places(LANDMARKS, NOWHERE)
        assert hidden.shape == (2, SIDE, SIDE)
        assert all(hidden[0, round(float(y)), round(float(x))] for x, y in LANDMARKS[0])
        assert not hidden[:, [0, 0, -1, -1], [0, -1, 0, -1]].any()

    def test_some_way_around_a_forgery_is_hidden_too(self):
        mask = NOWHERE.copy()
        mask[0, 2, 60] = 0.01
        hidden = hidden_places(LANDMARKS, mask)
        assert hidden[0, 5, 60]
        assert not hidden[0, 12, 60]
        assert not hidden[1, 2, 60]

    def test_landmarks_far_away_hide_nothing_here(self):
        assert not hidden_places(LANDMARKS + 1e6, NOWHERE)[:, : SIDE // 4].any()

    def test_what_is_hidden_is_grey_and_the_rest_stays(self, clip):
        hidden = hidden_places(LANDMARKS, NOWHERE)
        shown = without(clip, hidden)
        assert np.unique(shown[hidden]).tolist() == [GREY]
        assert np.array_equal(shown[~hidden], clip[~hidden])

    def test_two_clips_that_differ_in_the_face_alone_look_alike_without_it(self, clip):
        hidden, other = hidden_places(LANDMARKS, NOWHERE), clip.copy()
        other[hidden] = 7
        assert np.array_equal(without(other, hidden), without(clip, hidden))
        assert picture_statistics(other, hidden) == picture_statistics(clip, hidden)


class TestStatistics:
    def test_they_are_twelve_finite_numbers(self, clip):
        values = picture_statistics(clip, hidden_places(LANDMARKS, NOWHERE))
        assert len(values) == 12
        assert np.isfinite(values).all()

    def test_nothing_visible_is_all_zeros(self, clip):
        assert picture_statistics(clip, np.ones((2, SIDE, SIDE), bool)) == (0.0,) * 12

    def test_a_flat_grey_clip_has_colour_and_nothing_else(self):
        flat = np.full((2, SIDE, SIDE, 3), 90, np.uint8)
        assert picture_statistics(flat, NOWHERE > 0) == pytest.approx((90, 90, 90) + (0,) * 9, abs=1e-4)

    @pytest.mark.parametrize(("axis", "place"), [(2, 6), (1, 7), (0, 8)])
    def test_a_change_along_an_axis_shows_in_its_place(self, axis, place):
        ramp = np.zeros((2, SIDE, SIDE, 3), np.uint8)
        slope = 3 * np.arange(ramp.shape[axis]).reshape([-1 if one == axis else 1 for one in range(4)])
        values = picture_statistics(ramp + slope.astype(np.uint8), NOWHERE > 0)
        assert [values[one] > 1 for one in (6, 7, 8)] == [one == place for one in (6, 7, 8)]

    def test_steps_between_blocks_show(self):
        blocks = np.repeat(np.random.default_rng(1).integers(0, 255, (1, 1, 8, 1), dtype=np.uint8), 8, 2)
        frames = np.broadcast_to(blocks, (2, SIDE, SIDE, 3))
        values = picture_statistics(frames, NOWHERE > 0)
        assert values[9] > 5 * values[6]


class TestFile:
    def test_a_file_tells_bytes_and_sizes(self, clip):
        size, frames, height, width, seconds = file_facts(clip)
        assert size > 500
        assert (frames, height, width, seconds) == (2, SIDE, SIDE, 2 / 25)

    def test_a_busy_clip_has_more_bytes_than_a_flat_one(self, clip):
        assert file_facts(clip)[0] > 2 * file_facts(np.full_like(clip, 90))[0]

    def test_odd_sizes_are_taken(self):
        assert file_facts(np.zeros((1, 33, 47, 3), np.uint8))[2:4] == (33, 47)

    def test_the_same_clip_has_as_many_bytes(self, clip):
        assert file_facts(clip) == pytest.approx(file_facts(clip), rel=0.05)


def test_silence_is_of_the_length_that_it_is_asked_for():
    wave = silence(0.25)
    assert wave.shape == (4000,)
    assert wave.dtype == np.float32
    assert not wave.any()
