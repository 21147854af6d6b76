"""No secret that a request or a setting brings comes out of the service again: not in a reply, not in the log."""

import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import pytest
from loguru import logger

from aura_model.errors import ConfigError, MediaError
from aura_model.logging import QUIET, ROUTED, setup_logging
from aura_model.redaction import API_KEYS
from deployments.problems import ServiceError
from tests.deployments.conftest import READY, FakeBackend, client_of, make_config

OWN_KEY = "c4nary-own-key-0123456789"
CANARIES = {
    "AWS signature": "https://b.s3.amazonaws.com/v.mp4?X-Amz-Credential=c4nary1&X-Amz-Signature=c4nary2&X-Amz-Expires=9",
    "GCS signature": "https://storage.googleapis.com/b/v.mp4?X-Goog-Credential=c4nary3&X-Goog-Signature=c4nary4",
    "Azure signature": "https://a.blob.core.windows.net/c/v.mp4?sv=2026-01-01&se=2026-12-01&sig=c4nary5%2Fc4nary6%3D",
    "user in a URL": "https://eve:c4nary7@media.example.com/v.mp4",
    "database address": "postgresql://aura:c4nary8@db.example.com/aura",
    "bearer key": "Authorization: Bearer c4nary9-0123456789",
    "API key of a caller": "X-API-Key: c4naryA-0123456789",
    "cookie": "Cookie: session=c4naryB; other=c4naryC",
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjNG5hcnkifQ.c4naryD-_c4naryE",
    "AWS key id": "AKIAC4NARY0123456789",
    "own API key": OWN_KEY,
    "checkpoint's URL": "https://models.example.com/best.pth?version=c4naryF",
}
SECRET = re.compile("c4nary|C4NARY", re.ASCII)
HARMLESS = {
    "monkey": "see, monkey do",
    "keypoints": [[1, 2], [3, 4]],
    "detail": 'missing required key "video_url"',
    "error": "KeyError: face_boxes",
    "token_count": 77,
    "keyframe": 12,
    "api_keys": ["backend", "tests"],
    "keys_file": "/etc/aura/keys",
    "require_key": None,
    "bucket": "a bucket with a keyboard",
    "tokenizer": "3 secrets, no password and the bearer of news",
}


def test_there_are_twelve_canaries_and_eleven_harmless_fields() -> None:
    assert len(CANARIES) == 12
    assert len(HARMLESS) == 11
    assert all(SECRET.search(text) for text in CANARIES.values())
    assert not SECRET.search(repr(HARMLESS))


@pytest.fixture(autouse=True)
def _loggers() -> Iterator[None]:
    """Every logger at its lowest level, and afterwards as before."""
    names = {*ROUTED, *QUIET}
    before = [(name, (log := logging.getLogger(name)).level, list(log.handlers), log.propagate) for name in names]
    yield
    logger.configure(handlers=[{"sink": sys.stderr}], patcher=lambda record: None)
    for name, level, handlers, propagate in before:
        standard = logging.getLogger(name)
        standard.setLevel(level)
        standard.handlers, standard.propagate = handlers, propagate


