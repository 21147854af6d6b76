"""Noise, light, bars and words, after all codecs: the same for both clips of a pair, and as strong as they say."""

from collections.abc import Callable

import numpy as np
import pytest

from aura_model.augment.disturbances import (
    CHANCES,
    Disturbance,
    draw_bars,
    draw_disturbances,
    draw_light,
    draw_noise,
    draw_paleness,
    draw_softness,
    draw_words,
)
from aura_model.augment.video import Frames

Draw = Callable[[np.random.Generator], Disturbance]
SEEDS = range(20)


def picture(height: int = 64, width: int = 80, frames: int = 2) -> Frames:
    """Colourful, neither black nor white anywhere."""
    return np.random.default_rng(7).integers(60, 180, (frames, height, width, 3), dtype=np.uint8)


def plain(value: int = 120) -> Frames:
    return np.full((3, 64, 64, 3), value, np.uint8)


def drawn(draw: Draw, frames: Frames) -> list[Frames]:
    """What twenty draws make of them."""
    return [draw(np.random.default_rng(seed))(frames) for seed in SEEDS]


@pytest.mark.parametrize("draw", CHANCES, ids=lambda draw: draw.__name__)
def test_a_disturbance_changes_the_picture_and_keeps_its_shape(draw: Draw) -> None:
    frames = picture()
    found = drawn(draw, frames)
    assert {one.shape for one in found} == {frames.shape}
    assert {one.dtype for one in found} == {np.dtype(np.uint8)}
    assert sum((one != frames).any() for one in found) > 15
    assert len({one.tobytes() for one in found}) > 5


@pytest.mark.parametrize("draw", CHANCES, ids=lambda draw: draw.__name__)
def test_a_drawn_disturbance_is_the_same_for_every_clip(draw: Draw) -> None:
    frames = picture()
    disturb = draw(np.random.default_rng(3))
    first = disturb(frames)
    disturb(picture(32, 32, 1))
    np.testing.assert_array_equal(disturb(frames), first)
    np.testing.assert_array_equal(draw(np.random.default_rng(3))(frames), first)


@pytest.mark.parametrize("draw", CHANCES, ids=lambda draw: draw.__name__)
def test_nothing_is_written_to_the_clip_itself(draw: Draw) -> None:
    frames = picture()
    frames.flags.writeable = False
    drawn(draw, frames)
    np.testing.assert_array_equal(frames, picture())


@pytest.mark.parametrize("draw", CHANCES, ids=lambda draw: draw.__name__)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 300), (300, 2)])
def test_no_size_of_picture_is_too_odd(draw: Draw, height: int, width: int) -> None:
    frames = picture(height, width, 1)
    assert {one.shape for one in drawn(draw, frames)} == {frames.shape}


def test_noise_reaches_from_what_a_good_camera_adds_to_what_hides_the_skin() -> None:
    strengths = [float((one.astype(float) - 120).std()) for one in drawn(draw_noise, plain())]
    assert min(strengths) < 5
    assert 20 < max(strengths) < 45


def test_noise_is_another_in_each_frame_of_a_clip() -> None:
    for noisy in drawn(draw_noise, plain()):
        assert (noisy[0] != noisy[1]).any()


def test_paleness_takes_colour_and_sometimes_all_of_it_but_no_light() -> None:
    frames = picture()
    spread = [float(np.ptp(one.astype(int), axis=3).mean()) for one in drawn(draw_paleness, frames)]
    assert max(spread) < np.ptp(frames.astype(int), axis=3).mean()
    assert sum(value < 2 for value in spread) in range(3, 12)
    weights = np.array([0.299, 0.587, 0.114])
    for one in drawn(draw_paleness, frames):
        np.testing.assert_allclose(one @ weights, frames @ weights, atol=2)


def test_light_makes_a_picture_darker_and_flatter_or_brighter() -> None:
    factors = [float(one.mean() / 120) for one in drawn(draw_light, plain())]
    assert 0.3 < min(factors) < 0.6
    assert 1.1 < max(factors) < 1.35


def test_softness_takes_fine_detail_and_keeps_the_mean() -> None:
    frames = picture()
    for soft in drawn(draw_softness, frames):
        assert soft.std() < 0.8 * frames.std()
        assert abs(float(soft.mean()) - float(frames.mean())) < 2


def test_bars_are_black_lie_at_the_edges_and_leave_the_rest_alone() -> None:
    frames = picture(100, 100)
    hidden_shares = set()
    for barred in drawn(draw_bars, frames):
        hidden = (barred == 0).all(axis=(0, 3))
        np.testing.assert_array_equal(barred[:, ~hidden], frames[:, ~hidden])
        lines = hidden if hidden[0].all() or hidden[-1].all() else hidden.T
        np.testing.assert_array_equal(lines, lines[:, :1].repeat(100, 1))  # whole lines
        (seen,) = np.nonzero(~lines[:, 0])
        np.testing.assert_array_equal(np.diff(seen), 1)  # of the edges, not of the middle
        hidden_shares.add(100 - len(seen))
    assert min(hidden_shares) >= 2
    assert 15 < max(hidden_shares) <= 40


def test_a_letterbox_has_two_bars_and_some_pictures_only_one() -> None:
    both = [
        bool((one[:, 0] == 0).all() and (one[:, -1] == 0).all())
        or bool((one[:, :, 0] == 0).all() and (one[:, :, -1] == 0).all())
        for one in drawn(draw_bars, picture(100, 100))
    ]
    assert 2 < sum(both) < 18


def test_words_cover_little_and_stay_where_they_are() -> None:
    frames = plain()
    shares, low = [], []
    for written in drawn(draw_words, frames):
        changed = (written != frames).any(3)
        np.testing.assert_array_equal(changed[0], changed[-1])
        shares.append(float(changed.mean()))
        low += np.nonzero(changed[0])[0].tolist()
    assert 0.005 < float(np.mean(shares)) < 0.2
    assert max(shares) < 0.4
    assert float(np.mean(low)) > 40, "mostly in the lower part of 64 rows"


def test_words_can_be_read_on_any_ground() -> None:
    """A rim of another shade: neither white nor black pictures swallow them."""
    for value in (0, 255):
        assert sum((one != value).any() for one in drawn(draw_words, plain(value))) > 15


def test_most_clips_have_none_or_one_and_none_at_all_where_nothing_is_to_be_disturbed() -> None:
    counts = [len(draw_disturbances(np.random.default_rng(seed), 1.0)) for seed in range(400)]
    assert abs(float(np.mean(counts)) - sum(CHANCES.values())) < 0.12
    assert sum(count <= 1 for count in counts) > 280
    assert not any(draw_disturbances(np.random.default_rng(seed), 0.0) for seed in SEEDS)
    assert {len(draw_disturbances(np.random.default_rng(seed), 100.0)) for seed in SEEDS} == {len(CHANCES)}


def test_more_of_them_keeps_those_that_there_were() -> None:
    """Each has a generator of its own: what one draws does not depend on the others."""
    frames = picture()
    for seed in SEEDS:
        few, all_of_them = (draw_disturbances(np.random.default_rng(seed), share) for share in (1.0, 100.0))
        results = [one(frames).tobytes() for one in all_of_them]
        assert all(one(frames).tobytes() in results for one in few)
