"""`POST /predict` over HTTP, on a backend that answers as told."""

import asyncio
import errno
import json
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from loguru import logger
from ray.exceptions import TaskCancelledError

from aura_model.config import Config
from aura_model.errors import MEDIA_ERRORS, AuraError, MediaError, ModelNotReadyError
from aura_model.reply import Analysis
from deployments.forms import MAX_PARTS, OVERHEAD
from deployments.health import HealthMonitor
from deployments.messages import ModelStatus, Scored
from deployments.problems import MEDIA_TYPE, PROBLEMS, ServiceError
from deployments.uploads import MAX_JSON
from tests.deployments.conftest import HEATMAP, INFO, Answer, FakeBackend, client_of, make_config, make_scored
from tests.operating_points import make_points

URL = "https://storage.example.com/a.mp4?X-Signature=SECRET"
FORM = {"content-type": "multipart/form-data; boundary=b"}


def form(content: bytes, name: str = "file", filename: str | None = "a.mp4") -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + content + b"\r\n--b--\r\n"


def joined(*forms: bytes) -> bytes:
    """One form with the parts of several."""
    end = b"--b--\r\n"
    return b"".join(part.removesuffix(end) for part in forms) + end


def assert_problem(reply: httpx.Response, code: str) -> dict[str, Any]:
    body: dict[str, Any] = reply.json()
    assert body["code"] == code
    assert reply.status_code == body["status"] == PROBLEMS[code].status
    assert reply.headers["content-type"] == MEDIA_TYPE
    assert body["title"] == PROBLEMS[code].title
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", body["instance"])
    return body


async def upload(client: httpx.AsyncClient, content: bytes = b"video", **options: Any) -> httpx.Response:
    return await client.post("/predict", files={"file": ("a.mp4", content)}, **options)


@pytest.fixture
def records() -> Iterator[list[dict[str, Any]]]:
    """The fields of each line in the log."""
    seen: list[dict[str, Any]] = []
    sink = logger.add(lambda message: seen.append(dict(message.record["extra"])), format="{message}", level="INFO")
    yield seen
    logger.remove(sink)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs that were fetched; each gives a video."""
    urls: list[str] = []

    async def fetch(url: str, spool: BinaryIO, config: Config, *, open_to_others: bool) -> None:
        urls.append(url)
        spool.write(b"fetched video")

    monkeypatch.setattr("deployments.uploads.fetch_video", fetch)
    return urls


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["upload", "url"])
async def test_a_full_disk_passes(
    client: httpx.AsyncClient, fetched: list[str], monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr("deployments.uploads.TemporaryFile", partial(open, "/dev/full", "w+b"))
    reply = await (upload(client, bytes(100)) if by == "upload" else client.post("/predict", json={"video_url": URL}))
    assert_problem(reply, "unavailable")
    assert "retry-after" in reply.headers
    monkeypatch.undo()
    assert (await upload(client)).status_code == 200


@pytest.mark.parametrize(("number", "code"), [(errno.EMFILE, "unavailable"), (errno.EIO, "internal")])
async def test_files_that_cannot_be_opened(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    def refuse() -> BinaryIO:
        raise OSError(number, "")

    monkeypatch.setattr("deployments.uploads.TemporaryFile", refuse)
    assert_problem(await upload(client), code)


async def test_an_upload_is_analysed(backend: FakeBackend, client: httpx.AsyncClient) -> None:
    reply = await upload(client)
    assert reply.status_code == 200
    analysis = Analysis.model_validate(reply.json())
    assert (analysis.verdict, analysis.model.version) == ("fake", "test-1")
    assert backend.media == [b"video"]


def answers(scored: Scored) -> Answer:
    """A backend's answer that is always this one."""

    async def answer(*_: object) -> Scored:
        return scored

    return answer


@pytest.mark.parametrize(("point", "verdict"), [("screening", "fake"), ("balanced", "fake"), ("strict", "uncertain")])
async def test_the_operating_point_of_the_service_decides(backend: FakeBackend, point: str, verdict: str) -> None:
    points = make_points(strict=(0.3, 0.9))
    model = INFO.model_copy(update={"operating_points": points})
    backend.answer = answers(replace(make_scored(fake=1.0), model=model))
    async with client_of(make_config(inference={"operating_point": point}), backend) as client:
        reply = (await upload(client)).json()
    assert (reply["verdict"], reply["operating_point"]["name"]) == (verdict, point)
    assert reply["operating_point"] == points.named(point).model_dump(mode="json")
    assert reply["model"]["operating_points"] == points.model_dump(mode="json")


