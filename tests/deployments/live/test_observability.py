"""What a live service says about itself: ids through all stages, and metrics as Prometheus gets them."""

import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from ray._private.worker import global_worker

from deployments.metrics import METRICS
from tests.deployments.live.conftest import MEDIA, Live, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

REQUESTS = int(os.environ.get("AURA_TEST_REQUESTS", "60"))
STAGES = {
    "cropped": "deployments.face_cropper",
    "scored": "deployments.detector",
    "inference": "deployments.predict_handler",
}
"""A line of each stage, and who writes it."""
SERIES = re.compile(r"^ray_(aura_\w+)\{(.*)\} (\S+)$", re.MULTILINE)


def log_lines() -> Iterator[dict[str, Any]]:
    """What the replicas of this cluster have logged."""
    for file in Path(global_worker.node.get_logs_dir_path()).glob("worker-*.out"):
        for line in file.read_text().splitlines():
            if line.startswith("{"):
                yield json.loads(line)


def ask(live: Live, number: int) -> tuple[str, str, str]:
    """Send one request with ids of its own; gives them and that of the reply."""
    request_id, trace_id = f"live-{number}", f"{number + 1:032x}"
    headers = {"X-Request-ID": request_id, "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    with live.client() as client:
        content = (MEDIA / "face.jpg").read_bytes()
        reply = client.post("/predict", files={"file": ("a.jpg", content)}, headers=headers)
    assert reply.headers.get_list("x-request-id") == [request_id]
    return request_id, trace_id, reply.json()["request_id"]


def test_the_ids_of_a_request_are_in_each_stage_and_in_the_reply(live: Live) -> None:
    with ThreadPoolExecutor(4) as pool:
        asked = list(pool.map(lambda number: ask(live, number), range(REQUESTS)))
    assert [reply for *_, reply in asked] == [request_id for request_id, *_ in asked]
    traces = {request_id: trace_id for request_id, trace_id, _ in asked}
    found: dict[str, set[str]] = {stage: set() for stage in STAGES}

    def arrived() -> bool:
        for line in log_lines():
            if line["message"] in STAGES and line.get("request_id") in traces:
                assert line["name"] == STAGES[line["message"]]
                assert line["trace_id"] == traces[line["request_id"]]
                assert line["span_id"] != "00f067aa0ba902b7"
                found[line["message"]].add(line["request_id"])
        return all(ids == traces.keys() for ids in found.values())

    until(arrived, seconds=20)


def exported() -> dict[str, list[tuple[str, float]]]:
    """The labels and the value of each series of Aura's, by name."""
    text = httpx.get(f"http://127.0.0.1:{ray.nodes()[0]['MetricsExportPort']}/metrics").text
    series: dict[str, list[tuple[str, float]]] = {}
    for name, labels, value in SERIES.findall(text):
        series.setdefault(name, []).append((labels, float(value)))
    return series


def test_metrics_are_exported_under_the_documented_names(live: Live) -> None:
    ask(live, REQUESTS)
    expected = {"aura_requests_total", "aura_stage_seconds_bucket", "aura_in_flight", "aura_ready", "aura_model_info"}
    until(lambda: expected <= exported().keys(), seconds=30)
    until(lambda: {value for _, value in exported()["aura_in_flight"]} == {0.0}, seconds=30)
    series = exported()
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in series} <= {metric.name for metric in METRICS}
    assert {value for _, value in series["aura_ready"]} == {1.0}
    for labels, _ in series["aura_requests_total"]:
        assert 'application="aura",deployment="Ingress"' in labels
