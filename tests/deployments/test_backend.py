"""The chain of stages, on handles that answer as told."""

import asyncio
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, ObjectLostError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from aura_model.errors import ConfigError, MediaError, ModelNotReadyError
from deployments.backend import ServeBackend
from deployments.messages import MESSAGES, Failed, ModelStatus, Settings, Trace, Unfit
from deployments.problems import ServiceError
from tests.deployments.conftest import READY, make_config, make_scored

VIDEO = np.frombuffer(b"video", np.uint8)
SETTINGS = Settings.of(make_config())
OTHER = Settings.of(make_config(dataset={"face": {"size": 96}}))
TRACE = Trace("abc-1")
LOADED = ModelStatus("ready", None, False, model=READY.model, settings=SETTINGS)


class Response:
    """What a handle's `remote` gives back."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.cancelled = False

    def __await__(self) -> Generator[Any, None, Any]:
        if isinstance(self.answer, BaseException):
            raise self.answer
        if isinstance(self.answer, asyncio.Event):
            yield from self.answer.wait().__await__()
        return self.answer

    def cancel(self) -> None:
        self.cancelled = True


class Method:
    """Answers `first` one after the other, then always `answer`."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.first: list[Any] = []
        self.calls: list[tuple[Any, ...]] = []
        self.responses: list[Response] = []

    def remote(self, *args: Any) -> Response:
        self.calls.append(args)
        self.responses.append(Response(self.first.pop(0) if self.first else self.answer))
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


def upstream(cause: Exception | None) -> RayServeException:
    """As Ray Serve says it where the cropper dies before the detector starts."""
    error = RayServeException("failed because an upstream actor died")
    error.__cause__ = cause
    return error


DEATHS = {
    "detector": ActorDiedError(),
    "detector cut off": ActorUnavailableError("", b"0" * 16),
    "node": NodeDiedError("gone"),
    "crops lost": ObjectLostError("0" * 56, b"", ""),
    "cropper": upstream(ActorDiedError()),
    "cropper, found late": RayTaskError("score", "trace", ActorDiedError()),
}


async def test_the_crops_go_from_one_stage_to_the_other(handles: Handles, backend: ServeBackend) -> None:
    scored = await backend.predict(VIDEO, 9.0, TRACE)
    assert (scored.scores, scored.model) == (handles.score.answer.scores, READY.model)
    assert handles.crop.calls == [(("ref", b"video"), SETTINGS, 9.0, TRACE)]
    assert handles.score.calls == [(handles.crop.responses[0], TRACE)]


@pytest.mark.parametrize(
    ("failed", "kind", "code"),
    [
        (Failed("corrupt_video", "", True), MediaError, "corrupt_video"),
        (Failed("decode_crashed", "", True), MediaError, "decode_crashed"),
        (Failed("model_not_ready", "", False), ModelNotReadyError, "model_not_ready"),
        (Failed("deadline_exceeded", "", False), ServiceError, "deadline_exceeded"),
    ],
    ids=lambda value: getattr(value, "code", None),
)
async def test_an_error_that_a_stage_answers_is_raised_and_final(
    handles: Handles, backend: ServeBackend, failed: Failed, kind: type[Exception], code: str
) -> None:
    handles.score.answer = failed
    with pytest.raises(kind) as caught:
        await backend.predict(VIDEO, 9.0, TRACE)
    assert caught.value.code == code
    assert len(handles.crop.calls) == 1


@pytest.mark.parametrize("error", DEATHS.values(), ids=DEATHS)
async def test_a_death_is_made_good_once_and_whole(handles: Handles, backend: ServeBackend, error: Exception) -> None:
    handles.score.first = [error]
    scored = await backend.predict(VIDEO, 9.0, TRACE)
    assert scored.scores == handles.score.answer.scores
    first, second = handles.crop.calls
    assert first[:2] == second[:2] == (("ref", b"video"), SETTINGS)
    assert 8 < second[2] < first[2]
    assert handles.score.calls == [(response, TRACE) for response in handles.crop.responses]


@pytest.mark.parametrize("error", DEATHS.values(), ids=DEATHS)
async def test_a_second_death_is_told(handles: Handles, backend: ServeBackend, error: Exception) -> None:
    handles.score.first = [error, error]
    with pytest.raises(ServiceError) as caught:
        await backend.predict(VIDEO, 9.0, TRACE)
    assert caught.value.code == "unavailable"
    assert len(handles.crop.calls) == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BackPressureError(num_queued_requests=1, max_queued_requests=1), "busy"),
        (DeploymentUnavailableError(None), "unavailable"),
        (upstream(None), "unavailable"),
    ],
    ids=["full queue", "no deployment", "something else of Ray Serve"],
)
async def test_trouble_between_the_stages(handles: Handles, backend: ServeBackend, error: Exception, code: str) -> None:
    handles.score.answer = error
    with pytest.raises(ServiceError) as caught:
        await backend.predict(VIDEO, 9.0, TRACE)
    assert caught.value.code == code
    assert len(handles.crop.calls) == 1


