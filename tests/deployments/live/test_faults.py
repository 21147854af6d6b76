"""Replicas that die, files that kill decoders, and clients that leave."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.deployments.live.conftest import IN_FLIGHT, MEDIA, Live, until
from tests.deployments.live.poison.sitecustomize import MARK

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


@pytest.mark.parametrize("stage", ["Detector", "FaceCropper"])
def test_the_death_of_a_replica_loses_nothing(live: Live, stage: str) -> None:
    before = live.pids(stage)
    victim = min(before)
    with live.load() as load:
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(live.pids(stage) - {victim}) == 2)
    assert load.lost == {}
    live.until_whole()


def upload(client: httpx.Client, content: bytes) -> httpx.Response:
    return client.post("/predict", files={"file": ("a.jpg", content)})


def test_a_poisonous_file_fails_alone_and_kills_once(live: Live) -> None:
    """Of two croppers: the one that met it tells the other."""
    content = (MEDIA / "face.jpg").read_bytes() + MARK
    live.until_whole()
    replicas = {stage: live.pids(stage) for stage in ("Detector", "FaceCropper")}
    with live.load(clients=2) as load, live.client() as client:
        children = live.pids("child")
        first, *again = [upload(client, content) for _ in range(5)]
        started = live.pids("child") - children
    assert load.lost == {}
    assert (first.status_code, first.json()["code"]) == (422, "decode_crashed")
    assert {reply.status_code for reply in again} == {422}
    assert ["before" in reply.json()["detail"] for reply in (first, *again)] == [False, True, True, True, True]
    assert len(started) == 1
    assert {stage: live.pids(stage) for stage in replicas} == replicas


@pytest.mark.parametrize("stage", ["FaceCropper", "Detector"])
def test_clients_that_leave_a_queue_free_their_places(live: Live, stage: str) -> None:
    """Both replicas of a stage stand still, so that every request waits there."""
    content = (MEDIA / "face.jpg").read_bytes()
    stopped = [psutil.Process(pid) for pid in live.pids(stage)]
    with live.client() as client, ThreadPoolExecutor(4 * IN_FLIGHT) as pool:
        assert upload(client, content).status_code == 200
        for process in stopped:
            process.suspend()
        try:
            leaving = [
                pool.submit(httpx.post, f"{live.url}/predict", files={"file": content}, timeout=3)
                for _ in range(4 * IN_FLIGHT)
            ]
            outcomes = [call.exception() or call.result().json()["code"] for call in leaving]
            staying = [pool.submit(upload, client, content) for _ in range(2)]
        finally:
            for process in stopped:
                process.resume()
        left = sum(isinstance(outcome, httpx.TimeoutException) for outcome in outcomes)
        assert IN_FLIGHT < left <= 2 * IN_FLIGHT  # the proxy may send one ingress more than it has places for
        assert outcomes.count("busy") == len(outcomes) - left
        assert [call.result().status_code for call in staying] == [200, 200]
