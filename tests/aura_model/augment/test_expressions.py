from dataclasses import replace

import numpy as np
import pytest

from aura_model.augment.expressions import FEATURES, Motion, draw_expressions

STEADY = Motion(moves=0, widths=0, heights=0)


def mouth_height(warp) -> float:
    """How much of the source a strip about the mouth covers: less means that the mouth is enlarged."""
    x, y = FEATURES["mouth"][0]
    sources = warp.sources(np.array([[x, y - 0.05], [x, y + 0.05]], np.float32))
    return float(sources[1, 1] - sources[0, 1])


def test_each_frame_has_a_warp_and_nothing_moves_without_strength() -> None:
    points = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    warps = draw_expressions(np.random.default_rng(0), 5, STEADY)
    assert len(warps) == 5
    for warp in warps:
        np.testing.assert_allclose(warp.sources(points), points, atol=1e-6)


def test_a_mouth_opens_and_closes_over_time() -> None:
    warps = draw_expressions(np.random.default_rng(0), 60, replace(STEADY, features=("mouth",), heights=0.3))
    heights = np.array([mouth_height(warp) for warp in warps])
    assert heights.min() < 0.09
    assert heights.max() > 0.11


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_moves_alone(name: str) -> None:
    warp = draw_expressions(np.random.default_rng(0), 1, replace(STEADY, features=(name,), moves=0.1))[0]
    own, far = np.array([FEATURES[name][0]], np.float32), np.array([[0.0, -2.5]], np.float32)
    assert np.abs(warp.sources(own) - own).max() > 0.005
    np.testing.assert_allclose(warp.sources(far), far, atol=1e-4)


def test_a_higher_hold_moves_slower() -> None:
    def speed(hold: float) -> float:
        warps = draw_expressions(np.random.default_rng(0), 100, replace(STEADY, moves=0.1, hold=hold))
        return float(np.abs(np.diff([warp.moves for warp in warps], axis=0)).mean())

    assert speed(0.95) < 0.5 * speed(0.2)
