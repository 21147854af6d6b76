"""Who is let in, over HTTP and in the rules behind it."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from loguru import logger
from starlette.requests import Request

from aura_model.config import Config
from aura_model.errors import ConfigError
from aura_model.redaction import API_KEYS
from deployments import app, ingress
from deployments.access import Access
from deployments.app import AppArgs, build
from deployments.ingress import Ingress
from deployments.messages import ModelStatus
from deployments.problems import MEDIA_TYPE, ServiceError
from tests.deployments.conftest import FakeBackend, client_of, make_config

KEY, OTHER = "first-key-0123456789", "second-key-0123456789"
BOTH = f"backend:{KEY},tests:sha256:{hashlib.sha256(OTHER.encode()).hexdigest()}"
FILE = {"file": ("a.mp4", b"video")}


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(API_KEYS, raising=False)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEYS, BOTH)


@pytest.fixture
def records() -> Iterator[list[Any]]:
    """Each record of the log."""
    seen: list[Any] = []
    sink = logger.add(lambda message: seen.append(message.record), level="DEBUG")
    yield seen
    logger.remove(sink)


def access(environment: Mapping[str, str] = {}, *, open_to_others: bool = False, **serving: Any) -> Access:
    return Access(make_config(serving=serving).serving, open_to_others, environment)


def request(headers: Mapping[str, str] = {}) -> Request:
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "headers": encoded})


# --- when keys are asked for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("open_to_others", "require", "has_keys", "expected"),
    [
        (False, None, False, "off, warned"),
        (False, None, True, "enforced"),
        (True, None, False, "refused"),
        (True, None, True, "enforced"),
        (False, True, False, "refused"),
        (True, True, False, "refused"),
        (False, True, True, "enforced"),
        (False, False, False, "off, warned"),
        (True, False, False, "off, warned"),
        (True, False, True, "off, warned"),
    ],
)
def test_when_keys_are_asked_for(open_to_others: bool, require: bool | None, has_keys: bool, expected: str) -> None:
    environment = {API_KEYS: BOTH} if has_keys else {}
    if expected == "refused":
        with pytest.raises(ConfigError) as caught:
            access(environment, open_to_others=open_to_others, require_key=require)
        for advice in (API_KEYS, "serving.keys_file", "serving.require_key: false", "127.0.0.1"):
            assert advice in caught.value.detail
        return
    built = access(environment, open_to_others=open_to_others, require_key=require)
    assert built.enforced is (expected == "enforced")
    assert (built.warning is None) is built.enforced


def test_a_file_of_keys_counts_as_the_environment_does(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"file:{KEY}")
    built = access({API_KEYS: f"env:{OTHER}"}, keys_file=str(tmp_path / "keys"), open_to_others=True)
    assert [built.admit(request({"X-API-Key": key})) for key in (KEY, OTHER)] == ["file", "env"]


def test_a_file_without_keys_never_means_no_keys(tmp_path: Path) -> None:
    (tmp_path / "keys").touch()
    with pytest.raises(ConfigError, match="has no key"):
        access({}, keys_file=str(tmp_path / "keys"))


@pytest.mark.parametrize("serving", [{}, {"require_key": True}], ids=str)
def test_neither_the_application_nor_an_ingress_is_built_without_the_keys_that_it_needs(
    monkeypatch: pytest.MonkeyPatch, serving: dict[str, Any]
) -> None:
    """The ingress asks again: where Serve did not run yet, the application was built on its default host."""
    monkeypatch.setattr(app, "cluster_resources", lambda: (2.0, 0.0))
    monkeypatch.setattr(app, "listens_on_loopback", lambda: bool(serving))
    monkeypatch.setattr(ingress, "listens_on_loopback", lambda: bool(serving))
    monkeypatch.setattr(ingress, "setup_logging", lambda config: None)
    arguments, part = AppArgs(settings={"serving": serving}), Ingress(make_config(serving=serving), Mock(), Mock())
    with pytest.raises(ConfigError, match=API_KEYS):
        build(arguments)
    with pytest.raises(ConfigError, match=API_KEYS):
        part.__serve_build_asgi_app__()
    monkeypatch.setenv(API_KEYS, f"me:{KEY}")
    build(arguments)
    part.__serve_build_asgi_app__()


# --- what is a key ----------------------------------------------------------------------------------------------------

GOOD: list[dict[str, str]] = [
    {"X-API-Key": KEY},
    {"x-api-key": KEY},
    {"Authorization": f"Bearer {KEY}"},
    {"Authorization": f"bearer  {KEY} "},
    {"X-API-Key": KEY, "Authorization": "Basic Z2F0ZTp3YXk="},
    {"X-API-Key": KEY, "Authorization": "Bearer of-the-gateway"},
]
BAD: list[dict[str, str]] = [
    {},
    {"X-API-Key": ""},
    {"X-API-Key": KEY[:-1]},
    {"X-API-Key": f"Bearer {KEY}"},
    {"X-API-Key": f"backend:{KEY}"},
    {"X-API-Key": "backend"},
    {"X-API-Key": hashlib.sha256(KEY.encode()).hexdigest()},
    {"X-API-Key": "klíč-0123456789-0123456789".encode().decode("latin-1")},
    {"X-API-Key": "wrong-key-0123456789", "Authorization": f"Bearer {KEY}"},
    {"Authorization": KEY},
    {"Authorization": "Bearer"},
    {"Authorization": f"Token {KEY}"},
    {"Authorization": "Basic " + base64.b64encode(f"backend:{KEY}".encode()).decode()},
    {"Cookie": f"X-API-Key={KEY}"},
]


@pytest.mark.parametrize("headers", GOOD, ids=str)
def test_the_header_or_the_bearer_token(headers: dict[str, str]) -> None:
    assert access({API_KEYS: BOTH}).admit(request(headers)) == "backend"


def test_several_keys_hold_at_once() -> None:
    built = access({API_KEYS: BOTH})
    assert [built.admit(request({"X-API-Key": key})) for key in (KEY, OTHER, KEY)] == ["backend", "tests", "backend"]
    assert built.names == ["backend", "tests"]


@pytest.mark.parametrize("headers", BAD, ids=str)
def test_everything_else_is_refused_in_the_same_words(headers: dict[str, str]) -> None:
    with pytest.raises(ServiceError) as caught:
        access({API_KEYS: BOTH}).admit(request(headers))
    assert caught.value.code == "unauthorized"
    assert caught.value.detail == "Send an API key of this service as X-API-Key, or as a bearer token."


# --- over HTTP --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("keys")
async def test_a_prediction_needs_a_key(backend: FakeBackend, records: list[Any]) -> None:
    async with client_of(make_config(), backend, open_to_others=True) as client:
        refused = await client.post("/predict", files=FILE)
        wrong = await client.post("/predict", files=FILE, headers={"X-API-Key": KEY + "x"})
        assert backend.media == []
        answered = await client.post("/predict", files=FILE, headers={"Authorization": f"Bearer {OTHER}"})
    for reply in (refused, wrong):
        assert (reply.status_code, reply.headers["content-type"]) == (401, MEDIA_TYPE)
        assert reply.headers["www-authenticate"] == 'Bearer realm="aura"'
        assert reply.json()["code"] == "unauthorized"
    assert {**refused.json(), "instance": ""} == {**wrong.json(), "instance": ""}
    assert answered.status_code == 200
    lines = [record["extra"] for record in records if record["extra"].get("event") == "inference"]
    assert [(line["status"], line.get("caller")) for line in lines] == [
        ("unauthorized", None),
        ("unauthorized", None),
        ("fake", "tests"),
    ]


@pytest.mark.usefixtures("keys")
async def test_a_stranger_learns_nothing_else(backend: FakeBackend) -> None:
    """Neither that the body is bad, nor that the model is not ready."""
    backend.current = ModelStatus("failed", "best.pth", False, "checkpoint_missing", "There is no file.")
    async with client_of(make_config(), backend) as client:
        assert (await client.post("/predict", content=b"?")).status_code == 401
        assert (await client.post("/predict", content=b"?", headers={"X-API-Key": KEY})).status_code == 503


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/health", "/docs", "/openapi.json"])
async def test_health_and_the_documentation_need_none(backend: FakeBackend, path: str) -> None:
    async with client_of(make_config(), backend, open_to_others=True) as client:
        assert (await client.get(path)).status_code == 200


async def test_without_keys_this_machine_is_let_in(client: httpx.AsyncClient) -> None:
    assert (await client.post("/predict", files=FILE)).status_code == 200
    assert "security" not in (await client.get("/openapi.json")).json()["paths"]["/predict"]["post"]


async def test_others_are_not_let_in_without_keys(backend: FakeBackend) -> None:
    with pytest.raises(ConfigError, match="require_key"):
        async with client_of(make_config(), backend, open_to_others=True):
            pass


@pytest.mark.usefixtures("keys")
async def test_the_schema_says_how_keys_are_sent(backend: FakeBackend) -> None:
    async with client_of(make_config(), backend) as client:
        schema = (await client.get("/openapi.json")).json()
    assert schema["paths"]["/predict"]["post"]["security"] == [{"APIKeyHeader": []}, {"HTTPBearer": []}]
    assert "security" not in schema["paths"]["/health/live"]["get"]
    kinds = schema["components"]["securitySchemes"]
    assert kinds["APIKeyHeader"] == {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    assert kinds["HTTPBearer"] == {"type": "http", "scheme": "bearer"}


@pytest.mark.usefixtures("keys")
async def test_too_many_requests_of_one_key(backend: FakeBackend) -> None:
    async with client_of(make_config(serving={"requests_per_minute": 2}), backend) as client:

        async def statuses(key: str) -> list[int]:
            return [(await client.post("/predict", files=FILE, headers={"X-API-Key": key})).status_code for _ in "123"]

        assert await statuses(KEY) == [200, 200, 429]
        assert await statuses("nobodys-key-0123456789") == [401, 401, 401]
        assert await statuses(OTHER) == [200, 200, 429]
        refused = await client.post("/predict", files=FILE, headers={"X-API-Key": KEY})
    seconds = int(refused.headers["retry-after"])
    assert 25 <= seconds <= 30
    assert refused.json()["code"] == "rate_limited"
    assert refused.json()["detail"] == f"Send the next request in {seconds} s."


async def test_callers_without_keys_share_one_limit(backend: FakeBackend) -> None:
    async with client_of(make_config(serving={"requests_per_minute": 2}), backend) as client:
        headers = [{"X-API-Key": f"made-up-key-{number:016}"} for number in range(3)]
        statuses = [(await client.post("/predict", files=FILE, headers=given)).status_code for given in headers]
    assert statuses == [200, 200, 429]


# --- what is said at the start ----------------------------------------------------------------------------------------


def started(records: list[Any]) -> list[Any]:
    return [record for record in records if "config" in record["extra"]]


@pytest.mark.parametrize(
    ("serving", "says"),
    [({}, "there are no API keys"), ({"require_key": False}, "serving.require_key is false")],
)
async def test_it_is_said_once_that_keys_are_off(
    backend: FakeBackend, records: list[Any], serving: dict[str, Any], says: str
) -> None:
    async with client_of(make_config(serving=serving), backend) as client:
        await client.post("/predict", files=FILE)
    warnings = [record["message"] for record in records if record["level"].name == "WARNING"]
    assert len(warnings) == 1
    assert says in warnings[0]


@pytest.mark.usefixtures("keys")
async def test_the_settings_are_logged_once_without_secrets(backend: FakeBackend, records: list[Any]) -> None:
    config: Config = make_config(serving={"max_in_flight": 3}, inference={"checkpoint": "models/best.pth"})
    async with client_of(config, backend) as client:
        await client.post("/predict", files=FILE)
    (line,) = started(records)
    assert line["level"].name == "INFO"
    assert line["extra"]["api_keys"] == ["backend", "tests"]
    logged = line["extra"]["config"]
    assert logged["serving"]["max_in_flight"] == 3
    assert logged["inference"]["checkpoint"] == "models/best.pth"
    assert logged.keys() == config.plain().keys() - {"training"}
    assert not re.search(f"{KEY}|{OTHER}|[0-9a-f]{{64}}", repr(line["extra"]))


# --- browsers ---------------------------------------------------------------------------------------------------------

ORIGIN = "https://app.example.com"


def preflight(origin: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,traceparent,x-api-key,x-request-id",
    }


async def test_no_origin_is_let_in_by_default(client: httpx.AsyncClient) -> None:
    reply = await client.post("/predict", files=FILE, headers={"Origin": ORIGIN})
    asked = await client.options("/predict", headers=preflight(ORIGIN))
    assert asked.status_code == 405
    for headers in (reply.headers, asked.headers):
        assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.usefixtures("keys")
async def test_a_configured_origin_is_let_in_and_no_other(backend: FakeBackend) -> None:
    async with client_of(make_config(serving={"cors_origins": [ORIGIN]}), backend) as client:
        asked = await client.options("/predict", headers=preflight(ORIGIN))
        reply = await client.post("/predict", files=FILE, headers={"Origin": ORIGIN, "X-API-Key": KEY})
        refused = await client.post("/predict", files=FILE, headers={"Origin": ORIGIN})
        for other in ("https://evil.example.com", f"{ORIGIN}.evil.com", "http://app.example.com", "null"):
            denied = await client.options("/predict", headers=preflight(other))
            assert denied.status_code == 400
            assert "access-control-allow-origin" not in denied.headers
            stranger = await client.get("/health", headers={"Origin": other})
            assert "access-control-allow-origin" not in stranger.headers
    assert asked.status_code == 200
    for answer in (asked, reply, refused):
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "access-control-allow-credentials" not in answer.headers
    assert (reply.status_code, refused.status_code) == (200, 401)
    assert "retry-after" in reply.headers["access-control-expose-headers"].lower()


@pytest.mark.parametrize("origin", ["*", "https://a.example", "http://localhost:3000", "https://[::1]:8443"])
def test_origins_that_are_taken(origin: str) -> None:
    assert make_config(serving={"cors_origins": [origin]}).serving.cors_origins == (origin,)


@pytest.mark.parametrize(
    "origin",
    [
        "a.example",
        "https://a.example/",
        "https://A.example",
        "https://*.a.example",
        "null",
        "ftp://a",
        "https://u@a",
        "",
    ],
)
def test_an_origin_that_no_browser_sends_is_named(origin: str) -> None:
    with pytest.raises(ConfigError, match=r"serving\.cors_origins\.0: .*such as https://app\.example\.com"):
        make_config(serving={"cors_origins": [origin]})


# --- every reply ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health/live", 200),
        ("HEAD", "/health", 200),
        ("POST", "/predict", 415),
        ("GET", "/nothing", 404),
        ("GET", "/docs", 200),
        ("GET", "/docs/swagger-ui-bundle.js", 200),
        ("GET", "/openapi.json", 200),
    ],
)
async def test_a_browser_is_told_to_be_careful(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    reply = await client.request(method, path)
    assert reply.status_code == status
    expected = {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }
    assert {name: reply.headers.get_list(name) for name in expected} == {k: [v] for k, v in expected.items()}
    (policy,) = reply.headers.get_list("content-security-policy")
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