async def test_the_operating_points_change_with_the_model(backend: FakeBackend, client: httpx.AsyncClient) -> None:
    models = [INFO.model_copy(update={"operating_points": make_points(balanced=(0.3, high))}) for high in (0.6, 0.8)]
    verdicts = []
    for model in [*models, INFO]:
        backend.current = replace(backend.current, model=model)
        backend.answer = answers(replace(make_scored(fake=1.0), model=model))
        verdicts.append((await upload(client)).json()["verdict"])
    assert verdicts == ["fake", "uncertain", "fake"]


@pytest.mark.usefixtures("fetched")
async def test_a_url_is_fetched_and_analysed(backend: FakeBackend, client: httpx.AsyncClient) -> None:
    reply = await client.post("/predict", json={"video_url": URL})
    assert reply.status_code == 200
    assert reply.json()["verdict"] == "fake"
    assert backend.media == [b"fetched video"]


async def test_the_url_reaches_the_download_unchanged(client: httpx.AsyncClient, fetched: list[str]) -> None:
    await client.post("/predict", json={"video_url": URL})
    assert fetched == [URL]


async def test_the_stages_are_timed_in_milliseconds(client: httpx.AsyncClient) -> None:
    timings = (await upload(client)).json()["timings"]
    assert timings.keys() == {"fetch", "open", "score", "total"}
    assert (timings["open"], timings["score"]) == (1.0, 2.0)


async def test_large_files_arrive_whole(backend: FakeBackend, client: httpx.AsyncClient) -> None:
    content = bytes(range(256)) * 20_000
    assert (await upload(client, content)).status_code == 200
    assert backend.media == [content]


async def test_other_fields_of_a_form_are_passed_over(backend: FakeBackend, client: httpx.AsyncClient) -> None:
    body = joined(*(form(b"x", name=name) for name in ("title", "FILE", "")), form(b"video"))
    assert (await client.post("/predict", content=body, headers=FORM)).status_code == 200
    assert backend.media == [b"video"]


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("size", [1, 2, 7])
async def test_a_form_may_come_in_pieces(backend: FakeBackend, client: httpx.AsyncClient, size: int) -> None:
    body = form(b"vid\r\n--eo")
    headers = FORM | {"content-length": str(len(body))}
    assert (await client.post("/predict", content=pieces(body, size), headers=headers)).status_code == 200
    assert backend.media == [b"vid\r\n--eo"]


async def test_an_empty_file_is_for_the_decoder_to_refuse(backend: FakeBackend, client: httpx.AsyncClient) -> None:
    await upload(client, b"")
    assert backend.media == [b""]


async def test_the_backend_is_told_the_time_that_is_left(backend: FakeBackend) -> None:
    async with client_of(make_config(serving={"deadline_seconds": 7}), backend) as client:
        await upload(client)
    assert 0 < backend.seconds[0] < 7


# --- requests that are not of the documented form ---------------------------------------------------------------------

