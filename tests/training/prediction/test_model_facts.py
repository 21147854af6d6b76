from collections.abc import Callable
from pathlib import Path

import pytest

from aura_model import config as config_module
from aura_model.checkpoint import save_checkpoint
from aura_model.config import Config
from aura_model.model import MultimodalModel
from aura_model.settings import load_config
from training.prediction.model_facts import read_model_facts


@pytest.fixture
def folder(tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_checkpoint(tmp_path / "best.pth", MultimodalModel(config.model), config, 3, {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config_module, "PACKAGED_CHECKPOINT", tmp_path / "best.pth")
    return tmp_path


def test_a_path_is_made_absolute_for_actors_in_another_folder(folder: Path) -> None:
    facts = read_model_facts(load_config(env={}, overrides=["inference.checkpoint=best.pth"]))
    assert facts.config.inference.checkpoint == folder / "best.pth"
    assert facts.info.trained


def test_the_packages_own_stays_a_name_for_each_node_to_find(folder: Path) -> None:
    facts = read_model_facts(load_config(env={}, overrides=["inference.checkpoint=default"]))
    assert facts.config.inference.checkpoint == "default"
    assert facts.info.trained


def test_without_a_checkpoint_the_model_is_untrained(make_config: Callable[..., Config]) -> None:
    facts = read_model_facts(make_config("inference.checkpoint=null"))
    assert (facts.config.inference.checkpoint, facts.info.trained) == (None, False)


def test_clips_are_cut_as_the_checkpoint_was_trained(folder: Path, config: Config) -> None:
    facts = read_model_facts(load_config(env={}, overrides=["inference.checkpoint=best.pth"]))
    assert facts.config.dataset.face.size == config.dataset.face.size
    assert facts.config.dataset.video.temporal_window == config.dataset.video.temporal_window
