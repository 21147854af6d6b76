import re
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from aura_model.allocator import KEEP_MEMORY
from deployments.app import AppArgs
from deployments.detector import Detector
from training.launch import overrides_of, parser

Mapping = dict[str, Any]


def cluster_of(resource: Mapping) -> Mapping:
    found: Mapping = resource["spec"].get("rayClusterConfig") or resource["spec"]["rayClusterSpec"]
    return found


def groups_of(resource: Mapping) -> list[Mapping]:
    cluster = cluster_of(resource)
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def container_of(group: Mapping) -> Mapping:
    (container,) = group["template"]["spec"]["containers"]
    found: Mapping = container
    return found


@pytest.fixture(params=["rayservice", "rayjob"])
def resource(request: pytest.FixtureRequest) -> Mapping:
    found: Mapping = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def worker(rayservice: Mapping) -> Mapping:
    (group,) = cluster_of(rayservice)["workerGroupSpecs"]
    found: Mapping = group
    return found


# --- both --------------------------------------------------------------------------------------------------------


def test_the_api_is_kuberays(rayservice: Mapping, rayjob: Mapping) -> None:
    assert [(r["apiVersion"], r["kind"]) for r in (rayservice, rayjob)] == [
        ("ray.io/v1", "RayService"),
        ("ray.io/v1", "RayJob"),
    ]


