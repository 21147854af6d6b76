"""The cached health, and its three routes."""

import asyncio
import re
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import av
import httpx
import pytest
from loguru import logger

from aura_model.errors import ModelNotReadyError
from deployments.build_info import build_info
from deployments.health import ANSWER_SECONDS, STALE_SECONDS, HealthMonitor, NotReady, Ready
from deployments.messages import ModelStatus
from tests.deployments.conftest import READY, FakeBackend, client_of, make_config

FAILED = ModelStatus(
    state="failed",
    checkpoint_path="best.pth",
    checkpoint_exists=False,
    reason="checkpoint_missing",
    detail="There is no file best.pth.",
)
LOADING = replace(FAILED, state="loading", reason="loading", detail="The model is being loaded.")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monitor(backend: FakeBackend, clock: Clock) -> HealthMonitor:
    return HealthMonitor(backend, Path("best.pth"), clock)


async def test_live_says_alive_whatever_the_backend_does(backend: FakeBackend, client: httpx.AsyncClient) -> None:
    backend.current = FAILED
    reply = await client.get("/health/live")
    assert (reply.status_code, reply.json()) == (200, {"status": "alive"})


async def test_ready_names_the_checkpoint(client: httpx.AsyncClient) -> None:
    reply = await client.get("/health/ready")
    assert reply.status_code == 200
    assert reply.json() == {"status": "ready", "model_loaded": True, "checkpoint_path": "best.pth"}


@pytest.mark.parametrize("status", [FAILED, LOADING], ids=["failed", "loading"])
async def test_not_ready_names_the_reason(backend: FakeBackend, status: ModelStatus) -> None:
    backend.current = status
    async with client_of(make_config(), backend) as client:
        reply = await client.get("/health/ready")
    assert reply.status_code == 503
    assert reply.json() == {
        "status": "not_ready",
        "model_loaded": False,
        "checkpoint_path": "best.pth",
        "reason": status.reason,
        "detail": status.detail,
    }


async def test_not_ready_before_the_backend_has_answered(backend: FakeBackend) -> None:
    monitor = HealthMonitor(backend, None)
    body = monitor.ready()
    assert isinstance(body, NotReady)
    assert (body.reason, body.checkpoint_path, body.model_loaded) == ("starting", None, False)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (READY, {"model_loaded": True, "checkpoint_exists": True, "ready": True, "model_version": "test-1"}),
        (FAILED, {"model_loaded": False, "checkpoint_exists": False, "ready": False, "model_version": None}),
    ],
    ids=["ready", "failed"],
)
async def test_health_is_always_200(backend: FakeBackend, status: ModelStatus, expected: dict[str, object]) -> None:
    backend.current = status
    async with client_of(make_config(), backend) as client:
        reply = await client.get("/health")
    assert reply.status_code == 200
    body = reply.json()
    assert body.pop("build") == build_info().model_dump()
    assert body == {"status": "healthy", "device": status.device, "update_failed": None, **expected}


async def test_a_bad_update_leaves_the_service_ready_and_is_told(backend: FakeBackend) -> None:
    backend.current = replace(READY, update_failed="checkpoint_damaged")
    async with client_of(make_config(), backend) as client:
        assert (await client.get("/health/ready")).status_code == 200
        assert (await client.get("/health")).json()["update_failed"] == "checkpoint_damaged"


async def test_a_loaded_model_whose_decoders_still_load_is_not_ready(
    backend: FakeBackend, monitor: HealthMonitor
) -> None:
    backend.current = replace(READY, state="loading", reason="starting", detail="The decoders are loading.")
    await monitor.poll()
    body = monitor.ready()
    assert isinstance(body, NotReady)
    assert body.model_loaded


async def test_an_answer_goes_stale(monitor: HealthMonitor, clock: Clock) -> None:
    await monitor.poll()
    clock.now += STALE_SECONDS
    assert monitor.ready() == Ready(model_loaded=True, checkpoint_path="best.pth")
    clock.now += 0.1
    body = monitor.ready()
    assert isinstance(body, NotReady)
    assert body.reason == "no_answer"


async def test_a_new_answer_is_fresh_again(monitor: HealthMonitor, clock: Clock) -> None:
    await monitor.poll()
    clock.now += 2 * STALE_SECONDS
    await monitor.poll()
    assert isinstance(monitor.ready(), Ready)
    assert monitor.health().ready


