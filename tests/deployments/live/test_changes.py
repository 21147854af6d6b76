"""Changes under load: another model, another version of the service, fewer replicas."""

from pathlib import Path

import pytest

from tests.deployments.live.conftest import STAGES, Live, checkpoint, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


def replicas(live: Live) -> dict[str, set[int]]:
    return {stage: live.pids(stage) for stage in STAGES}


def test_another_model_takes_over_in_place(live: Live) -> None:
    """It looks at larger faces, so that clips for one are of no use to the other."""
    new = checkpoint(live.folder, "larger.pth", side=96, seed=2)
    before = replicas(live)
    with live.load() as load:
        (first,) = load.versions
        live.deploy(checkpoint=new)
        until(lambda: len(load.versions) == 2)
        until(lambda: live.health()["model_version"] != first)
    assert load.lost == {}
    assert replicas(live) == before


@pytest.mark.parametrize("name", ["missing", "damaged"])
def test_a_bad_model_changes_nothing(live: Live, name: str) -> None:
    bad = live.folder / f"{name}.pth"
    if name == "damaged":
        bad.write_bytes((live.folder / "best.pth").read_bytes()[:1000])
    before = replicas(live)
    with live.load(clients=2) as load:
        served = set(load.versions)
        live.deploy(checkpoint=bad)
        until(lambda: live.health()["update_failed"] == f"checkpoint_{name}")
    assert load.lost == {}
    assert load.versions == served
    assert replicas(live) == before
    with live.client() as client:
        assert client.get("/health/ready").status_code == 200
    live.deploy(checkpoint=Path(live.folder / "best.pth"))
    until(lambda: all(live.health()["update_failed"] is None for _ in range(4)))


def test_a_rolling_update_loses_nothing(live: Live) -> None:
    before = replicas(live)
    with live.load(clients=2) as load:
        live.deploy(settings={"seed": 3})
        until(lambda: all(not live.pids(stage) & before[stage] for stage in STAGES))
    assert load.lost == {}


def test_fewer_replicas_lose_nothing(live: Live) -> None:
    with live.load(clients=2) as load:
        live.deploy(detectors=1)
        until(lambda: len(live.pids("Detector")) == 1)
    assert load.lost == {}
    live.deploy(detectors=2)
    until(lambda: len(live.pids("Detector")) == 2)
