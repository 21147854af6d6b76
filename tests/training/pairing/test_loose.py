"""Clips that pairs are made of are cut out loosely; all others as the model takes them."""

from collections.abc import Callable
from typing import Any

import pytest

from aura_model.config import Config
from training.pairing.loose import loose

PAIRS = "dataset.pseudo_fakes={enabled: true, margin: 0.6, size: 200}"


def differences(one: Any, other: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """The dotted keys at which two plain trees differ."""
    if not isinstance(one, dict):
        return {} if one == other else {prefix[:-1]: (one, other)}
    return {key: pair for name in one for key, pair in differences(one[name], other[name], f"{prefix}{name}.").items()}


def test_pairs_want_more_of_the_picture_and_no_sound(make_config: Callable[..., Config]) -> None:
    config = make_config(PAIRS, "dataset.face.margin=0.1")
    assert differences(config.plain(), loose(config).plain()) == {
        "dataset.face.margin": (0.1, 0.6),
        "dataset.face.size": (64, 200),
        "dataset.audio.enabled": (True, False),
    }
    assert config.dataset.face.size == 64  # the given one is left as it was


def test_to_cut_loosely_what_is_cut_loosely_changes_nothing(make_config: Callable[..., Config]) -> None:
    once = loose(make_config(PAIRS))
    assert loose(once) == once


@pytest.mark.parametrize("override", ["seed=3", "dataset.pseudo_fakes={enabled: false, margin: 0.6, size: 200}"])
def test_a_configuration_without_pairs_is_left_alone(make_config: Callable[..., Config], override: str) -> None:
    config = make_config(override)
    assert loose(config) is config
