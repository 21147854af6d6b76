from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from aura_model.augment.regions import EYES, FACE, LIPS, eyes_swap, mouth_swap, reenactment

PLACES = {"eyes": (0, 1), "mouth": (3, 4)}
"""Which landmarks belong to it."""


def shares(forgery, landmarks: np.ndarray) -> dict[str, float]:
    """The truth mask's mean in small windows about the eyes and about the mouth."""
    found = {}
    for name, indices in PLACES.items():
        x, y = np.rint(landmarks[0, indices, :].mean(0) if name == "mouth" else landmarks[0, 0]).astype(int)
        found[name] = float(forgery.mask[0, y - 2 : y + 3, x - 2 : x + 3].mean())
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_mouth_and_the_eyes_are_swapped_each_alone(seed: int, make_material) -> None:
    material = make_material(scale=26.0)
    mouth = shares(mouth_swap(material, np.random.default_rng(seed)), material.landmarks)
    eyes = shares(eyes_swap(material, np.random.default_rng(seed)), material.landmarks)
    assert mouth["mouth"] > 0.8 > 0.2 > mouth["eyes"]
    assert eyes["eyes"] > 0.6 > 0.2 > eyes["mouth"]


def test_a_reenactment_reaches_over_the_face(make_material) -> None:
    material = make_material(scale=26.0)
    found = shares(reenactment(material, np.random.default_rng(0)), material.landmarks)
    assert min(found.values()) > 0.9


@pytest.mark.parametrize(("swap", "settings"), [(mouth_swap, LIPS), (eyes_swap, EYES), (reenactment, FACE)])
def test_on_a_still_face_the_region_moves_and_the_rest_stays(swap: Callable, settings, make_material) -> None:
    material = make_material(moving=False, frames=4, scale=30.0, height=120, width=120, x=60.0, y=45.0)
    forgery = swap(material, np.random.default_rng(1), replace(settings, drift=0.0))
    over_time = np.abs(np.diff(forgery.frames.astype(int), axis=0)).max((0, 3))
    assert over_time[forgery.mask.min(0) > 0.9].mean() > 1
    assert not over_time[forgery.mask.max(0) == 0].any()


def test_another_time_shows_another_time(make_material) -> None:
    """A mouth that was red in one frame only is red in another one after the swap."""
    material = make_material(moving=False, frames=2, wave=False)
    frames = material.frames.copy()
    x, y = np.rint(material.landmarks[1, 3:].mean(0)).astype(int)
    frames[1, y - 3 : y + 4, x - 6 : x + 7] = (255, 0, 0)
    plain = replace(LIPS, other_time=1.0, drift=0.0)
    forgery = mouth_swap(replace(material, frames=frames), np.random.default_rng(0), plain)
    assert forgery.frames[0, y, x, 0] > frames[0, y, x, 0].astype(int) + 40
    assert forgery.frames[1, y, x, 0] < frames[1, y, x, 0].astype(int) - 40
