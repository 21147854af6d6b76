"""The ids of a request: what is taken from the caller, and where they go."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers

from aura_model.logging import get_logger
from deployments.build_info import build_info
from deployments.health import HealthMonitor
from deployments.ingress import build_api
from deployments.messages import UNKNOWN, Trace
from deployments.request_ids import next_traceparent, read_trace
from tests.deployments.conftest import FakeBackend, make_config, make_scored
from tests.deployments.recorder import lines

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
GIVEN = f"00-{TRACE_ID}-{SPAN_ID}-01"


def headers(*pairs: tuple[str, str]) -> Headers:
    return Headers(raw=[(name.lower().encode(), value.encode("latin-1")) for name, value in pairs])


# --- traceparent ------------------------------------------------------------------------------------------------------


def test_the_trace_goes_on_with_a_span_of_ours() -> None:
    found = {next_traceparent(GIVEN) for _ in range(50)}
    assert None not in found
    spans = {str(value).split("-")[2] for value in found}
    assert len(spans) == 50
    assert SPAN_ID not in spans
    for value in found:
        assert re.fullmatch(rf"00-{TRACE_ID}-(?!0{{16}})[0-9a-f]{{16}}-01", str(value))


@pytest.mark.parametrize(
    ("flags", "expected"), [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("ff", "03"), ("09", "01")]
)
def test_only_known_flags_are_passed_on(flags: str, expected: str) -> None:
    assert str(next_traceparent(f"00-{TRACE_ID}-{SPAN_ID}-{flags}")).endswith(f"-{expected}")


@pytest.mark.parametrize(
    "given", [f"cc-{TRACE_ID}-{SPAN_ID}-01", f"01-{TRACE_ID}-{SPAN_ID}-01-what-comes-later", f" {GIVEN}\t"]
)
def test_a_later_version_is_read_as_ours(given: str) -> None:
    assert str(next_traceparent(given)).startswith(f"00-{TRACE_ID}-")


INVALID = {
    "empty": "",
    "no parts": "00",
    "version ff": f"ff-{TRACE_ID}-{SPAN_ID}-01",
    "version of one digit": f"0-{TRACE_ID}-{SPAN_ID}-01",
    "capitals": f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
    "capital in the span": f"00-{TRACE_ID}-{SPAN_ID.upper()}-01",
    "trace of zeros": f"00-{'0' * 32}-{SPAN_ID}-01",
    "span of zeros": f"00-{TRACE_ID}-{'0' * 16}-01",
    "short trace": f"00-{TRACE_ID[1:]}-{SPAN_ID}-01",
    "long trace": f"00-{TRACE_ID}0-{SPAN_ID}-01",
    "short span": f"00-{TRACE_ID}-{SPAN_ID[1:]}-01",
    "no flags": f"00-{TRACE_ID}-{SPAN_ID}",
    "short flags": f"00-{TRACE_ID}-{SPAN_ID}-1",
    "not hexadecimal": f"00-{TRACE_ID[:-1]}g-{SPAN_ID}-01",
    "more in version 00": f"{GIVEN}-00",
    "end in version 00": f"{GIVEN}-",
    "later version without a dash": f"cc-{TRACE_ID}-{SPAN_ID}-01.what",
    "underscores": GIVEN.replace("-", "_"),
    "inner space": GIVEN.replace("-", "- "),
    "two lines": f"{GIVEN}\n",
    "other digits": f"00-{TRACE_ID}-{SPAN_ID}-0²",
}


@pytest.mark.parametrize("given", INVALID.values(), ids=INVALID.keys())
def test_an_invalid_trace_is_no_trace(given: str) -> None:
    assert next_traceparent(given) is None
    assert read_trace(headers(("traceparent", given), ("X-Request-ID", "abc"))) == Trace("abc")


def test_two_traces_are_none() -> None:
    assert read_trace(headers(("traceparent", GIVEN), ("traceparent", GIVEN), ("X-Request-ID", "abc"))) == Trace("abc")


# --- the id -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["a", "5f1c-9d_0E", "a" * 64])
def test_a_plain_id_is_kept_beside_the_trace(given: str) -> None:
    trace = read_trace(headers(("X-Request-ID", given), ("traceparent", GIVEN)))
    assert trace.request_id == given
    assert trace.fields()["trace_id"] == TRACE_ID


@pytest.mark.parametrize("given", [[], [("X-Request-ID", "")], [("X-Request-ID", "a b")], [("X-Request-ID", "a" * 65)]])
def test_without_a_plain_id_the_trace_gives_one(given: list[tuple[str, str]]) -> None:
    assert read_trace(headers(*given, ("traceparent", GIVEN))).request_id == TRACE_ID


def test_without_either_there_is_a_new_id() -> None:
    ids = {read_trace(headers()).request_id for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(r"[0-9a-f]{32}", found) for found in ids)


def test_fields_of_a_trace() -> None:
    assert Trace("abc").fields() == {"request_id": "abc"}
    assert Trace("abc", GIVEN).fields() == {"request_id": "abc", "trace_id": TRACE_ID, "span_id": SPAN_ID}
    assert UNKNOWN.fields() == {"request_id": "unknown"}


# --- where they go ----------------------------------------------------------------------------------------------------


@pytest.fixture
def records() -> Iterator[list[dict[str, Any]]]:
    with lines() as seen:
        yield seen


async def test_the_backend_gets_both_ids(backend: FakeBackend, client: httpx.AsyncClient) -> None:
    given = {"X-Request-ID": "abc-1", "traceparent": GIVEN}
    reply = await client.post("/predict", files={"file": ("a.mp4", b"video")}, headers=given)
    assert reply.json()["request_id"] == "abc-1"
    ((trace),) = backend.traces
    assert trace.request_id == "abc-1"
    assert str(trace.traceparent).startswith(f"00-{TRACE_ID}-")
    assert SPAN_ID not in str(trace.traceparent)


async def test_every_line_about_a_request_has_its_ids(
    backend: FakeBackend, client: httpx.AsyncClient, records: list[dict[str, Any]]
) -> None:
    async def answer(media: Any, seconds: float) -> Any:
        get_logger("somewhere").info("in the middle")
        return make_scored()

    backend.answer = answer
    records.clear()
    given = {"X-Request-ID": "abc-1", "traceparent": GIVEN}
    await client.post("/predict", files={"file": ("a.mp4", b"video")}, headers=given)
    lines = [record for record in records if record["message"] in {"in the middle", "inference"}]
    assert len(lines) == 2
    assert {(line["request_id"], line["trace_id"]) for line in lines} == {("abc-1", TRACE_ID)}
    assert len({line["span_id"] for line in lines} - {SPAN_ID}) == 1


async def test_a_request_leaves_no_id_behind(client: httpx.AsyncClient, records: list[dict[str, Any]]) -> None:
    await client.get("/health/live", headers={"X-Request-ID": "abc-1"})
    get_logger("somewhere").info("later")
    assert "request_id" not in records[-1]


async def test_the_trace_of_the_caller_is_the_id_of_a_reply_without_another(client: httpx.AsyncClient) -> None:
    reply = await client.post("/predict", json={}, headers={"traceparent": GIVEN})
    assert reply.json()["instance"] == reply.headers["x-request-id"] == TRACE_ID


async def test_a_defect_outside_predictions_is_logged_with_the_id(
    client: httpx.AsyncClient, records: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(monitor: HealthMonitor) -> None:
        raise KeyError

    monkeypatch.setattr(HealthMonitor, "health", fail)
    monkeypatch.setattr(client._transport, "raise_app_exceptions", False)
    await client.get("/health", headers={"X-Request-ID": "abc-1"})
    (line,) = [record for record in records if record["message"] == "a request failed"]
    assert (line["level"], line["request_id"]) == ("ERROR", "abc-1")


def test_the_versions_are_logged_at_the_start(records: list[dict[str, Any]]) -> None:
    build_api(make_config(), FakeBackend(), open_to_others=False)
    (line,) = [record for record in records if "versions" in record]
    assert dict(line["versions"]) == build_info().model_dump()