async def test_a_failing_poll_keeps_the_last_answer(
    backend: FakeBackend, monitor: HealthMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await monitor.poll()

    async def fail() -> ModelStatus:
        raise ConnectionError

    monkeypatch.setattr(backend, "status", fail)
    await monitor.poll()
    assert monitor.status() == READY


async def test_a_poll_without_an_answer_ends(
    backend: FakeBackend, monitor: HealthMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> ModelStatus:
        await asyncio.Event().wait()
        return READY

    monkeypatch.setattr(backend, "status", hang)
    monkeypatch.setattr("deployments.health.ANSWER_SECONDS", 0.01)
    await monitor.poll()
    assert monitor.status().reason == "starting"
    assert ANSWER_SECONDS < STALE_SECONDS


async def test_polling_goes_on_until_the_end(
    backend: FakeBackend, monitor: HealthMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.health.POLL_SECONDS", 0.0)
    async with monitor.polling():
        for _ in range(3):
            backend.heard.clear()
            await backend.heard.wait()
    asked = backend.asked
    await asyncio.sleep(0.01)
    assert backend.asked == asked


async def test_requests_are_refused_while_not_ready(backend: FakeBackend, monitor: HealthMonitor) -> None:
    backend.current = FAILED
    await monitor.poll()
    with pytest.raises(ModelNotReadyError, match="checkpoint_missing"):
        monitor.require_ready()
    backend.current = READY
    await monitor.poll()
    monitor.require_ready()


async def test_a_service_that_stops_is_not_ready(backend: FakeBackend, monitor: HealthMonitor) -> None:
    async with monitor.polling():
        await backend.heard.wait()
        assert monitor.is_ready()
    body = monitor.ready()
    assert isinstance(body, NotReady)
    assert (body.reason, body.model_loaded) == ("stopping", True)
    with pytest.raises(ModelNotReadyError, match="stopping"):
        monitor.require_ready()


async def test_each_poll_tells_whether_the_service_is_ready(backend: FakeBackend, clock: Clock) -> None:
    told: list[bool] = []
    monitor = HealthMonitor(backend, None, clock, told.append)
    await monitor.poll()
    backend.current = FAILED
    await monitor.poll()
    backend.current = READY
    await monitor.poll()
    assert told == [True, False, True]


async def test_an_answer_that_has_grown_old_is_told(
    backend: FakeBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    monitor = HealthMonitor(backend, None, clock, told.append)
    await monitor.poll()

    async def fail() -> ModelStatus:
        raise ConnectionError

    monkeypatch.setattr(backend, "status", fail)
    clock.now += STALE_SECONDS + 0.1
    await monitor.poll()
    assert told == [True, False]


async def test_a_change_of_readiness_is_logged_once(backend: FakeBackend, monitor: HealthMonitor) -> None:
    seen: list[tuple[bool, str | None]] = []
    sink = logger.add(
        lambda message: seen.append((message.record["extra"]["ready"], message.record["extra"]["reason"])),
        filter=lambda record: record["message"] == "readiness has changed",
    )
    for status in (READY, READY, FAILED, FAILED, READY):
        backend.current = status
        await monitor.poll()
    logger.remove(sink)
    assert seen == [(True, None), (False, "checkpoint_missing"), (True, None)]


def test_the_build_names_the_libraries_that_open_media() -> None:
    build = build_info().model_dump()
    assert all(re.match(r"\d+\.\d+", text) for text in build.values())
    assert build["pyav"] == version("av")
    assert build["ffmpeg"] in av.ffmpeg_version_info


async def test_an_ingress_takes_no_request_before_it_knows_the_others(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rolling update puts a new one among those that serve."""
    monkeypatch.setattr("deployments.health.POLL_SECONDS", 0.0)
    backend.current = replace(READY, state="loading", reason="starting", detail="The decoders are loading.")
    monitor = HealthMonitor(backend, None)
    polling = monitor.polling()
    entering = asyncio.create_task(polling.__aenter__())
    await backend.heard.wait()
    done, _ = await asyncio.wait([entering], timeout=0.05)
    assert not done
    backend.current = READY
    await entering
    assert monitor.is_ready()
    await polling.__aexit__(None, None, None)


async def test_an_ingress_does_not_wait_for_ever_for_the_others(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the service starts it says at least that it is alive."""
    monkeypatch.setattr("deployments.health.SETTLE_SECONDS", 0.01)
    backend.current = replace(READY, state="loading", reason="starting", detail="The decoders are loading.")
    async with client_of(make_config(), backend) as client:
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/health/ready")).json()["reason"] == "starting"