JSON = {"content-type": "application/json"}
BODIES: dict[str, tuple[bytes, dict[str, str], str, str]] = {
    "no content type": (b"{}", {}, "unsupported_media_type", "Send application/json"),
    "text": (b"{}", {"content-type": "text/plain"}, "unsupported_media_type", "Send application/json"),
    "compressed": (
        b"{}",
        {"content-type": "application/json", "content-encoding": "gzip"},
        "unsupported_media_type",
        "Content-Encoding",
    ),
    "raw video": (b"video", {"content-type": "video/mp4"}, "unsupported_media_type", "Send application/json"),
    "URL-encoded": (
        b"video_url=a",
        {"content-type": "application/x-www-form-urlencoded"},
        "unsupported_media_type",
        "multipart/form-data with a field 'file'",
    ),
    "not JSON": (b"{", JSON, "invalid_request", "Invalid JSON"),
    "no object": (b'["a"]', JSON, "invalid_request", "object"),
    "no field": (b"{}", {"content-type": "application/json; charset=utf-8"}, "invalid_request", "video_url: Field req"),
    "wrong type": (b'{"video_url": 3}', JSON, "invalid_request", "video_url: "),
    "empty URL": (b'{"video_url": ""}', JSON, "invalid_request", "video_url: "),
    "unknown field": (b'{"video_url": "https://a", "callback": ""}', JSON, "invalid_request", "callback: "),
    "deep JSON": (b"[" * 60_000, JSON, "invalid_request", "Invalid JSON"),
    "long JSON": (b" " * (MAX_JSON + 1), JSON, "body_too_large", "at most 65536 bytes"),
    "not UTF-8": (b'{"video_url": "\xff"}', JSON, "invalid_request", "Invalid JSON"),
    "no boundary": (form(b"a"), {"content-type": "multipart/form-data"}, "invalid_request", "no boundary"),
    "other boundary": (form(b"a"), {"content-type": "multipart/form-data; boundary=c"}, "invalid_request", "boundary"),
    "long boundary": (
        form(b"a"),
        {"content-type": "multipart/form-data; boundary=" + "b" * 999},
        "invalid_request",
        "p",
    ),
    "empty form": (b"", FORM, "invalid_request", "boundary that its content type names"),
    "much before the boundary": (
        b"a" * OVERHEAD + b"\r\n" + form(b"a"),
        FORM,
        "invalid_request",
        "at most 65536 bytes",
    ),
    "no end": (form(b"a")[:-8], FORM, "invalid_request", "no end"),
    "other field": (form(b"a", name="video"), FORM, "invalid_request", "a field 'file' with a file"),
    "text, not a file": (form(b"a", filename=None), FORM, "invalid_request", "a field 'file' with a file"),
    "two files": (joined(form(b"a"), form(b"b")), FORM, "invalid_request", "more than one field 'file'"),
    "many parts": (
        joined(*[form(b"a", name="b")] * MAX_PARTS, form(b"a")),
        FORM,
        "invalid_request",
        "at most 16 parts",
    ),
    "much beside the file": (
        joined(form(b"a" * (OVERHEAD - 99), name="b"), form(b"a" * 100, name="c"), form(b"a")),
        FORM,
        "invalid_request",
        "other fields",
    ),
    "part without a name": (
        b"--b\r\nContent-Disposition: form-data\r\n\r\na\r\n--b--\r\n",
        FORM,
        "invalid_request",
        "a field 'file'",
    ),
    "many headers": (b"--b\r\n" + b"A: b\r\n" * 5000 + b"\r\na\r\n--b--\r\n", FORM, "invalid_request", "parsed"),
}


@pytest.mark.parametrize(("body", "headers", "code", "says"), BODIES.values(), ids=BODIES.keys())
async def test_bodies_that_are_refused(
    backend: FakeBackend, client: httpx.AsyncClient, body: bytes, headers: dict[str, str], code: str, says: str
) -> None:
    reply = await client.post("/predict", content=body, headers=headers)
    assert says in assert_problem(reply, code)["detail"]
    assert backend.media == []


FIELD = b'Content-Disposition: form-data; name="file"'


@pytest.mark.parametrize(
    "headers",
    [
        (FIELD + b"; filename*=UTF-8''%e4%bd%a0.mp4",),
        (FIELD, b"Content-Type: video/mp4"),
        (b"content-type: application/octet-stream", FIELD),
    ],
    ids=["a name in another form", "a type and no name", "the type first"],
)
async def test_a_file_need_not_have_a_plain_name(
    backend: FakeBackend, client: httpx.AsyncClient, headers: tuple[bytes, ...]
) -> None:
    """RFC 7578, 4.2; RFC 5987."""
    body = b"--b\r\n" + b"\r\n".join(headers) + b"\r\n\r\nvideo\r\n--b--\r\n"
    assert (await client.post("/predict", content=body, headers=FORM)).status_code == 200
    assert backend.media == [b"video"]


