"""The wiring: arguments, shares of the cluster, and the file that `serve run` reads."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
import yaml
from pydantic import ValidationError
from ray.serve import Application
from ray.serve._private import constants
from ray.serve.schema import ServeDeploySchema

from aura_model.allocator import KEEP_MEMORY
from aura_model.errors import ConfigError
from deployments import app
from deployments.app import AppArgs, build, cluster_resources, cpu_share, gpu_share
from deployments.cpus import available_cpus
from deployments.detector import UserConfig

SERVE_CONFIG = Path(__file__).parents[2] / "serve_config.yaml"
OPERATIONS = SERVE_CONFIG.parent / "docs" / "operations.md"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What the cluster has."""
    resources = {"CPU": 2.0}
    monkeypatch.setattr(app, "cluster_resources", lambda: (resources.get("CPU", 1.0), resources.get("GPU", 0.0)))
    return resources


def deployments(application: Application) -> dict[str, Any]:
    ingress = application._bound_deployment
    inner = [argument._bound_deployment for argument in ingress.init_args if isinstance(argument, Application)]
    return {deployment.name: deployment for deployment in (ingress, *inner)}


def asked(application: Application, resource: str) -> dict[str, float]:
    return {name: d.ray_actor_options.get(resource, 0) for name, d in deployments(application).items()}


def test_the_argument_is_a_class_at_run_time() -> None:
    """Ray Serve hands a plain mapping to a builder whose annotation is a string."""
    (parameter,) = inspect.signature(build).parameters.values()
    assert parameter.annotation is AppArgs


@pytest.mark.usefixtures("cluster")
def test_three_deployments() -> None:
    assert deployments(build(AppArgs())).keys() == {"Ingress", "FaceCropper", "Detector"}


@pytest.mark.parametrize(("gpus", "expected"), [(0, 0), (1, 1), (4, 1)])
def test_a_gpu_is_asked_for_where_there_is_one(cluster: dict[str, float], gpus: float, expected: float) -> None:
    cluster["GPU"] = gpus
    assert asked(build(AppArgs()), "num_gpus") == {"Ingress": 0, "FaceCropper": 0, "Detector": expected}


@pytest.mark.usefixtures("cluster")
def test_only_the_detector_keeps_its_memory() -> None:
    environments = asked(build(AppArgs()), "runtime_env")
    assert environments == {"Ingress": 0, "FaceCropper": 0, "Detector": {"env_vars": dict(KEEP_MEMORY)}}


@pytest.mark.usefixtures("cluster")
def test_the_detector_has_a_user_config_of_its_own() -> None:
    """So that taking it out of the file is a change, which Ray Serve would not tell a detector of otherwise."""
    args = AppArgs(settings={"inference": {"checkpoint": "/models/best.pth"}})
    assert deployments(build(args))["Detector"].user_config == {"checkpoint": "/models/best.pth"}
    assert deployments(build(args))["FaceCropper"].user_config is None


@pytest.mark.parametrize("cpus", [1, 2, 8, 64])
@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_the_application_fits_any_machine(cluster: dict[str, float], cpus: float, replicas: int) -> None:
    cluster["CPU"] = cpus
    args = AppArgs(ingress_replicas=replicas, cropper_replicas=replicas, detector_replicas=replicas)
    shares = asked(build(args), "num_cpus")
    assert replicas * sum(shares.values()) <= cpus
    assert all(0 < share <= 1 for share in shares.values())


@pytest.mark.usefixtures("cluster")
def test_health_has_room_beside_predictions() -> None:
    args = AppArgs(settings={"serving": {"max_in_flight": 50}}, ingress_replicas=2)
    slots = {name: d.max_ongoing_requests for name, d in deployments(build(args)).items()}
    assert slots["Ingress"] > 50
    assert slots["FaceCropper"] > 100
    assert slots["Detector"] > 100


@pytest.mark.usefixtures("cluster")
def test_what_a_replica_has_accepted_it_may_finish() -> None:
    application = build(AppArgs(settings={"serving": {"deadline_seconds": 33}}))
    assert all(d._deployment_config.graceful_shutdown_timeout_s > 33 for d in deployments(application).values())


@pytest.mark.usefixtures("cluster")
def test_no_queue_is_without_bound() -> None:
    """While a stage has no replica, as many wait for it as the ingress lets in."""
    queues = {name: d.max_queued_requests for name, d in deployments(build(AppArgs())).items()}
    assert all(queues[name] > 8 for name in ("FaceCropper", "Detector"))
    assert all(queue < 1000 for queue in queues.values())


@pytest.mark.usefixtures("cluster")
def test_settings_reach_every_deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AURA_CONFIG", raising=False)
    file = tmp_path / "mine.yaml"
    file.write_text("inference: {checkpoint: best.pth}\nserving: {max_in_flight: 3}\n")
    application = build(AppArgs(config=file, settings={"serving": {"max_in_flight": 4}}))
    for deployment in deployments(application).values():
        assert deployment.init_args[0].inference.checkpoint == Path("best.pth")
        assert deployment.init_args[0].serving.max_in_flight == 4


