import json
from collections.abc import Callable
from typing import Any

import pytest

from aura_model.config import Config
from training.data.split_warning import split_warning

SHARES = (0.5, 0.25, 0.25)


@pytest.mark.parametrize(
    ("mode", "then", "now", "advice"),
    [
        ("on_the_fly", SHARES, None, "give --auto-split 0.5,0.25,0.25"),
        ("on_the_fly", None, SHARES, "give --set dataset.auto_split=null"),
        ("on_the_fly", SHARES, (0.5, 0.5, 0.0), "give --auto-split 0.5,0.25,0.25"),
        ("on_the_fly", SHARES, SHARES, None),
        ("on_the_fly", None, None, None),
        ("preextracted", None, SHARES, None),
    ],
)
def test_other_splits_than_those_of_training_are_told(
    make_config: Callable[..., Config], mode: str, then: Any, now: Any, advice: str | None
) -> None:
    def splitting(shares: Any, *more: str) -> Config:
        return make_config(f"dataset.auto_split={json.dumps(shares)}", *more)

    trained = splitting(then, f"dataset.preprocessing.mode={mode}").plain()
    said = split_warning(trained, splitting(now))
    assert (said is None) if advice is None else (said is not None and said.endswith(advice))


FOREIGN = {"preprocessing": {"mode": "on_the_fly"}, "auto_split": ["a", {}, 3]}


@pytest.mark.parametrize(
    "trained", [{}, {"dataset": 3}, {"dataset": {"preprocessing": [], "auto_split": None}}, {"dataset": FOREIGN}]
)
def test_a_checkpoint_that_says_nothing_of_its_splits_is_taken_as_it_is(config: Config, trained: Any) -> None:
    assert split_warning(trained, config) is None