@pytest.mark.parametrize(
    "raised", [RayTaskError("score", "trace", KeyError("x")), KeyError("x")], ids=["there", "here"]
)
async def test_a_defect_of_a_stage_stays_one(handles: Handles, backend: ServeBackend, raised: Exception) -> None:
    handles.score.answer = raised
    with pytest.raises(type(raised)):
        await backend.predict(VIDEO, 9.0, TRACE)
    assert len(handles.crop.calls) == 1


async def test_leaving_early_cancels_the_stages(handles: Handles, backend: ServeBackend) -> None:
    handles.score.answer = asyncio.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await backend.predict(VIDEO, 9.0, TRACE)
    assert [response.cancelled for response in (*handles.crop.responses, *handles.score.responses)] == [True, True]


async def test_what_is_done_again_is_not_also_finished(handles: Handles, backend: ServeBackend) -> None:
    handles.score.first = [ActorDiedError()]
    await backend.predict(VIDEO, 9.0, TRACE)
    assert [response.cancelled for response in handles.crop.responses] == [True, False]


async def test_a_stage_that_never_began_cannot_be_cancelled(
    handles: Handles, backend: ServeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(response: Response) -> None:
        raise ActorDiedError

    monkeypatch.setattr(Response, "cancel", refuse)
    handles.score.first = [ActorDiedError()]
    assert (await backend.predict(VIDEO, 9.0, TRACE)).scores == handles.score.answer.scores


async def test_clips_for_another_model_are_prepared_again(handles: Handles, backend: ServeBackend) -> None:
    handles.score.first = [Unfit(OTHER)]
    await backend.predict(VIDEO, 9.0, TRACE)
    assert [call[1] for call in handles.crop.calls] == [SETTINGS, OTHER]


async def test_models_that_change_faster_than_clips_are_prepared(handles: Handles, backend: ServeBackend) -> None:
    handles.score.first = [Unfit(OTHER), Unfit(SETTINGS)]
    with pytest.raises(ServiceError, match="unavailable"):
        await backend.predict(VIDEO, 9.0, TRACE)
    assert len(handles.crop.calls) == 2


async def test_the_decoders_get_the_settings_of_the_model(handles: Handles, backend: ServeBackend) -> None:
    assert handles.prepare.calls == [(SETTINGS,)]
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


NOT_INSTALLED = Failed.of(ConfigError("mtcnn is not installed"))


@pytest.mark.parametrize(
    ("prepared", "expected"), [(False, _loading), (NOT_INSTALLED, _failed)], ids=["loading", "cannot load"]
)
async def test_decoders_that_are_not_ready(
    handles: Handles, prepared: Any, expected: Callable[[ModelStatus], bool]
) -> None:
    handles.prepare.answer = prepared
    status = await ServeBackend(handles, handles).status()
    assert expected(status)
    assert status.model == READY.model


async def test_a_new_model_brings_its_settings(handles: Handles, backend: ServeBackend) -> None:
    handles.status.answer = replace(LOADED, settings=OTHER)
    assert (await backend.status()).state == "ready"
    await backend.predict(VIDEO, 9.0, TRACE)
    assert handles.crop.calls[0][1] is OTHER


@pytest.mark.parametrize(
    ("prepared", "update_failed"), [(False, None), (NOT_INSTALLED, "decoder_failed")], ids=["loading", "cannot load"]
)
async def test_new_settings_wait_for_their_decoders(
    handles: Handles, backend: ServeBackend, prepared: Any, update_failed: str | None
) -> None:
    """Meanwhile the service is ready, with the last model's settings."""
    handles.status.answer = replace(LOADED, settings=OTHER)
    handles.prepare.answer = prepared
    status = await backend.status()
    assert (status.state, status.update_failed) == ("ready", update_failed)
    await backend.predict(VIDEO, 9.0, TRACE)
    assert handles.crop.calls[0][1] is SETTINGS


@pytest.mark.parametrize("method", ["status", "score"])
async def test_a_stage_of_a_distant_version_is_not_understood(
    handles: Handles, backend: ServeBackend, method: str
) -> None:
    called: Method = getattr(handles, method)
    called.answer = replace(called.answer, messages=MESSAGES + 2)
    with pytest.raises(ServiceError, match="unavailable"):
        await (backend.status() if method == "status" else backend.predict(VIDEO, 9.0, TRACE))
