"""The chain of stages, on handles that answer as told."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest
import ray
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from aura_model.config import Config
from aura_model.errors import ConfigError, MediaError
from deployments.backend import ServeBackend
from deployments.messages import ModelStatus, Trace
from deployments.problems import ServiceError
from tests.deployments.conftest import READY, make_config, make_scored

VIDEO = np.frombuffer(b"video", np.uint8)
CONFIG = make_config()
TRACE = Trace("abc-1")
LOADED = ModelStatus("ready", None, False, model=READY.model, config=CONFIG)


class Response:
    """What a handle's `remote` gives back."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.cancelled = False

    def __await__(self) -> Generator[Any, None, Any]:
        if isinstance(self.answer, BaseException) and not isinstance(self.answer, MediaError | ConfigError):
            raise self.answer
        if isinstance(self.answer, asyncio.Event):
            yield from self.answer.wait().__await__()
        return self.answer

    def cancel(self) -> None:
        self.cancelled = True


class Method:
    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls: list[tuple[Any, ...]] = []
        self.responses: list[Response] = []

    def remote(self, *args: Any) -> Response:
        self.calls.append(args)
        self.responses.append(Response(self.answer))
        return self.responses[-1]


class Handles:
    """Both deployments in one."""

    def __init__(self) -> None:
        self.status = Method(LOADED)
        self.prepare = Method(True)
        self.crop = Method("clips")
        self.score = Method(make_scored())


@pytest.fixture
def handles(monkeypatch: pytest.MonkeyPatch) -> Handles:
    monkeypatch.setattr(ray, "put", lambda value: ("ref", value.tobytes()))
    return Handles()


@pytest.fixture
async def backend(handles: Handles) -> ServeBackend:
    backend = ServeBackend(handles, handles)
    await backend.status()
    return backend


async def test_the_crops_go_from_one_stage_to_the_other(handles: Handles, backend: ServeBackend) -> None:
    scored = await backend.predict(VIDEO, 9.0, TRACE)
    assert scored is handles.score.answer
    assert handles.crop.calls == [(("ref", b"video"), CONFIG, 9.0, TRACE)]
    assert handles.score.calls == [(handles.crop.responses[0], TRACE)]


async def test_an_error_that_a_stage_answers_is_raised(handles: Handles, backend: ServeBackend) -> None:
    handles.score.answer = MediaError("corrupt_video", "")
    with pytest.raises(MediaError):
        await backend.predict(VIDEO, 9.0, TRACE)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BackPressureError(num_queued_requests=1, max_queued_requests=1), "busy"),
        (ActorDiedError(), "unavailable"),
        (DeploymentUnavailableError(None), "unavailable"),
        (RayServeException("failed because an upstream actor died"), "unavailable"),
    ],
    ids=["full queue", "lost replica", "no deployment", "lost replica upstream"],
)
async def test_trouble_between_the_stages(handles: Handles, backend: ServeBackend, error: Exception, code: str) -> None:
    handles.score.answer = error
    with pytest.raises(ServiceError) as caught:
        await backend.predict(VIDEO, 9.0, TRACE)
    assert caught.value.code == code


async def test_a_defect_of_a_stage_stays_one(handles: Handles, backend: ServeBackend) -> None:
    handles.score.answer = RayTaskError("score", "trace", KeyError("x"))
    with pytest.raises(RayTaskError):
        await backend.predict(VIDEO, 9.0, TRACE)


async def test_leaving_early_cancels_the_stages(handles: Handles, backend: ServeBackend) -> None:
    handles.score.answer = asyncio.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await backend.predict(VIDEO, 9.0, TRACE)
    assert handles.crop.responses[0].cancelled


async def test_the_decoders_get_the_settings_of_the_model(handles: Handles, backend: ServeBackend) -> None:
    assert handles.prepare.calls == [(CONFIG,)]
    assert await backend.status() == LOADED


@pytest.mark.parametrize("state", ["loading", "failed"])
async def test_without_a_model_the_decoders_wait(handles: Handles, state: Any) -> None:
    handles.status.answer = status = ModelStatus(state, "best.pth", False, "checkpoint_missing", "")
    backend = ServeBackend(handles, handles)
    assert await backend.status() == status
    assert handles.prepare.calls == []
    with pytest.raises(ServiceError, match="unavailable"):
        await backend.predict(VIDEO, 9.0, TRACE)


def _loading(status: ModelStatus) -> bool:
    return (status.state, status.reason) == ("loading", "starting")


def _failed(status: ModelStatus) -> bool:
    return (status.state, status.reason, status.detail) == ("failed", "decoder_failed", "mtcnn is not installed")


@pytest.mark.parametrize(
    ("prepared", "expected"),
    [(False, _loading), (ConfigError("mtcnn is not installed"), _failed)],
    ids=["loading", "cannot load"],
)
async def test_decoders_that_are_not_ready(
    handles: Handles, prepared: Any, expected: Callable[[ModelStatus], bool]
) -> None:
    handles.prepare.answer = prepared
    status = await ServeBackend(handles, handles).status()
    assert expected(status)
    assert status.model == READY.model


async def test_a_new_model_brings_its_settings(handles: Handles, backend: ServeBackend) -> None:
    other: Config = make_config(dataset={"face": {"size": 96}})
    handles.status.answer = ModelStatus("ready", None, False, model=READY.model, config=other)
    await backend.status()
    await backend.predict(VIDEO, 9.0, TRACE)
    assert handles.crop.calls[0][1] is other
