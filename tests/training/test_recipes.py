"""The recipes that are shipped can be trained with as they are."""

from pathlib import Path

import pytest

from aura_model.augment.families import HELD_OUT, PROBES
from aura_model.config import Config
from aura_model.settings import load_config
from training.pairing.loose import loose

RECIPES = sorted((Path(__file__).parents[2] / "training" / "recipes").glob("*.yaml"))


@pytest.fixture(params=RECIPES, ids=lambda path: path.stem)
def recipe(request: pytest.FixtureRequest) -> Config:
    return load_config(request.param, env={})


def test_there_is_one_of_the_default_model() -> None:
    assert "default.yaml" in [path.name for path in RECIPES]


def test_shares_of_families_are_shares(recipe: Config) -> None:
    """A family that is left out of the file would have its default weight on top."""
    assert sum(recipe.dataset.pseudo_fakes.families.values()) == pytest.approx(1)


def test_some_families_are_kept_to_measure_with(recipe: Config) -> None:
    assert recipe.dataset.pseudo_fakes.enabled
    assert not set(recipe.dataset.pseudo_fakes.families) & (HELD_OUT | PROBES)


def test_loose_crops_hold_more_than_the_model_is_shown(recipe: Config) -> None:
    face, cut = recipe.dataset.face, loose(recipe).dataset.face
    assert cut.margin > face.margin
    assert cut.size >= face.size


def test_pairs_come_without_sound_and_with_changes_of_their_own(recipe: Config) -> None:
    """The model is not asked for sound that no clip has, and nothing is changed twice."""
    assert not recipe.dataset.audio.enabled
    assert not recipe.dataset.augmentation.enabled


def test_pictures_of_the_first_epochs_are_smaller_indeed(recipe: Config) -> None:
    assert recipe.training.low_resolution.epochs <= recipe.training.epochs
    low = recipe.training.low_resolution
    assert not low.epochs or low.size < recipe.dataset.face.size


def test_heat_maps_are_trained(recipe: Config) -> None:
    assert recipe.training.place_loss_weight > 0