def test_it_has_the_known_keys_only(rayservice: Mapping, rayjob: Mapping) -> None:
    assert set(rayservice["spec"]) == {"serveConfigV2", "rayClusterConfig"}
    assert set(rayjob["spec"]) == {
        *("entrypoint", "submissionMode", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit"),
        "rayClusterSpec",
    }
    for resource in (rayservice, rayjob):
        assert set(cluster_of(resource)) == {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}


def test_rays_version_is_the_installed_one(resource: Mapping) -> None:
    assert cluster_of(resource)["rayVersion"] == version("ray")


def test_ray_asks_for_a_token(resource: Mapping) -> None:
    assert cluster_of(resource)["authOptions"] == {"mode": "token"}


def test_the_head_runs_no_work(resource: Mapping) -> None:
    assert cluster_of(resource)["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}


def test_ray_start_parameters_are_strings(resource: Mapping) -> None:
    for group in groups_of(resource):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_every_pod_runs_our_image_in_its_folder(resource: Mapping, root: Path) -> None:
    (folder,) = re.findall(r"^WORKDIR (.*)$", (root / "cluster/Dockerfile").read_text(), re.MULTILINE)
    for group in groups_of(resource):
        assert container_of(group)["image"] == f"aura:{version('aura')}"
        assert container_of(group)["workingDir"] == folder


def test_every_pod_is_unprivileged(resource: Mapping) -> None:
    for group in groups_of(resource):
        pod = group["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container_of(group)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_every_mount_has_a_volume_and_the_rest_is_read_only(resource: Mapping) -> None:
    for group in groups_of(resource):
        volumes = {volume["name"] for volume in group["template"]["spec"]["volumes"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in container_of(group)["volumeMounts"]}
        assert set(mounts.values()) == volumes
        assert {"/tmp", "/home/aura"} <= set(mounts)


def test_no_token_or_password_is_written_down(root: Path) -> None:
    for file in (root / "cluster").iterdir():
        assert not re.search(r"(?i)(password|secret|auth_token)[ \t]*[:=][ \t]*\S", file.read_text()), file.name


@pytest.mark.parametrize("probe", ["livenessProbe", "readinessProbe"])
def test_nodes_without_a_proxy_are_asked_for_themselves(probe: str, rayservice: Mapping, rayjob: Mapping) -> None:
    """The dashboard agent answers there, without a token; KubeRay's own probes would need wget in the image."""
    for group in (groups_of(rayservice)[0], *groups_of(rayjob)):
        assert container_of(group)[probe]["httpGet"] == {"path": "/api/healthz", "port": 52365}


def test_the_nodes_health_path_is_public_in_ray() -> None:
    from ray.dashboard.http_server_agent import PUBLIC_EXACT_PATHS

    assert "/api/healthz" in PUBLIC_EXACT_PATHS


# --- the service -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probe", "path"),
    [("startupProbe", "/health/live"), ("livenessProbe", "/health/live"), ("readinessProbe", "/health/ready")],
)
def test_serving_pods_are_probed_at_the_service(probe: str, path: str, worker: Mapping, paths: set[str]) -> None:
    assert container_of(worker)[probe]["httpGet"] == {"path": path, "port": 8000}
    assert path in paths


def test_the_keys_of_callers_are_a_mounted_secret(rayservice: Mapping) -> None:
    """On every node: the application may be built on any, and an ingress reads the file on its own."""
    application = yaml.safe_load(rayservice["spec"]["serveConfigV2"])["applications"][0]
    keys_file = Path(application["args"]["settings"]["serving"]["keys_file"])
    for group in groups_of(rayservice):
        mounts = container_of(group)["volumeMounts"]
        assert {"name": "api-keys", "mountPath": str(keys_file.parent), "readOnly": True} in mounts
        volumes = group["template"]["spec"]["volumes"]
        assert {"name": "api-keys", "secret": {"secretName": "aura-api-keys"}} in volumes


def test_the_probed_port_is_the_serve_configs(rayservice: Mapping, worker: Mapping) -> None:
    config = yaml.safe_load(rayservice["spec"]["serveConfigV2"])
    assert container_of(worker)["ports"] == [{"name": "serve", "containerPort": config["http_options"]["port"]}]


def test_a_slow_start_is_no_reason_to_restart(worker: Mapping) -> None:
    startup = container_of(worker)["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600
    liveness = container_of(worker)["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 120


def test_every_worker_holds_a_detector_and_so_a_proxy(rayservice: Mapping, worker: Mapping) -> None:
    """The probes ask the proxy, and Serve runs one where a replica is: each GPU has exactly one Detector."""
    application = yaml.safe_load(rayservice["spec"]["serveConfigV2"])["applications"][0]
    args = AppArgs.model_validate(application["args"])
    (detector,) = application["deployments"]
    assert detector["ray_actor_options"]["num_gpus"] == 1
    assert container_of(worker)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert worker["replicas"] == worker["minReplicas"] == worker["maxReplicas"] == args.detector_replicas
    assert args.ingress_replicas >= 2


def test_the_configured_deployment_exists(rayservice: Mapping) -> None:
    schema = ServeDeploySchema.model_validate(yaml.safe_load(rayservice["spec"]["serveConfigV2"]))
    assert [deployment.name for deployment in schema.applications[0].deployments] == [Detector.__name__]


def test_a_request_can_end_before_the_pod_does(rayservice: Mapping, root: Path) -> None:
    deadline = yaml.safe_load((root / "aura_model/config.yaml").read_text())["serving"]["deadline_seconds"]
    for group in groups_of(rayservice):
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] > deadline


def test_ray_drains_a_worker_for_as_long(rayservice: Mapping, worker: Mapping, root: Path) -> None:
    from ray._private.ray_constants import RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S as BY_DEFAULT

    deadline = yaml.safe_load((root / "aura_model/config.yaml").read_text())["serving"]["deadline_seconds"]
    (drain,) = (float(entry["value"]) for entry in container_of(worker)["env"] if "DRAIN_TIMEOUT" in entry["name"])
    assert deadline > BY_DEFAULT, "else the setting can go"
    assert deadline < drain < worker["template"]["spec"]["terminationGracePeriodSeconds"]


def test_a_detector_keeps_the_allocator_of_the_application(rayservice: Mapping) -> None:
    """Options in the file stand in place of all that the code gives."""
    (detector,) = yaml.safe_load(rayservice["spec"]["serveConfigV2"])["applications"][0]["deployments"]
    assert detector["ray_actor_options"]["runtime_env"] == {"env_vars": dict(KEEP_MEMORY)}


# --- the job -----------------------------------------------------------------------------------------------------


def test_the_job_runs_the_training_command(rayjob: Mapping, root: Path) -> None:
    assert rayjob["spec"]["entrypoint"] == "python training/launch.py --num-workers 8"
    program, script, *arguments = shlex.split(rayjob["spec"]["entrypoint"])
    assert program == "python"
    assert (root / script).is_file()
    assert overrides_of(parser().parse_args(arguments)) == ["training.num_workers=8"]


def test_there_is_a_gpu_for_each_worker(rayjob: Mapping) -> None:
    (group,) = cluster_of(rayjob)["workerGroupSpecs"]
    gpus = group["replicas"] * int(container_of(group)["resources"]["limits"]["nvidia.com/gpu"])
    assert gpus == 8
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"]


def test_data_and_checkpoints_lie_on_the_shared_volume(rayjob: Mapping) -> None:
    from aura_model.settings import load_config

    for group in groups_of(rayjob):
        container = container_of(group)
        config = load_config(env={entry["name"]: entry["value"] for entry in container["env"]})
        assert config.training.device == "cuda"
        for folder in (config.dataset.data_root, config.training.output):
            assert folder.is_relative_to("/data")
        assert {"name": "data", "mountPath": "/data"} in container["volumeMounts"]
        claims = [volume for volume in group["template"]["spec"]["volumes"] if volume["name"] == "data"]
        assert claims == [{"name": "data", "persistentVolumeClaim": {"claimName": "aura-data"}}]


def test_the_cluster_goes_with_the_job(rayjob: Mapping) -> None:
    assert rayjob["spec"]["shutdownAfterJobFinishes"] is True
    assert rayjob["metadata"] == {"generateName": "aura-train-"}
