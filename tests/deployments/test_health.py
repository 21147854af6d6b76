"""The cached health, and its three routes."""

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from aura_model.errors import ModelNotReadyError
from deployments.health import ANSWER_SECONDS, STALE_SECONDS, Monitor, NotReady, Ready
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
def monitor(backend: FakeBackend, clock: Clock) -> Monitor:
    return Monitor(backend, Path("best.pth"), clock)


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
    monitor = Monitor(backend, None)
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
    assert reply.json() == {"status": "healthy", "device": status.device, **expected}


async def test_a_loaded_model_whose_decoders_still_load_is_not_ready(backend: FakeBackend, monitor: Monitor) -> None:
    backend.current = replace(READY, state="loading", reason="starting", detail="The decoders are loading.")
    await monitor.poll()
    body = monitor.ready()
    assert isinstance(body, NotReady)
    assert body.model_loaded


async def test_an_answer_goes_stale(monitor: Monitor, clock: Clock) -> None:
    await monitor.poll()
    clock.now += STALE_SECONDS
    assert monitor.ready() == Ready(model_loaded=True, checkpoint_path="best.pth")
    clock.now += 0.1
    body = monitor.ready()
    assert isinstance(body, NotReady)
    assert body.reason == "no_answer"


async def test_a_new_answer_is_fresh_again(monitor: Monitor, clock: Clock) -> None:
    await monitor.poll()
    clock.now += 2 * STALE_SECONDS
    await monitor.poll()
    assert isinstance(monitor.ready(), Ready)
    assert monitor.health().ready


async def test_a_failing_poll_keeps_the_last_answer(
    backend: FakeBackend, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await monitor.poll()

    async def fail() -> ModelStatus:
        raise ConnectionError

    monkeypatch.setattr(backend, "status", fail)
    await monitor.poll()
    assert monitor.status() == READY


async def test_a_poll_without_an_answer_ends(
    backend: FakeBackend, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
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
    backend: FakeBackend, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.health.POLL_SECONDS", 0.0)
    async with monitor.polling():
        for _ in range(3):
            backend.heard.clear()
            await backend.heard.wait()
    asked = backend.asked
    await asyncio.sleep(0.01)
    assert backend.asked == asked


async def test_requests_are_refused_while_not_ready(backend: FakeBackend, monitor: Monitor) -> None:
    backend.current = FAILED
    await monitor.poll()
    with pytest.raises(ModelNotReadyError, match="checkpoint_missing"):
        monitor.require_ready()
    backend.current = READY
    await monitor.poll()
    monitor.require_ready()
