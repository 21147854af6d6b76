"""What is counted, and that no label takes a value from outside."""

import asyncio
from typing import Any, BinaryIO, get_args

import httpx
import pytest
from ray.serve import metrics as serve_metrics

from aura_model.config import Config
from aura_model.errors import MEDIA_ERRORS, MediaError
from aura_model.reply import Verdict
from deployments import metrics
from deployments.messages import ModelStatus
from deployments.metrics import METRICS, CropperMetrics, DetectorMetrics, IngressMetrics, Metric
from deployments.problems import PROBLEMS
from tests.deployments.conftest import FakeBackend, client_of, make_config, make_scored
from tests.deployments.recorder import Recorder


async def upload(client: httpx.AsyncClient, **options: Any) -> httpx.Response:
    return await client.post("/predict", files={"file": ("a.mp4", b"video")}, **options)


# --- the table --------------------------------------------------------------------------------------------------------


def test_names_are_those_that_prometheus_expects() -> None:
    for metric in METRICS:
        assert metric.name.startswith("aura_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_label_takes_no_value_from_outside(metric: Metric) -> None:
    if metric.label is None:
        assert metric.tags("anything") == {}
    elif metric is metrics.MODEL_INFO:
        assert metric.values is None
    else:
        assert metric.values
        assert len(metric.values) < 60
        assert metric.tags("anything") == {metric.label: "other"}
        for value in metric.values:
            assert metric.tags(value) == {metric.label: value}


def test_outcomes_are_verdicts_problems_and_leaving() -> None:
    assert {*get_args(Verdict), *PROBLEMS, "cancelled"} == metrics.REQUESTS.values


def test_every_failure_of_a_child_has_a_cause() -> None:
    assert metrics.CAUSES.keys() == {code for code in MEDIA_ERRORS if code.startswith("decode_")}


def test_buckets_suit_seconds_of_video() -> None:
    assert list(metrics.SECONDS) == sorted(set(metrics.SECONDS))
    assert metrics.SECONDS[0] <= 0.01
    assert metrics.SECONDS[-1] == make_config().serving.deadline_seconds
    assert sum(0.1 <= bound <= 30 for bound in metrics.SECONDS) >= 8


def test_the_real_ones_work_outside_a_replica() -> None:
    for _ in range(2):  # as where a replica's process builds its application anew
        ingress, cropper, detector = IngressMetrics(), CropperMetrics(), DetectorMetrics()
        with ingress.working():
            ingress.fetched(3)
        ingress.answered({"fetch": 1.0, "total": 2.0})
        ingress.ended("fake", 0.1)
        ingress.ready(True)
        cropper.failed("decode_crashed")
        cropper.remembered()
        detector.serves("v1")
    assert metrics.Counter is serve_metrics.Counter


# --- an ingress -------------------------------------------------------------------------------------------------------


async def test_an_answer_is_counted_and_timed(recorded: dict[str, Recorder], backend: FakeBackend) -> None:
    async with client_of(make_config(), backend) as client:
        timings = (await upload(client)).json()["timings"]
    assert recorded["aura_requests_total"].totals() == {"fake": 1}
    stages = recorded["aura_stage_seconds"].series
    assert {stage for (stage,) in stages} == {"fetch", "open", "score", "total"}
    assert stages["open",] == [pytest.approx(0.001)]
    assert stages["score",] == [pytest.approx(0.002)]
    assert stages["total",][0] >= timings["total"] / 1000
    assert "aura_rejected_total" in recorded
    assert recorded["aura_rejected_total"].series == {}


@pytest.mark.parametrize("code", ["corrupt_video", "decode_crashed"])
async def test_a_refused_file_is_counted_by_its_code(
    recorded: dict[str, Recorder], backend: FakeBackend, code: str
) -> None:
    backend.raises(MediaError(code, ""))
    async with client_of(make_config(), backend) as client:
        await upload(client)
    assert recorded["aura_requests_total"].totals() == {code: 1}
    assert recorded["aura_stage_seconds"].series.keys() == {("total",)}


async def test_requests_in_flight_come_and_go(recorded: dict[str, Recorder], backend: FakeBackend) -> None:
    begun, go = backend.holds()
    async with client_of(make_config(), backend) as client:
        first = asyncio.create_task(upload(client))
        await begun.wait()
        assert recorded["aura_in_flight"].changes() == [0, 1]
        go.set()
        await first
        assert recorded["aura_in_flight"].changes() == [0, 1, 0]


@pytest.mark.parametrize("end", ["error", "defect", "cancel", "deadline", "refused form"])
async def test_nothing_stays_in_flight(recorded: dict[str, Recorder], backend: FakeBackend, end: str) -> None:
    begun, _ = backend.holds()
    if end in {"error", "defect"}:
        backend.raises(MediaError("corrupt_video", "") if end == "error" else KeyError())
    config = make_config(serving={"deadline_seconds": 0.05 if end == "deadline" else 9.0})
    async with client_of(config, backend) as client:
        asking = asyncio.create_task(upload(client) if end != "refused form" else client.post("/predict", json={}))
        if end == "cancel":
            await begun.wait()
            asking.cancel()
        await asyncio.wait([asking])
    assert recorded["aura_in_flight"].changes() == [0, 1, 0]
    expected = {"error": "corrupt_video", "defect": "internal", "cancel": "cancelled", "deadline": "deadline_exceeded"}
    assert recorded["aura_requests_total"].totals() == {expected.get(end, "invalid_request"): 1}


async def test_the_sum_of_several_is_right(recorded: dict[str, Recorder], backend: FakeBackend) -> None:
    barrier = asyncio.Barrier(3)

    async def answer(media: Any, seconds: float) -> Any:
        await barrier.wait()
        return make_scored()

    backend.answer = answer
    async with client_of(make_config(serving={"max_in_flight": 3}), backend) as client:
        await asyncio.gather(*(upload(client) for _ in range(3)))
    assert recorded["aura_in_flight"].changes() == [0, 1, 2, 3, 2, 1, 0]


async def test_gauges_are_told_again_at_each_poll(recorded: dict[str, Recorder]) -> None:
    """Ray drops a gauge that is not told for a while, also where a long request has not ended."""
    ingress = IngressMetrics()
    with ingress.working():
        for _ in range(3):
            ingress.ready(True)
    assert recorded["aura_in_flight"].series[()] == [1, 1, 1, 1, 0]
    assert recorded["aura_ready"].series[()] == [1, 1, 1]


async def test_those_that_are_turned_away_do_not_flatter_the_latency(
    recorded: dict[str, Recorder], backend: FakeBackend
) -> None:
    begun, go = backend.holds()
    async with client_of(make_config(serving={"max_in_flight": 1}), backend) as client:
        first = asyncio.create_task(upload(client))
        await begun.wait()
        for _ in range(3):
            assert (await upload(client)).status_code == 503
        go.set()
        await first
    assert recorded["aura_rejected_total"].totals() == {"busy": 3}
    assert recorded["aura_requests_total"].totals() == {"busy": 3, "fake": 1}
    assert len(recorded["aura_stage_seconds"].series["total",]) == 1


async def test_a_service_without_a_model_turns_away(recorded: dict[str, Recorder], backend: FakeBackend) -> None:
    backend.current = ModelStatus("failed", None, False, "model_error", "")
    async with client_of(make_config(), backend) as client:
        await upload(client)
    assert recorded["aura_rejected_total"].totals() == {"model_not_ready": 1}
    assert recorded["aura_ready"].series[()][0] == 0


async def test_ready_is_told_and_taken_back(recorded: dict[str, Recorder], backend: FakeBackend) -> None:
    async with client_of(make_config(), backend):
        assert recorded["aura_ready"].changes() == [1]
    assert recorded["aura_ready"].changes() == [1, 0]


@pytest.mark.parametrize(("size", "expected"), [(0, {}), (5, {"": 5}), (70_000, {"": 70_000})])
async def test_downloads_are_measured(
    recorded: dict[str, Recorder],
    backend: FakeBackend,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    expected: dict[str, int],
) -> None:
    async def fetch(url: str, spool: BinaryIO, config: Config, **_: object) -> None:
        spool.write(bytes(size))

    monkeypatch.setattr("deployments.uploads.fetch_video", fetch)
    async with client_of(make_config(), backend) as client:
        await upload(client)
        await client.post("/predict", json={"video_url": "https://storage.example.com/a.mp4"})
    assert recorded["aura_fetch_bytes_total"].totals() == expected


async def test_a_stage_that_is_not_known_is_another(recorded: dict[str, Recorder], backend: FakeBackend) -> None:
    async def answer(media: Any, seconds: float) -> Any:
        scored = make_scored()
        return type(scored)(scored.clips, scored.scores, scored.model, {"x" * 9: 0.5})

    backend.answer = answer
    async with client_of(make_config(), backend) as client:
        await upload(client)
    assert recorded["aura_stage_seconds"].series["other",] == [pytest.approx(0.5)]


async def test_nothing_that_a_caller_sends_is_a_label(recorded: dict[str, Recorder], backend: FakeBackend) -> None:
    names = {"X-Request-ID": "caller-1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "X-API-Key": "caller-2"}
    async with client_of(make_config(), backend) as client:
        await client.post("/predict", files={"caller-3": ("caller-4.mp4", b"video")}, headers=names)
        await client.post("/predict", content=b"caller-5", headers={"content-type": "caller/6"} | names)
        await client.post("/predict?caller=7", files={"file": ("caller-8.mp4", b"video")}, headers=names)
    table = {metric.name: metric.values or {""} for metric in METRICS}
    for name, recorder in recorded.items():
        assert {label for labels in recorder.series for label in labels} <= table[name]


# --- the other deployments --------------------------------------------------------------------------------------------


def test_only_failures_of_a_child_are_counted(recorded: dict[str, Recorder]) -> None:
    cropper = CropperMetrics()
    for code in [*MEDIA_ERRORS, "deadline_exceeded", "invalid_config"]:
        cropper.failed(code)
    assert recorded["aura_decode_child_exits_total"].totals() == {"crash": 1, "memory": 1, "timeout": 1}
    assert recorded["aura_crashes_remembered_total"].series == {}
    cropper.remembered()
    assert recorded["aura_crashes_remembered_total"].totals() == {"": 1}


def test_one_version_of_the_model_at_a_time(recorded: dict[str, Recorder]) -> None:
    detector = DetectorMetrics()
    for version in ("v1", "v1", "v2", "v1"):
        detector.serves(version)
    series = recorded["aura_model_info"].series
    assert {label: values[-1] for (label,), values in series.items()} == {"v1": 1, "v2": 0}
    assert series["v2",] == [1, 0]
