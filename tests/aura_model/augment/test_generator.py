from dataclasses import replace

import numpy as np
import pytest

from aura_model.augment.generator import (
    RoundTripSettings,
    draw_round_trip,
    generated_face,
    generated_picture,
)

CLEAR = RoundTripSettings(
    side=(1, 1), latent=(1.5, 1.5), detail=(1, 1), forget=(0, 0), unevenness=(0, 0), sharpness=None
)


def noise(side: int = 64, level: float = 128, deviation: float = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(level, deviation, (side, side, 3)).astype(np.float32)


def trip(settings: RoundTripSettings, seed: int = 0):
    return draw_round_trip(np.random.default_rng(seed), settings)


def test_a_generator_that_forgets_nothing_gives_the_picture_back() -> None:
    np.testing.assert_allclose(trip(CLEAR)(noise()), noise(), atol=1e-3)


def test_forgetting_takes_sensor_noise_away() -> None:
    assert trip(replace(CLEAR, forget=(6, 6)))(noise()).std() < 0.6 * noise().std()


def test_uneven_enlarging_leaves_peaks_in_the_spectrum() -> None:
    drawn = trip(replace(CLEAR, unevenness=(0.02, 0.02)), seed=3)
    flat = drawn(np.full((64, 64, 3), 128, np.float32))[..., 1]
    spectrum = np.abs(np.fft.fft2(flat - flat.mean()))
    period = len(drawn.tile)
    peaks = spectrum[:: 64 // period, :: 64 // period]
    assert (peaks**2).sum() > 0.99 * (spectrum**2).sum() > 0
    assert flat.mean() == pytest.approx(128, abs=0.5)


def test_a_small_latent_picture_loses_detail() -> None:
    assert trip(replace(CLEAR, detail=(0.2, 0.2), latent=(3, 3)))(noise()).std() < 0.6 * noise().std()


def test_what_was_lost_in_sharpness_is_made_up_for() -> None:
    kept = trip(replace(CLEAR, detail=(0.2, 0.2), latent=(3, 3), sharpness=0.0))(noise())
    assert kept.std() == pytest.approx(noise().std(), rel=0.3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 200, 3), (65, 33, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_any_size_comes_back(shape: tuple[int, int, int], seed: int) -> None:
    found = trip(RoundTripSettings(), seed)(np.full(shape, 100, np.float32))
    assert found.shape == shape
    assert found.dtype == np.float32
    assert np.abs(found - 100).max() < 20


def test_the_face_alone_or_the_whole_picture_is_generated(make_material) -> None:
    material = make_material()
    face, whole = (make(material, np.random.default_rng(0)) for make in (generated_face, generated_picture))
    assert 0.05 < face.mask.mean() < 0.8
    assert (whole.mask == 1).all()
    assert (whole.frames[:, :8] != material.frames[:, :8]).any(-1).mean() > 0.5
    assert (face.frames[:, :8] == material.frames[:, :8]).all()


def test_one_generator_draws_all_frames(make_material) -> None:
    forgery = generated_picture(make_material(moving=False), np.random.default_rng(0))
    np.testing.assert_array_equal(forgery.frames[0], forgery.frames[2])