@pytest.fixture(params=[True, False], ids=["json", "plain"])
def said(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[list[str]]:
    """Replies, which the tests add; at the end they and all output are looked through."""
    monkeypatch.setenv(API_KEYS, f"backend:{OWN_KEY}")
    setup_logging(make_config(logging={"level": "TRACE", "json": request.param}).logging)
    replies: list[str] = []
    yield replies
    captured = capsys.readouterr()
    assert "inference" in captured.out or "starts" in captured.out
    for text in (captured.out, captured.err, *replies):
        assert not SECRET.search(text), text


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every URL gives a video."""

    async def give(url: str, spool: BinaryIO, *_: object, **__: object) -> None:
        spool.write(b"video")

    monkeypatch.setattr("deployments.uploads.fetch_video", give)


def text_of(reply: httpx.Response) -> str:
    return f"{reply.status_code} {reply.headers} {reply.text}"


def headers(canary: str) -> dict[str, str]:
    """The canary in headers that name it and in some that do not, beside a key that is good."""
    name, colon, value = canary.partition(": ")
    own = {"X-API-Key": OWN_KEY}
    return own | ({name: value} if colon else {"Referer": canary, "Cookie": canary, "X-Forwarded-For": canary})


async def everything(client: httpx.AsyncClient, canary: str, said: list[str]) -> set[int]:
    """Bring the canary in by every way that there is."""
    sent = headers(canary)
    replies = [
        await client.post("/predict", json={"video_url": canary}, headers=sent),
        await client.post("/predict", json={"video_url": canary, canary: canary}, headers=sent),
        await client.post("/predict", json={"video": canary}, headers=sent),
        await client.post(
            "/predict", content=f"{{{canary}".encode(), headers=sent | {"content-type": "application/json"}
        ),
        await client.post("/predict", files={"file": (canary, b"video")}, headers=sent),
        await client.post("/predict", files={canary: (canary, b"video")}, headers=sent),
        await client.post("/predict", files={"file": (f"{canary}.mp4", b"video")}, headers=sent),
        await client.post(
            "/predict", content=canary.encode(), headers=sent | {"content-type": canary.partition("?")[0]}
        ),
        await client.post(f"/predict?{canary}", headers=sent),
        await client.get(f"/{canary}", headers=sent),
        await client.get("/health/ready", headers=sent),
        await client.get("/health", headers=sent | {"traceparent": canary}),
        await client.get("/openapi.json", headers=sent),
    ]
    said += map(text_of, replies)
    return {reply.status_code for reply in replies}


@pytest.mark.usefixtures("fetch")
@pytest.mark.parametrize("canary", CANARIES.values(), ids=CANARIES.keys())
async def test_success_and_refusal(backend: FakeBackend, canary: str, said: list[str]) -> None:
    async with client_of(make_config(), backend) as client:
        expected = {401} if canary.startswith("X-API-Key") else {200, 422}
        assert expected <= await everything(client, canary, said)


@pytest.mark.parametrize("canary", [text for text in CANARIES.values() if text != OWN_KEY])
async def test_a_key_that_is_refused(backend: FakeBackend, canary: str, said: list[str]) -> None:
    async with client_of(make_config(), backend) as client:
        for name, value in headers(canary).items():
            reply = await client.post("/predict", headers={name: value, "X-API-Key": canary})
            assert reply.status_code == 401
            said.append(text_of(reply))


ERRORS: list[type[Exception]] = [KeyError, ValueError, OSError]


@pytest.mark.usefixtures("fetch")
@pytest.mark.parametrize("canary", CANARIES.values(), ids=CANARIES.keys())
async def test_a_crash(backend: FakeBackend, canary: str, said: list[str]) -> None:
    """A defect, its cause, a lost replica and a bad file, each with the canary in its text."""
    async with client_of(make_config(), backend) as client:
        for kind in ERRORS:
            error = kind(f"cannot read {canary}")
            error.__cause__ = ConnectionError(f"to {canary} (gone)")
            backend.raises(error)
            reply = await client.post("/predict", json={"video_url": canary}, headers=headers(canary))
            assert reply.status_code in {500, 401}
            said.append(text_of(reply))
        for refusal in (ServiceError("unavailable", "Try again."), MediaError("corrupt_video", "It is broken.")):
            backend.raises(refusal)
            said.append(text_of(await client.post("/predict", json={"video_url": canary}, headers=headers(canary))))


@pytest.mark.parametrize("canary", CANARIES.values(), ids=CANARIES.keys())
@pytest.mark.parametrize("name", ["uvicorn.access", "uvicorn.error", "ray.serve", "httpx", "httpcore", "third.party"])
async def test_what_libraries_log(backend: FakeBackend, name: str, canary: str, said: list[str]) -> None:
    async with client_of(make_config(), backend):
        log = logging.getLogger(name)
        log.warning('127.0.0.1:5 - "GET %s HTTP/1.1" 200', canary, extra={"url": canary, "headers": [canary]})
        log.error("failed", exc_info=ValueError(canary))


@pytest.mark.parametrize("state", ["ready", "failed"])
@pytest.mark.parametrize("canary", [text for name, text in CANARIES.items() if "://" in text])
async def test_a_checkpoint_that_is_named_by_a_url(
    backend: FakeBackend, canary: str, state: Any, said: list[str]
) -> None:
    path = str(Path(canary))
    detail = f"There is no file {path}."
    backend.current = replace(READY, state=state, checkpoint_path=path, reason="checkpoint_missing", detail=detail)
    async with client_of(make_config(inference={"checkpoint": canary}), backend) as client:
        bodies = [await client.get(path) for path in ("/health", "/health/ready", "/v2/models/aura", "/openapi.json")]
        said += map(text_of, bodies)
    assert re.search(r'"checkpoint_path":"(https|postgresql):/', bodies[1].text)


def test_the_text_of_an_error_about_keys(said: list[str], tmp_path: Path) -> None:
    from deployments.access import Access

    (tmp_path / "keys").write_text("name:c4nary-bad key")
    for environment, file in ({API_KEYS: "name:c4nary"}, None), ({}, tmp_path / "keys"):
        with pytest.raises(ConfigError) as caught:
            Access(make_config(serving={"keys_file": file and str(file)}).serving, False, environment)
        said.append(str(caught.value))
    logger.info("inference")


def test_harmless_fields_stay(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging(make_config().logging)
    seen: list[dict[str, Any]] = []
    sink = logger.add(lambda message: seen.append(message.record["extra"]))
    logger.bind(**HARMLESS).info('KeyError: face_boxes; missing required key "video_url"')
    logger.remove(sink)
    assert {name: seen[0][name] for name in HARMLESS} == HARMLESS
    assert 'KeyError: face_boxes; missing required key \\"video_url\\"' in capsys.readouterr().out
