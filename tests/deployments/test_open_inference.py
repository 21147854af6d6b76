"""The routes of the Open Inference Protocol."""

from typing import Any

import httpx
import pytest

from deployments.ingress import build_api
from deployments.messages import ModelStatus
from tests.deployments.conftest import INFO, FakeBackend, client_of, make_config

FAILED = ModelStatus("failed", "best.pth", False, "checkpoint_missing", "There is no file best.pth.")
PATHS = ["/v2/health/live", "/v2/health/ready", "/v2/models/aura", "/v2/models/aura/ready"]


@pytest.fixture
async def metadata(client: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("/v2/models/aura")).json()
    return found


@pytest.mark.parametrize(
    ("path", "ready", "failed"),
    [
        ("/v2/health/live", (200, {"live": True}), (200, {"live": True})),
        ("/v2/health/ready", (200, {"ready": True}), (503, {"ready": False})),
        ("/v2/models/aura/ready", (200, {"name": "aura", "ready": True}), (503, {"name": "aura", "ready": False})),
    ],
)
async def test_health(
    backend: FakeBackend, path: str, ready: tuple[int, dict[str, Any]], failed: tuple[int, dict[str, Any]]
) -> None:
    for status, expected in ((backend.current, ready), (FAILED, failed)):
        backend.current = status
        backend.heard.clear()
        async with client_of(make_config(), backend) as client:
            reply = await client.get(path)
        assert (reply.status_code, reply.json()) == expected


async def test_metadata_of_the_model(metadata: dict[str, Any]) -> None:
    assert metadata.keys() == {"name", "versions", "platform", "inputs", "outputs"}
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("aura", [INFO.version], "pytorch")
    for tensor in [*metadata["inputs"], *metadata["outputs"]]:
        assert tensor.keys() == {"name", "datatype", "shape"}
        assert tensor["datatype"] in {"BYTES", "FP64"}
        assert tensor["shape"] == [1]


async def test_metadata_names_fields_that_predict_has(metadata: dict[str, Any], openapi: dict[str, Any]) -> None:
    schemas = openapi["components"]["schemas"]
    body = openapi["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {tensor["name"] for tensor in metadata["inputs"]} <= body["properties"].keys()
    assert {tensor["name"] for tensor in metadata["outputs"]} <= schemas["Analysis"]["properties"].keys()


async def test_metadata_without_a_model(backend: FakeBackend) -> None:
    backend.current = FAILED
    async with client_of(make_config(), backend) as client:
        reply = await client.get("/v2/models/aura")
    assert (reply.status_code, reply.json()["versions"]) == (200, [])


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_get_without_a_body(backend: FakeBackend, path: str) -> None:
    for status in (backend.current, FAILED):
        backend.current = status
        backend.heard.clear()
        async with client_of(make_config(), backend) as client:
            reply = await client.head(path)
            assert (reply.status_code, reply.content) == ((await client.get(path)).status_code, b"")
            assert {*(await client.post(path)).headers["allow"].split(", ")} == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/v2", "/v2/models/other", "/v2/models/other/ready", "/v2/models/aura/versions/1"])
async def test_there_is_no_other_model_and_no_more_of_the_protocol(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


async def test_there_is_no_inference(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v2/models/aura/infer", json={})).status_code == 404


@pytest.fixture
def openapi() -> dict[str, Any]:
    return build_api(make_config(), FakeBackend(), open_to_others=False).openapi()


@pytest.mark.parametrize("path", PATHS)
def test_the_schema_has_the_routes(openapi: dict[str, Any], path: str) -> None:
    operations = openapi["paths"][path]
    assert operations.keys() == {"get"}
    assert operations["get"]["responses"].keys() == ({"200", "503"} if path.endswith("/ready") else {"200"})