@pytest.mark.parametrize(
    "preamble", [b"\r\n", b"This is a multipart message.\r\n", b"--a\n--\n\n", b"a" * 65000 + b"\n"]
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
async def test_what_is_before_the_first_boundary_is_skipped(
    backend: FakeBackend, client: httpx.AsyncClient, preamble: bytes, size: int
) -> None:
    """RFC 2046, 5.1.1; in chunks of any size."""
    body = preamble + form(b"\n--b in a video")
    headers = FORM | {"content-length": str(len(body))}
    assert (await client.post("/predict", content=pieces(body, size), headers=headers)).status_code == 200
    assert backend.media == [b"\n--b in a video"]


async def test_text_in_the_field_is_no_file(client: httpx.AsyncClient) -> None:
    body = b"--b\r\n" + FIELD + b"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\na.mp4\r\n--b--\r\n"
    assert_problem(await client.post("/predict", content=body, headers=FORM), "invalid_request")


@pytest.mark.parametrize("encodings", [["gzip", "identity"], ["identity", "br"], ["identity, gzip"]])
async def test_an_encoded_body_is_refused_whatever_another_header_says(
    client: httpx.AsyncClient, encodings: list[str]
) -> None:
    headers = [("content-type", FORM["content-type"]), *(("content-encoding", one) for one in encodings)]
    assert_problem(await client.post("/predict", content=form(b"a"), headers=headers), "unsupported_media_type")


async def test_an_empty_encoding_is_none(client: httpx.AsyncClient) -> None:
    reply = await client.post("/predict", content=form(b"a"), headers=FORM | {"content-encoding": ""})
    assert reply.status_code == 200


async def test_a_missing_field_is_named(client: httpx.AsyncClient) -> None:
    reply = await client.post("/predict", json={})
    assert assert_problem(reply, "invalid_request")["detail"] == "video_url: Field required"
    reply = await client.post("/predict", content=form(b"a", name="video"), headers=FORM)
    assert "'file'" in assert_problem(reply, "invalid_request")["detail"]


async def test_a_refused_url_is_not_repeated(client: httpx.AsyncClient) -> None:
    reply = await client.post("/predict", json={"video_url": f"file:///{URL}"})
    assert "SECRET" not in json.dumps(assert_problem(reply, "url_forbidden"))
    reply = await client.post("/predict", json={"video_url": URL + "a" * 5000})
    assert "SECRET" not in json.dumps(assert_problem(reply, "invalid_request"))


async def _chunks() -> AsyncIterator[bytes]:
    yield form(b"video")


@pytest.mark.parametrize(
    "headers",
    [{}, {"content-length": "9", "transfer-encoding": "chunked"}, {"content-length": "-1"}, {"content-length": "1_0"}],
    ids=["chunked", "both", "negative", "no number"],
)
async def test_a_length_is_demanded(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    encoded = [(name.encode(), value.encode()) for name, value in (FORM | headers).items()]
    reply = await client.post("/predict", content=_chunks(), headers=encoded)
    assert_problem(reply, "length_required")


SMALL = make_config(limits={"max_bytes": 1000})


async def test_a_declared_length_is_refused_before_the_body_is_read(backend: FakeBackend) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async with client_of(SMALL, backend) as client:
        headers = FORM | {"content-length": str(1001 + OVERHEAD)}
        reply = await client.post("/predict", content=never(), headers=headers)
    assert_problem(reply, "file_too_large")


async def test_a_body_that_outgrows_its_length_is_refused(backend: FakeBackend) -> None:
    async with client_of(SMALL, backend) as client:
        headers = FORM | {"content-length": "100"}
        reply = await client.post("/predict", content=form(b"a" * (1001 + OVERHEAD)), headers=headers)
    assert_problem(reply, "file_too_large")


async def test_json_that_outgrows_its_length_is_refused(client: httpx.AsyncClient) -> None:
    headers = JSON | {"content-length": "100"}
    reply = await client.post("/predict", content=b" " * (MAX_JSON + 1), headers=headers)
    assert_problem(reply, "body_too_large")


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413)])
async def test_the_file_itself_is_measured(backend: FakeBackend, size: int, status: int) -> None:
    async with client_of(SMALL, backend) as client:
        reply = await upload(client, b"a" * size)
    assert reply.status_code == status


def _gone() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def _cancelled() -> dict[str, Any]:
    raise TaskCancelledError


