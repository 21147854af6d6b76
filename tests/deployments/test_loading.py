"""A model that loads in the background, and the one that takes its place."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from aura_model.errors import CheckpointError, ModelNotReadyError
from deployments.loading import Candidate, Loaded, LoadingModel
from deployments.messages import fit_of
from tests.deployments.conftest import INFO, make_config

KEEP = 60.0
FIT = fit_of(make_config())


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_loaded(side: int = 224) -> Loaded:
    config = make_config(dataset={"face": {"size": side}})
    return Loaded(score=lambda clips: [], info=INFO, config=config, device="cpu")


def fail(error: BaseException) -> Callable[[], Loaded]:
    def load() -> Loaded:
        raise error

    return load


class Held:
    """A load that waits to be let go."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self) -> Loaded:
        self.begun.set()
        self.go.wait(10)
        return self.loaded


async def finished(
    load: Callable[[], Loaded], checkpoint: Path | None = None, clock: Callable[[], float] = lambda: 0.0
) -> LoadingModel:
    model = LoadingModel(Candidate(checkpoint, load), KEEP, clock)
    await model.wait()
    return model


def change(model: LoadingModel, load: Callable[[], Loaded], checkpoint: Path | None = None) -> None:
    """Choose another model and wait until its load has ended."""
    model.choose(Candidate(checkpoint, load))
    if model._thread:
        model._thread.join(10)


async def test_it_loads_beside_its_owner() -> None:
    load = Held(make_loaded())
    model = LoadingModel(Candidate(None, load), KEEP)
    assert not load.begun.is_set()
    waiting = asyncio.create_task(model.wait())
    assert await asyncio.to_thread(load.begun.wait, 10)
    assert (model.status().state, model.status().reason) == ("loading", "loading")
    with pytest.raises(ModelNotReadyError, match=r"not ready \(loading\)"):
        model.get(FIT)
    assert not waiting.done()
    load.go.set()
    await waiting
    assert model.status().state == "ready"


async def test_health_checks_do_not_load_it_again() -> None:
    loads: list[Loaded] = []

    def load() -> Loaded:
        loads.append(make_loaded())
        return loads[-1]

    model = await finished(load)
    for _ in range(3):
        await model.wait()
        assert model._thread is None
    assert [model.get(FIT)] == loads


async def test_health_checks_do_not_load_again_what_cannot_be_had() -> None:
    errors = iter([CheckpointError("checkpoint_missing", "it is not there")])

    def load() -> Loaded:
        raise next(errors)

    model = await finished(load)
    await model.wait()
    assert model._thread is None
    assert (model.status().state, model.status().reason) == ("failed", "checkpoint_missing")


async def test_whoever_gives_up_waiting_leaves_the_others_waiting() -> None:
    load = Held(make_loaded())
    model = LoadingModel(Candidate(None, load), KEEP)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(model.wait(), 0.01)
    load.go.set()
    await model.wait()
    assert model.status().state == "ready"


async def test_a_loaded_model_says_what_it_is() -> None:
    loaded = make_loaded()
    model = await finished(lambda: loaded)
    status = model.status()
    assert model.get(FIT) is loaded
    assert (status.reason, status.detail, status.model, status.device) == (None, None, INFO, "cpu")
    assert status.settings is loaded.settings
    assert status.settings.fit == FIT


@pytest.mark.parametrize("code", ["checkpoint_missing", "checkpoint_damaged", "checkpoint_foreign"])
async def test_a_bad_checkpoint_is_a_state_with_its_code(code: str) -> None:
    model = await finished(fail(CheckpointError(code, "look here")))
    status = model.status()
    assert (status.state, status.reason, status.detail) == ("failed", code, "look here")
    assert (status.model, status.settings) == (None, None)
    with pytest.raises(ModelNotReadyError, match=code) as caught:
        model.get(FIT)
    assert caught.value.code == "model_not_ready"
    assert "look here" not in caught.value.detail


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), MemoryError(), ImportError("no timm")], ids=repr)
async def test_any_other_failure_is_a_state_too(error: Exception) -> None:
    status = (await finished(fail(error))).status()
    assert (status.state, status.reason) == ("failed", "model_error")
    assert type(error).__name__ in (status.detail or "")


async def test_the_file_is_looked_up_each_time(tmp_path: Path) -> None:
    path = tmp_path / "best.pth"
    model = await finished(make_loaded, path)
    assert (model.status().checkpoint_path, model.status().checkpoint_exists) == (str(path), False)
    path.touch()
    assert model.status().checkpoint_exists


async def test_without_a_configured_checkpoint_there_is_no_file() -> None:
    status = (await finished(make_loaded)).status()
    assert (status.checkpoint_path, status.checkpoint_exists) == (None, False)


async def test_a_model_that_is_chosen_before_the_start_is_the_only_one_loaded() -> None:
    model = LoadingModel(Candidate(None, fail(AssertionError("loaded in vain"))), KEEP)
    model.choose(Candidate(Path("b.pth"), make_loaded))
    assert model.status().checkpoint_path == "b.pth"
    await model.wait()
    assert (model.status().state, model.status().checkpoint_path) == ("ready", "b.pth")


