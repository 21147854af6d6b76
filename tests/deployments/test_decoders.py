"""The sets of decode children, without processes."""

import asyncio
import threading
from pathlib import Path

import pytest

from aura_model.clips import Clips
from aura_model.config import Config
from aura_model.errors import AuraError, ConfigError, DecoderError, MediaError
from aura_model.sandbox import Sandbox
from deployments.decoders import Decoders
from deployments.metrics import CAUSES
from tests.deployments.conftest import make_clips, make_config

KEEP = 60.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeSandbox(Sandbox):
    """Children that are warm once as many calls as there are children run at once."""

    made: list["FakeSandbox"] = []
    error: Exception | None = None
    """What the next children raise."""

    def __init__(self, config: Config, children: int = 1, threads: int = 1) -> None:
        self.config = config
        self.children = children
        self.warm = threading.Barrier(children)
        self.closed = threading.Event()
        self.failing = type(self).error
        self.made.append(self)

    def load_clips(
        self, source: Path | bytes | memoryview, *, seed: int | None = None, seconds: float | None = None
    ) -> Clips:
        self.warm.wait(10)
        if self.failing:
            raise self.failing
        return make_clips()

    def close(self) -> None:
        self.closed.set()


@pytest.fixture(autouse=True)
def _fake_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.decoders.Sandbox", FakeSandbox)
    monkeypatch.setattr(FakeSandbox, "made", [])
    monkeypatch.setattr(FakeSandbox, "error", None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def decoders(clock: Clock) -> Decoders:
    return Decoders(2, KEEP, clock)


def of(side: int) -> Config:
    return make_config(dataset={"face": {"size": side}})


async def opened(decoders: Decoders, side: int) -> Sandbox | AuraError:
    return await decoders.opening(of(side))


async def is_closed(sandbox: Sandbox | AuraError) -> bool:
    assert isinstance(sandbox, FakeSandbox)
    return await asyncio.to_thread(sandbox.closed.wait, 10)


async def test_all_children_are_warm(decoders: Decoders) -> None:
    sandbox = await opened(decoders, 224)
    assert isinstance(sandbox, FakeSandbox)
    assert sandbox.children == 2
    assert FakeSandbox.made == [sandbox]


async def test_what_children_do_not_read_makes_no_difference(decoders: Decoders) -> None:
    first = await decoders.opening(make_config())
    assert await decoders.opening(make_config(serving={"max_in_flight": 3}, inference={"batch_clips": 1})) is first


@pytest.mark.parametrize("section", [{"dataset": {"face": {"size": 96}}}, {"limits": {"max_seconds": 5}}], ids=str)
async def test_what_children_read_makes_new_ones(decoders: Decoders, section: dict[str, dict[str, object]]) -> None:
    first = await decoders.opening(make_config())
    assert await decoders.opening(make_config(**section)) is not first


async def test_two_settings_live_side_by_side(decoders: Decoders) -> None:
    old, new = await opened(decoders, 96), await opened(decoders, 224)
    for _ in range(3):
        assert await opened(decoders, 96) is old
        assert await opened(decoders, 224) is new
    assert FakeSandbox.made == [old, new]


async def test_of_three_settings_the_one_not_asked_for_goes(decoders: Decoders) -> None:
    old, middle = await opened(decoders, 64), await opened(decoders, 96)
    assert await opened(decoders, 64) is old
    new = await opened(decoders, 224)
    assert await is_closed(middle)
    assert [await opened(decoders, 64), await opened(decoders, 224)] == [old, new]


async def test_settings_that_nobody_asks_for_any_more_are_closed(decoders: Decoders, clock: Clock) -> None:
    old, new = await opened(decoders, 96), await opened(decoders, 224)
    clock.now = KEEP
    assert await opened(decoders, 224) is new
    assert not old.closed.is_set()
    clock.now += 0.1
    assert await opened(decoders, 224) is new
    assert await is_closed(old)
    assert not new.closed.is_set()


async def test_networks_that_are_not_installed_are_an_answer(decoders: Decoders) -> None:
    FakeSandbox.error = error = ConfigError("mtcnn is not installed")
    assert await opened(decoders, 224) is error
    assert await opened(decoders, 224) is error
    assert [await is_closed(sandbox) for sandbox in FakeSandbox.made] == [True]


@pytest.mark.parametrize(
    "error",
    [DecoderError("a decode child did not start"), *(MediaError(code, "at the warm-up") for code in CAUSES)],
    ids=str,
)
async def test_children_that_did_not_start_are_started_again(decoders: Decoders, error: AuraError) -> None:
    FakeSandbox.error = error
    with pytest.raises(DecoderError):
        await opened(decoders, 224)
    assert [await is_closed(sandbox) for sandbox in FakeSandbox.made] == [True]
    FakeSandbox.error = None
    assert isinstance(await opened(decoders, 224), FakeSandbox)
    assert len(FakeSandbox.made) == 2


async def test_a_warm_up_that_the_limits_refuse_is_none(decoders: Decoders) -> None:
    FakeSandbox.error = MediaError("resolution_too_small", "Frames are 64x64.")
    sandbox = await opened(decoders, 224)
    assert isinstance(sandbox, FakeSandbox)
    assert not sandbox.closed.is_set()


async def test_the_end_ends_all_children(decoders: Decoders) -> None:
    both = [await opened(decoders, 96), await opened(decoders, 224)]
    decoders.close()
    assert [sandbox.closed.is_set() for sandbox in both] == [True, True]