@pytest.mark.parametrize("end", [_gone, _cancelled])
@pytest.mark.parametrize(("kind", "body"), [(FORM, form(b"vid")[:-10]), (JSON, b'{"video_url": "https:')])
async def test_a_body_that_ends_early(
    backend: FakeBackend,
    client: httpx.AsyncClient,
    kind: dict[str, str],
    body: bytes,
    end: Callable[[], dict[str, Any]],
) -> None:
    messages = iter([{"type": "http.request", "body": body, "more_body": True}])
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return next(messages, None) or end()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(name.encode(), value.encode()) for name, value in (kind | {"content-length": "500"}).items()]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b""}
    await client._transport.app(scope, receive, send)
    assert sent[0]["status"] == 422
    assert b"ended before" in sent[1]["body"]
    assert backend.media == []


# --- errors of the stages ---------------------------------------------------------------------------------------------

ERRORS: list[AuraError] = [
    *(MediaError(code, "What happened.") for code in MEDIA_ERRORS),
    *(ServiceError(code, "What happened.") for code in ("busy", "unavailable", "deadline_exceeded")),
    ModelNotReadyError("model_not_ready", "What happened."),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.code)
async def test_errors_of_the_stages(backend: FakeBackend, client: httpx.AsyncClient, error: AuraError) -> None:
    backend.raises(error)
    assert assert_problem(await upload(client), error.code)["detail"] == "What happened."