@pytest.mark.usefixtures("cluster")
def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"serving\.max_inflight"):
        build(AppArgs(settings={"serving": {"max_inflight": 4}}))


@pytest.mark.parametrize(
    "args", [{"gpus": 1}, {"num_gpus": -1}, {"num_gpus": "all"}, {"detector_replicas": 0}, {"settings": []}], ids=str
)
def test_bad_arguments(args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AppArgs.model_validate(args)


@pytest.mark.parametrize(
    ("wanted", "gpus", "replicas", "expected"),
    [
        ("auto", 0, 1, 0),
        ("auto", 1, 1, 1),
        ("auto", 8, 2, 1),
        ("auto", 1, 2, 0.5),
        ("auto", 3, 4, 0.5),
        ("auto", 0.5, 1, 0),
        (0, 4, 1, 0),
        (0.5, 1, 2, 0.5),
        (2, 2, 1, 2),
    ],
)
def test_gpu_shares(wanted: Any, gpus: float, replicas: int, expected: float) -> None:
    assert gpu_share(wanted, gpus, replicas) == expected


@pytest.mark.parametrize(("wanted", "gpus", "replicas"), [(1, 0, 1), (1, 1, 2), (0.6, 1, 2)])
def test_more_gpus_than_there_are(wanted: float, gpus: float, replicas: int) -> None:
    with pytest.raises(ConfigError, match="num_gpus: auto"):
        gpu_share(wanted, gpus, replicas)


def test_a_share_of_a_large_machine_is_one_cpu() -> None:
    assert cpu_share(0.4, 64, 1) == 1.0


def test_before_ray_runs_this_machine_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    cpus, gpus = cluster_resources()
    assert cpus >= 1
    assert gpus == 2


def test_a_running_cluster_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 16.0, "GPU": 1.0, "memory": 1e9})
    assert cluster_resources() == (16.0, 1.0)


@pytest.mark.parametrize(
    ("allowed", "granted", "expected"), [(8, 4.0, 4), (2, 4.0, 2), (8, 0.0, 8), (8, None, 8), (8, 0.5, 8)]
)
def test_cpus_of_a_replica(monkeypatch: pytest.MonkeyPatch, allowed: int, granted: float | None, expected: int) -> None:
    nodes = [{"NodeID": "other", "Resources": {"CPU": 99.0}}]
    if granted is not None:
        nodes.append({"NodeID": "here", "Resources": {"CPU": granted}})
    context = type("Context", (), {"get_node_id": lambda self: "here"})()
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(allowed)))
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert available_cpus() == expected


def test_cpus_outside_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2})
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    assert available_cpus() == 3


def test_serve_run_reads_the_file_as_it_is_meant() -> None:
    """Ray's schema ignores unknown keys, so each key is compared with what the schema keeps."""
    written = yaml.safe_load(SERVE_CONFIG.read_text())
    kept = ServeDeploySchema.model_validate(written).model_dump(mode="json", exclude_unset=True)
    assert kept == written


@pytest.mark.usefixtures("cluster")
def test_the_file_builds_this_application_on_this_machine_only() -> None:
    written = yaml.safe_load(SERVE_CONFIG.read_text())
    assert (written["http_options"]["host"], written["http_options"]["port"]) == ("127.0.0.1", 8000)
    (application,) = written["applications"]
    assert (application["import_path"], application["route_prefix"]) == ("deployments.app:build", "/")
    config = build(AppArgs.model_validate(application["args"]))._bound_deployment.init_args[0]
    assert config.serving.deadline_seconds < written["http_options"]["request_timeout_s"]
    assert not config.serving.allow_loopback


def test_a_dead_proxy_is_noticed_within_seconds() -> None:
    """The controller is the one that asks; Ray Serve's own defaults are 10 s each."""
    variables = yaml.safe_load(SERVE_CONFIG.read_text())["controller_options"]["runtime_env"]["env_vars"]
    assert variables == {"RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1", "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "2"}
    assert all(hasattr(constants, name.removeprefix("RAY_SERVE_")) for name in variables)


def test_the_documented_change_of_the_model_is_one_that_ray_serve_and_the_detector_take() -> None:
    (block,) = re.findall(r"```yaml\n(applications:\n.*?user_config.*?)```", OPERATIONS.read_text(), re.DOTALL)
    written = yaml.safe_load(block)
    assert ServeDeploySchema.model_validate(written).model_dump(mode="json", exclude_unset=True) == written
    (deployment,) = written["applications"][0]["deployments"]
    assert deployment["name"] == "Detector"
    assert UserConfig.model_validate(deployment["user_config"]).checkpoint == Path("/models/best-2.pth")
