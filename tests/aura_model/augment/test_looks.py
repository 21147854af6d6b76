import cv2
import numpy as np
import pytest

from aura_model.augment import looks
from aura_model.augment.looks import (
    LookSettings,
    draw_look,
    draw_uneven,
    match_statistics,
    plain_look,
    shrink_and_enlarge,
    soften,
)

EVERYWHERE = np.ones((48, 56), np.float32)
SETTINGS = LookSettings()


def picture(seed: int = 0, deviation: float = 12.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.normal(0, 1, (48, 56, 3)), (0, 0), 4)
    return (130 + 300 * smooth + rng.normal(0, deviation, (48, 56, 3))).astype(np.float32)


def test_a_plain_look_leaves_a_picture() -> None:
    np.testing.assert_allclose(plain_look().paint(picture(), picture(), EVERYWHERE, 1.0), picture(), atol=1e-3)


def test_brightness_is_one_more_gain() -> None:
    np.testing.assert_allclose(plain_look().paint(picture(), picture(), EVERYWHERE, 1.1), picture() * 1.1, rtol=1e-5)


def test_a_look_paints_every_picture_alike() -> None:
    look = draw_look(np.random.default_rng(0), SETTINGS)
    np.testing.assert_array_equal(
        look.paint(picture(), picture(), EVERYWHERE, 1.0), look.paint(picture(), picture(), EVERYWHERE, 1.0)
    )


def test_looks_of_no_strength_are_plain() -> None:
    look = draw_look(np.random.default_rng(0), LookSettings(0, 0, 0, 0, 0, 0, 0, 0, sharpness=None))
    np.testing.assert_allclose(look.paint(picture(), picture(), EVERYWHERE, 1.0), picture(), atol=1e-2)


def test_looks_are_moderate_and_lie_on_both_sides() -> None:
    changes = [
        (
            draw_look(np.random.default_rng(seed), SETTINGS).paint(picture(), picture(), EVERYWHERE, 1.0) - picture()
        ).mean()
        for seed in range(60)
    ]
    assert np.abs(changes).max() < 60
    assert min(changes) < -3
    assert max(changes) > 3


def test_textures_replace_textures_only() -> None:
    look = draw_look(np.random.default_rng(1), SETTINGS).textured(lambda image: image * 0)
    assert look.paint(picture(), picture(), EVERYWHERE, 1.0).std() < picture().std()
    assert len(look.textures) == 1


def test_a_harmonised_look_has_the_colours_of_what_it_lies_over() -> None:
    look = draw_look(np.random.default_rng(0), LookSettings(shading=0, harmony=1.0))
    over = picture(1) * 0.6 + np.array([40, 10, 0], np.float32)
    found = look.paint(picture(), over, EVERYWHERE, 1.0)
    before, after = (np.abs(image.mean((0, 1)) - over.mean((0, 1))).max() for image in (picture(), found))
    assert after < 0.7 * before


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("weight", [None, EVERYWHERE])
def test_sharpness_is_that_of_the_model_times_the_ratio(ratio: float, weight) -> None:
    def sharpness(image: np.ndarray) -> float:
        return float((image - cv2.GaussianBlur(image, (0, 0), looks.DETAIL))[..., 1].std())

    soft = cv2.GaussianBlur(picture(), (0, 0), 0.5)
    found = looks.match_sharpness(soft, picture(), weight, ratio)
    assert sharpness(found) == pytest.approx(ratio * sharpness(picture()), rel=0.2)
    np.testing.assert_allclose(found.mean(), soft.mean(), atol=0.5)


def test_a_flat_picture_stays_flat_whatever_the_sharpness() -> None:
    flat = np.full((20, 20, 3), 90, np.float32)
    np.testing.assert_allclose(looks.match_sharpness(flat, picture()[:20, :20], None, 2.0), flat, atol=1e-3)


def test_sharpness_is_drawn_above_one_as_often_as_below() -> None:
    drawn = [looks.draw_sharpness(np.random.default_rng(seed), 0.35) for seed in range(200)]
    assert 0.4 < np.mean(np.array(drawn) > 1) < 0.6
    assert looks.draw_sharpness(np.random.default_rng(0), None) is None


@pytest.mark.parametrize(
    ("sharpness", "matched", "share"), [(0.35, 0.3, 0.3), (0.35, 0.0, 0.0), (0.35, 1.0, 1.0), (None, 1.0, 0.0)]
)
def test_sharpness_is_matched_by_chance_alone(sharpness: float | None, matched: float, share: float) -> None:
    settings = LookSettings(sharpness=sharpness, matched=matched)
    drawn = [draw_look(np.random.default_rng(seed), settings).sharpness for seed in range(300)]
    found = np.mean([ratio is not None for ratio in drawn])
    assert found == share if share in (0.0, 1.0) else found == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_statistics_go_their_share_of_the_way(share: float) -> None:
    source, model = picture(0), picture(1) * 0.7 + np.array([30, 0, -10], np.float32)
    found = match_statistics(source, model, EVERYWHERE, share)
    sampled, wanted, had = (image[::2, ::2].mean((0, 1)) for image in (found, model, source))
    np.testing.assert_allclose(sampled, had + share * (wanted - had), atol=0.5)
    if share == 1:
        np.testing.assert_allclose(found[::2, ::2].std((0, 1)), model[::2, ::2].std((0, 1)), rtol=0.02)