@pytest.mark.parametrize("code", ["url_forbidden", "fetch_refused", "fetch_failed", "fetch_timeout", "file_too_large"])
async def test_errors_of_the_download(
    backend: FakeBackend, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    async def fetch(url: str, spool: BinaryIO, config: Config, *, open_to_others: bool) -> None:
        raise MediaError(code, "") if code in MEDIA_ERRORS else ServiceError(code, "")

    monkeypatch.setattr("deployments.uploads.fetch_video", fetch)
    assert_problem(await client.post("/predict", json={"video_url": URL}), code)
    assert backend.media == []


async def test_where_others_connect_urls_wait_for_a_list_of_hosts(backend: FakeBackend) -> None:
    config = make_config(serving={"require_key": False})
    async with client_of(config, backend, open_to_others=True) as client:
        problem = assert_problem(await client.post("/predict", json={"video_url": URL}), "url_forbidden")
    assert problem["detail"] == "URLs are not fetched until serving.allowed_hosts names the hosts."


async def test_a_defect_is_a_500_without_its_text(
    backend: FakeBackend, client: httpx.AsyncClient, records: list[dict[str, Any]]
) -> None:
    backend.raises(KeyError("the inside"))
    reply = await upload(client)
    assert_problem(reply, "internal")
    assert "the inside" not in reply.text
    assert [record["status"] for record in records if record.get("event")] == ["internal"]


async def test_scores_that_are_not_numbers_are_a_defect(backend: FakeBackend, client: httpx.AsyncClient) -> None:
    async def answer(media: Any, seconds: float) -> Any:
        return make_scored(float("nan"))

    backend.answer = answer
    assert_problem(await upload(client), "internal")


@pytest.mark.parametrize(
    ("method", "path", "code"), [("GET", "/nothing", "not_found"), ("GET", "/predict", "method_not_allowed")]
)
async def test_errors_of_the_router(client: httpx.AsyncClient, method: str, path: str, code: str) -> None:
    reply = await client.request(method, path)
    assert_problem(reply, code)
    assert reply.headers.get("allow") == ("POST" if code == "method_not_allowed" else None)


async def test_a_defect_outside_predictions_is_a_problem_too(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(monitor: HealthMonitor) -> None:
        raise KeyError("the inside")

    monkeypatch.setattr(HealthMonitor, "health", fail)
    monkeypatch.setattr(client._transport, "raise_app_exceptions", False)
    reply = await client.get("/health")
    assert_problem(reply, "internal")
    assert "the inside" not in reply.text


# --- bounds -----------------------------------------------------------------------------------------------------------


async def test_a_model_that_is_not_ready(backend: FakeBackend) -> None:
    backend.current = ModelStatus("failed", "best.pth", False, "checkpoint_missing", "There is no file.")
    async with client_of(make_config(), backend) as client:
        reply = await upload(client)
    body = assert_problem(reply, "model_not_ready")
    assert body["detail"] == "The model is not ready (checkpoint_missing); see /health/ready."
    assert "retry-after" in reply.headers
    assert backend.media == []


async def test_a_full_service_refuses_at_once_and_stays_healthy(backend: FakeBackend) -> None:
    begun, go = backend.holds()
    async with client_of(make_config(serving={"max_in_flight": 1}), backend) as client:
        first = asyncio.create_task(upload(client))
        await begun.wait()
        refused = await upload(client)
        healthy = await client.get("/health/ready")
        go.set()
        answered = await first
        later = await upload(client)
    assert_problem(refused, "busy")
    assert refused.headers["retry-after"] == "2"
    assert [healthy.status_code, answered.status_code, later.status_code] == [200, 200, 200]


async def test_a_client_that_goes_away_frees_its_place(backend: FakeBackend, records: list[dict[str, Any]]) -> None:
    begun, go = backend.holds()
    async with client_of(make_config(serving={"max_in_flight": 1}), backend) as client:
        first = asyncio.create_task(upload(client))
        await begun.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go.set()
        assert (await upload(client)).status_code == 200
    assert [record["status"] for record in records if record.get("event")] == ["cancelled", "fake"]


async def test_one_deadline_for_all_stages(backend: FakeBackend) -> None:
    backend.holds()
    async with client_of(make_config(serving={"deadline_seconds": 0.05, "max_in_flight": 1}), backend) as client:
        assert_problem(await upload(client), "deadline_exceeded")
        assert_problem(await upload(client), "deadline_exceeded")


def files_in(folder: Path) -> int:
    return len(list(folder.iterdir()))


@pytest.mark.parametrize("outcome", ["answer", "error", "cancel", "too large"])
async def test_no_file_is_left(
    backend: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    during: list[int] = []

    async def answer(media: Any, seconds: float) -> Any:
        during.append(files_in(tmp_path))
        if outcome == "error":
            raise MediaError("corrupt_video", "")
        if outcome == "cancel":
            raise asyncio.CancelledError
        return make_scored()

    backend.answer = answer
    config = make_config(limits={"max_bytes": 2_000_000 if outcome == "too large" else 20_000_000})
    async with client_of(config, backend) as client:
        if outcome == "cancel":
            with pytest.raises(asyncio.CancelledError):
                await upload(client, b"a" * 3_000_000)
        else:
            await upload(client, b"a" * 3_000_000)
    assert files_in(tmp_path) == 0
    assert during == ([] if outcome == "too large" else [0])


# --- heat-maps --------------------------------------------------------------------------------------------------------


@pytest.fixture
def explaining(backend: FakeBackend) -> FakeBackend:
    """Sends heat-maps where it is asked for them."""

    async def answer(media: npt.NDArray[np.uint8], seconds: float) -> Scored:
        return make_scored(explain=backend.traces[-1].explain)

    backend.answer = answer
    return backend


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", False),
        ("?explain=true", True),
        ("?explain=True", True),
        ("?explain=false", False),
        ("?explanation=true", False),
    ],
)
@pytest.mark.usefixtures("explaining", "fetched")
@pytest.mark.parametrize("by", ["upload", "url"])
async def test_each_face_has_a_heat_map_where_the_query_asks(
    client: httpx.AsyncClient, query: str, expected: bool, by: str
) -> None:
    body: dict[str, Any] = {"json": {"video_url": URL}} if by == "url" else {"files": {"file": ("a.mp4", b"video")}}
    reply = await client.post(f"/predict{query}", **body)
    assert reply.status_code == 200
    (face,) = reply.json()["faces"]
    assert face["heatmap"] == (HEATMAP.model_dump(mode="json") if expected else None)


async def test_but_for_the_heat_map_the_answer_is_the_same(explaining: FakeBackend, client: httpx.AsyncClient) -> None:
    plain, asked = [
        (await client.post(f"/predict?explain={wish}", files={"file": b"video"})).json() for wish in ("false", "true")
    ]
    assert plain["faces"][0].pop("heatmap") is None
    assert asked["faces"][0].pop("heatmap") is not None
    for reply in (plain, asked):
        del reply["timings"], reply["request_id"]
    assert plain == asked
    assert [trace.explain for trace in explaining.traces] == [False, True]


@pytest.mark.parametrize("query", ["explain", "explain=", "explain=1", "explain=yes", "explain=true&explain=true"])
async def test_any_other_wish_is_refused(backend: FakeBackend, client: httpx.AsyncClient, query: str) -> None:
    reply = await client.post(f"/predict?{query}", files={"file": b"video"})
    assert "explain=true" in assert_problem(reply, "invalid_request")["detail"]
    assert backend.media == []


async def test_who_may_not_ask_is_told_nothing_of_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AURA_API_KEYS", "ab12" * 8)
    async with client_of(make_config(), FakeBackend()) as client:
        assert_problem(await client.post("/predict?explain=maybe", files={"file": b"video"}), "unauthorized")


@pytest.mark.usefixtures("explaining")
async def test_no_picture_of_a_face_is_logged(client: httpx.AsyncClient) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message} {extra}", level="TRACE")
    reply = await client.post("/predict?explain=true", files={"file": b"video"})
    logger.remove(sink)
    assert reply.json()["faces"][0]["heatmap"]["image"] == HEATMAP.image
    assert any("inference" in line for line in lines)
    assert not any("base64" in line for line in lines)