async def test_a_model_that_is_chosen_while_the_first_one_loads_comes_in_its_place() -> None:
    """The first one must not serve, not even for a moment."""
    first, second = Held(make_loaded(96)), Held(make_loaded())
    model = LoadingModel(Candidate(Path("a.pth"), first), KEEP)
    waiting = asyncio.create_task(model.wait())
    assert await asyncio.to_thread(first.begun.wait, 10)
    model.choose(Candidate(Path("b.pth"), second))
    first.go.set()
    assert await asyncio.to_thread(second.begun.wait, 10)
    assert model.status().state == "loading"
    assert not waiting.done()
    second.go.set()
    await waiting
    assert (model.status().checkpoint_path, model.get(FIT)) == ("b.pth", second.loaded)


async def test_the_old_model_serves_until_the_new_one_is_ready() -> None:
    old, load = make_loaded(), Held(make_loaded())
    model = await finished(lambda: old, Path("a.pth"))
    model.choose(Candidate(Path("b.pth"), load))
    assert await asyncio.to_thread(load.begun.wait, 10)
    assert model.get(FIT) is old
    assert (model.status().state, model.status().checkpoint_path) == ("ready", "a.pth")
    load.go.set()
    change(model, lambda: load.loaded, Path("b.pth"))
    assert model.get(FIT) is load.loaded
    assert (model.status().state, model.status().checkpoint_path) == ("ready", "b.pth")


async def test_a_first_model_takes_the_place_of_one_that_was_chosen_and_cannot_be_had() -> None:
    first = make_loaded()
    model = LoadingModel(Candidate(Path("a.pth"), lambda: first), KEEP)
    model.choose(Candidate(Path("b.pth"), fail(CheckpointError("checkpoint_missing", ""))))
    await model.wait()
    status = model.status()
    assert model.get(FIT) is first
    assert (status.state, status.update_failed, status.checkpoint_path) == ("ready", "checkpoint_missing", "a.pth")
    change(model, make_loaded, Path("c.pth"))
    assert (model.status().update_failed, model.status().checkpoint_path) == (None, "c.pth")


async def test_where_neither_can_be_had_the_first_one_is_what_is_missing() -> None:
    model = LoadingModel(Candidate(Path("a.pth"), fail(CheckpointError("checkpoint_damaged", ""))), KEEP)
    model.choose(Candidate(Path("b.pth"), fail(CheckpointError("checkpoint_missing", ""))))
    await model.wait()
    assert (model.status().state, model.status().reason) == ("failed", "checkpoint_damaged")
    assert model.status().checkpoint_path == "a.pth"


@pytest.mark.parametrize(
    ("error", "code"),
    [(CheckpointError("checkpoint_damaged", ""), "checkpoint_damaged"), (MemoryError(), "model_error")],
)
async def test_the_old_model_stays_where_the_new_one_is_bad(error: Exception, code: str) -> None:
    old = make_loaded()
    model = await finished(lambda: old, Path("a.pth"))
    change(model, fail(error), Path("b.pth"))
    status = model.status()
    assert model.get(FIT) is old
    assert (status.state, status.update_failed, status.checkpoint_path) == ("ready", code, "a.pth")
    assert (status.reason, status.model) == (None, INFO)
    change(model, make_loaded, Path("c.pth"))
    assert (model.status().update_failed, model.status().checkpoint_path) == (None, "c.pth")


async def test_a_good_model_heals_a_service_that_started_with_a_bad_one() -> None:
    model = await finished(fail(CheckpointError("checkpoint_missing", "")), Path("a.pth"))
    change(model, make_loaded, Path("b.pth"))
    status = model.status()
    assert (status.state, status.reason, status.checkpoint_path) == ("ready", None, "b.pth")


async def test_clips_for_the_last_model_find_it(clock: Clock) -> None:
    old, new = make_loaded(96), make_loaded()
    model = await finished(lambda: old, clock=clock)
    change(model, lambda: new)
    assert model.status().settings is new.settings
    assert model.get(old.settings.fit) is old
    assert model.get(new.settings.fit) is new
    assert model.get("other shapes") is None


async def test_the_last_model_goes_when_no_clips_come_for_it(clock: Clock) -> None:
    old = make_loaded(96)
    model = await finished(lambda: old, clock=clock)
    change(model, make_loaded)
    clock.now = KEEP - 1
    assert model.get(old.settings.fit) is old
    clock.now += KEEP
    model.status()
    assert model.get(old.settings.fit) is old
    clock.now += KEEP + 0.1
    model.status()
    assert model.get(old.settings.fit) is None


async def test_a_model_that_takes_the_same_clips_replaces_the_last_one_at_once() -> None:
    model = await finished(make_loaded)
    change(model, make_loaded)
    assert len(model._models) == 1


async def test_of_many_models_two_are_kept() -> None:
    model = await finished(lambda: make_loaded(64))
    for side in (96, 128):
        change(model, lambda side=side: make_loaded(side))
    assert [loaded.config.dataset.face.size for loaded in model._models] == [128, 96]
