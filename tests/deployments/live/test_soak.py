"""A few seconds of the mixed load of `benchmarks/soak.py`."""

import asyncio
import time
from urllib.parse import urlsplit

import pytest
from live import Service
from soak import Run, hostile_files, places_are_free, send_all

from tests.deployments.live.conftest import IN_FLIGHT, STAGES, Live

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]
SECONDS = 8.0
RATE = 5.0


def test_a_mixed_load_costs_no_process_and_no_place(live: Live) -> None:
    port = urlsplit(live.url).port
    assert port
    service = Service(port, live.folder)
    before = {stage: live.pids(stage) for stage in STAGES}
    run = Run(SECONDS / 60, 2 * RATE)
    asyncio.run(send_all(service, run, hostile_files(None), time.perf_counter()))
    statuses = {kind: {reply.status for sent, reply in run.replies if sent == kind} for kind, _ in run.replies}
    assert statuses["good"] <= {200, 503}
    assert 200 in statuses["good"]
    assert statuses["hostile"] <= {200, 422, 503}
    assert 422 in statuses["hostile"]
    assert {stage: live.pids(stage) for stage in STAGES} == before
    assert asyncio.run(places_are_free(service, IN_FLIGHT))