async def test_the_wish_is_documented(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    (parameter,) = schema["paths"]["/predict"]["post"]["parameters"]
    assert (parameter["name"], parameter["in"], parameter["schema"]["type"]) == ("explain", "query", "boolean")


# --- ids and the log --------------------------------------------------------------------------------------------------


async def test_one_line_in_the_log(client: httpx.AsyncClient, records: list[dict[str, Any]]) -> None:
    reply = await upload(client, headers={"X-Request-ID": "abc-1"})
    (line,) = [record for record in records if record.get("event") == "inference"]
    assert line.pop("latency_ms") >= 0
    assert (
        line.items()
        >= {
            "request_id": "abc-1",
            "filename": "a.mp4",
            "size_bytes": 5,
            "model_version": "test-1",
            "fake_prob": reply.json()["fake_probability"],
            "status": "fake",
        }.items()
    )


async def test_a_refusal_is_logged_with_its_code(client: httpx.AsyncClient, records: list[dict[str, Any]]) -> None:
    await client.post("/predict", json={})
    (line,) = [record for record in records if record.get("event") == "inference"]
    assert (line["status"], line["filename"], line["fake_prob"]) == ("invalid_request", None, None)


async def test_the_id_of_the_caller_is_kept(client: httpx.AsyncClient) -> None:
    headers = {"X-Request-ID": "5f1c-9d_0E"}
    assert (await upload(client, headers=headers)).json()["request_id"] == "5f1c-9d_0E"
    reply = await client.post("/predict", json={}, headers=headers)
    assert reply.json()["instance"] == "5f1c-9d_0E"


@pytest.mark.parametrize("given", ["", "a b", "<script>", "a" * 65, "é"], ids=repr)
async def test_other_ids_are_replaced(client: httpx.AsyncClient, given: str) -> None:
    reply = await client.post("/predict", json={}, headers=[(b"X-Request-ID", given.encode())])
    assert re.fullmatch(r"[0-9a-f]{32}", reply.json()["instance"])


async def test_a_reply_has_no_second_id_beside_the_one_that_the_proxy_echoes(client: httpx.AsyncClient) -> None:
    for given in ("5f1c", "a b"):
        assert "x-request-id" not in (await client.get("/health/live", headers={"X-Request-ID": given})).headers


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/health"])
async def test_health_answers_head_as_get_without_a_body(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.head(path)
    assert (reply.status_code, reply.content) == ((await client.get(path)).status_code, b"")


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/health", "/openapi.json"])
async def test_another_method_is_told_both(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.delete(path)
    assert assert_problem(reply, "method_not_allowed")
    assert {*reply.headers["allow"].split(", ")} == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/predict/", "/health/", "/health/live/"])
async def test_a_path_is_taken_to_the_letter(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


async def test_each_request_gets_its_own_id(client: httpx.AsyncClient) -> None:
    ids = {(await client.get("/health/live")).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


async def test_every_reply_of_the_router_has_an_id(client: httpx.AsyncClient) -> None:
    reply = await client.get("/nothing")
    assert reply.headers["x-request-id"] == reply.json()["instance"]


async def test_the_documentation_is_served(client: httpx.AsyncClient) -> None:
    assert "openapi.json" in (await client.get("/docs")).text
    assert (await client.get("/openapi.json")).json()["info"]["title"] == "Aura"
