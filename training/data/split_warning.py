"""A warning where a checkpoint is judged on other splits than it was trained on."""

import json
from collections.abc import Mapping
from typing import Any

from aura_model.config import Config


def split_warning(trained: Mapping[str, Any], config: Config) -> str | None:
    """A sentence where videos are not split as in training, so that a split may hold some that were trained on.

    A store keeps the splits it was made with, and a checkpoint that was trained from one knows nothing of them.

    Args:
        trained: the configuration that the checkpoint holds.
        config: the one in force.
    """
    match trained.get("dataset"):
        case {"preprocessing": {"mode": "on_the_fly"}, "auto_split": None | [float(), float(), float()] as shares}:
            return _split_advice(shares) if shares != config.plain()["dataset"]["auto_split"] else None
    return None


def _split_advice(shares: list[float] | None) -> str:
    advice = f"--auto-split {','.join(map(str, shares))}" if shares else "--set dataset.auto_split=null"
    return (
        f"the checkpoint was trained with dataset.auto_split={json.dumps(shares)} and is not judged with it: "
        f"where the data set is the same, this split may hold videos that were trained on; give {advice}"
    )
