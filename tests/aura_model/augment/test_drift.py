import numpy as np
import pytest

from aura_model.augment.drift import DriftSettings, feature_drift, frame_stumble


def test_features_tremble_and_a_single_frame_shows_little(make_material) -> None:
    material = make_material(moving=False, frames=6, scale=26.0)
    forgery = feature_drift(material, np.random.default_rng(0))
    change = np.abs(forgery.frames.astype(int) - material.frames).mean()
    over_time = np.abs(np.diff(forgery.frames.astype(int), axis=0)).mean()
    assert over_time > change / 2 > 0.05
    assert change < 5


def test_a_weak_tremor_is_weaker(make_material) -> None:
    material = make_material(moving=False, frames=4, scale=26.0)

    def change(weakest: float) -> float:
        found = [
            feature_drift(material, np.random.default_rng(seed), DriftSettings(weakest=weakest)) for seed in range(4)
        ]
        return float(np.mean([np.abs(forgery.frames.astype(int) - material.frames).mean() for forgery in found]))

    assert change(0.05) < change(1.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_face_stumbles_in_place_and_the_truth_is_in_those_frames_alone(seed: int, make_material) -> None:
    material = make_material(frames=6)
    forgery = frame_stumble(material, np.random.default_rng(seed))
    touched = forgery.mask.any((1, 2))
    assert 1 <= touched.sum() < 6
    changed = (forgery.frames != material.frames).any((1, 2, 3))
    np.testing.assert_array_equal(changed, touched)


def test_one_frame_cannot_stumble(make_material) -> None:
    forgery = frame_stumble(make_material(frames=1), np.random.default_rng(0))
    assert forgery.label == 0
