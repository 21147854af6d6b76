"""A model that loads in the background."""

import threading
from pathlib import Path

import pytest

from aura_model.errors import CheckpointError, ModelNotReadyError
from deployments.loading import Loaded, LoadingModel
from tests.deployments.conftest import INFO, make_config


def make_loaded() -> Loaded:
    return Loaded(score=lambda clips: [], info=INFO, config=make_config(), device="cpu")


def finished(load: object, checkpoint: Path | None = None) -> LoadingModel:
    model = LoadingModel(load, checkpoint)
    model.wait(10)
    return model


def fail(error: BaseException) -> object:
    def load() -> Loaded:
        raise error

    return load


def test_it_loads_beside_its_owner() -> None:
    go = threading.Event()

    def load() -> Loaded:
        go.wait(10)
        return make_loaded()

    model = LoadingModel(load, None)
    assert (model.status().state, model.status().reason) == ("loading", "loading")
    with pytest.raises(ModelNotReadyError, match=r"not ready \(loading\)"):
        model.get()
    go.set()
    model.wait(10)
    assert model.status().state == "ready"


def test_a_loaded_model_says_what_it_is() -> None:
    loaded = make_loaded()
    model = finished(lambda: loaded)
    status = model.status()
    assert model.get() is loaded
    assert (status.reason, status.detail, status.model, status.device) == (None, None, INFO, "cpu")
    assert status.config is loaded.config


@pytest.mark.parametrize("code", ["checkpoint_missing", "checkpoint_damaged", "checkpoint_foreign"])
def test_a_bad_checkpoint_is_a_state_with_its_code(code: str) -> None:
    model = finished(fail(CheckpointError(code, "look here")))
    status = model.status()
    assert (status.state, status.reason, status.detail) == ("failed", code, "look here")
    assert (status.model, status.config) == (None, None)
    with pytest.raises(ModelNotReadyError, match=code) as caught:
        model.get()
    assert caught.value.code == "model_not_ready"
    assert "look here" not in caught.value.detail


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), MemoryError(), ImportError("no timm")], ids=repr)
def test_any_other_failure_is_a_state_too(error: Exception) -> None:
    status = finished(fail(error)).status()
    assert (status.state, status.reason) == ("failed", "model_error")
    assert type(error).__name__ in (status.detail or "")


def test_the_file_is_looked_up_each_time(tmp_path: Path) -> None:
    path = tmp_path / "best.pth"
    model = finished(make_loaded, path)
    assert (model.status().checkpoint_path, model.status().checkpoint_exists) == (str(path), False)
    path.touch()
    assert model.status().checkpoint_exists


def test_without_a_configured_checkpoint_there_is_no_file() -> None:
    status = finished(make_loaded).status()
    assert (status.checkpoint_path, status.checkpoint_exists) == (None, False)