def test_statistics_are_taken_where_the_weight_is() -> None:
    source, model = picture(0), picture(1)
    model[:, 28:] += 100
    left = EVERYWHERE.copy()
    left[:, 28:] = 0
    found = match_statistics(source, model, left, 1.0)
    np.testing.assert_allclose(found[::2, :28:2].mean((0, 1)), model[::2, :28:2].mean((0, 1)), atol=0.5)


def test_softening_takes_faint_detail_and_keeps_edges() -> None:
    edge = np.zeros((40, 40, 3), np.float32)
    edge[:, 20:] = 200
    noisy = edge + np.random.default_rng(0).normal(0, 2, edge.shape).astype(np.float32)
    soft = soften(noisy, (6.0, 4.0))
    assert soft[:, 2:14].std() < 0.6 * noisy[:, 2:14].std()
    assert soft[20, 20].mean() - soft[20, 19].mean() > 170


def test_softening_by_nothing_is_nothing() -> None:
    np.testing.assert_allclose(soften(picture(), (0.0, 0.0)), picture(), atol=1e-4)


@pytest.mark.parametrize("factor", [1.5, 4.0])
def test_shrinking_loses_fine_detail_and_keeps_size(factor: float) -> None:
    small = shrink_and_enlarge(factor, cv2.INTER_AREA, cv2.INTER_LINEAR)(picture())
    assert small.shape == picture().shape
    assert cv2.Laplacian(small, cv2.CV_32F).std() < 0.7 * cv2.Laplacian(picture(), cv2.CV_32F).std()


def test_a_picture_of_one_pixel_can_be_shrunk() -> None:
    pixel = np.full((1, 1, 3), 7, np.float32)
    np.testing.assert_allclose(shrink_and_enlarge(3.0, cv2.INTER_AREA, cv2.INTER_CUBIC)(pixel), pixel)


def test_jpeg_keeps_red_red() -> None:
    red = np.full((16, 16, 3), (200, 30, 30), np.float32)
    np.testing.assert_allclose(looks._draw_jpeg(np.random.default_rng(0))(red), red, atol=12)


def test_pale_colours_lose_detail_and_light_keeps_it() -> None:
    def colour(image: np.ndarray) -> np.ndarray:
        return (image - (image @ looks.LUMA)[..., None]).astype(np.float32)

    pale = looks._draw_pale(np.random.default_rng(0))(picture())
    assert pale.dtype == np.float32
    np.testing.assert_allclose(pale @ looks.LUMA, picture() @ looks.LUMA, atol=0.05)
    assert cv2.Laplacian(colour(pale), cv2.CV_32F).std() < 0.4 * cv2.Laplacian(colour(picture()), cv2.CV_32F).std()
    np.testing.assert_allclose(colour(pale).mean((0, 1)), colour(picture()).mean((0, 1)), atol=1.0)


def test_every_texture_is_drawn_and_sometimes_two_of_them() -> None:
    rng = np.random.default_rng(0)
    drawn = [looks._draw_textures(rng, SETTINGS) for _ in range(200)]
    assert {len(textures) for textures in drawn} == {1, 2}
    names = ("shrink", "blur", "smooth", "sharpen", "jpeg", "pale", "grain")
    made = {texture.__qualname__ for textures in drawn for texture in textures}
    assert all(any(name in one for one in made) for name in names), made


def test_grain_is_the_same_on_each_frame() -> None:
    grain = looks._draw_grain(np.random.default_rng(0))
    np.testing.assert_array_equal(grain(picture(0)) - picture(0) > 0, grain(picture(1)) - picture(1) > 0)


@pytest.mark.parametrize("seed", range(20))
def test_every_drawn_texture_keeps_shape_type_and_level(seed: int) -> None:
    for texture in looks._draw_textures(np.random.default_rng(seed), SETTINGS):
        found = texture(picture())
        assert found.shape == picture().shape
        assert found.dtype == np.float32
        assert abs(found.mean() - picture().mean()) < 4


def test_an_uneven_picture_keeps_its_level_and_some_of_it_stays_as_it_was() -> None:
    changed = [np.abs(draw_uneven(np.random.default_rng(seed))(picture()) - picture()).mean(-1) for seed in range(40)]
    blocks = [cv2.resize(change, (7, 6), interpolation=cv2.INTER_AREA) for change in changed]
    assert sum(block.max() > 4 * block.min() for block in blocks) > 20
    for seed in range(40):
        found = draw_uneven(np.random.default_rng(seed))(picture())
        assert found.shape == (48, 56, 3)
        assert found.dtype == np.float32
        assert abs(float(found.mean() - picture().mean())) < 3


def test_the_middle_is_as_often_of_another_quality_as_what_is_around_it() -> None:
    def share(seed: int) -> float:
        change = np.abs(draw_uneven(np.random.default_rng(seed))(picture()) - picture()).mean(-1)
        return float(change[16:32, 18:38].mean() / change.mean())

    shares = [share(seed) for seed in range(120)]
    assert sum(one > 1.2 for one in shares) > 20
    assert sum(one < 0.8 for one in shares) > 20


def test_an_uneven_picture_is_the_same_each_time() -> None:
    one = draw_uneven(np.random.default_rng(4))
    np.testing.assert_array_equal(one(picture()), one(picture()))
