"""The application for Ray Serve: the only place that wires deployments together.

No `from __future__ import annotations` here: Ray Serve reads the class of `build`'s argument at run time, and with
postponed annotations it would hand over a plain mapping without a word.
"""

import math
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import ray
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from ray import serve
from ray.serve import Application
from ray.serve.config import BackpressureConfig

from aura_model.allocator import KEEP_MEMORY
from aura_model.config import Config
from aura_model.errors import ConfigError
from aura_model.settings import load_config
from deployments.access import Access
from deployments.binding import listens_on_loopback
from deployments.detector import Detector, max_batch_clips, user_config_of
from deployments.face_cropper import FaceCropper
from deployments.ingress import Ingress

HEALTH_SLOTS = 248
"""Requests that an ingress takes beside predictions, so that health requests never queue."""
QUIET: dict[str, Any] = {"enable_access_log": False}
"""For the inner stages: the ingress logs each request, and asks each stage for its status every second."""
SPARE_SLOTS = 8
"""Calls that a stage takes beside the predictions in flight, so that its status never queues."""
HEALTH_CHECKS = {"health_check_period_s": 1.0, "health_check_timeout_s": 10.0}
"""A dead replica is noticed, and another one started, within a second; one that hangs after three time-outs."""
DRAIN_CHECK_SECONDS = 1.0
"""A replica that is to stop looks so often whether its last request is done; once at least, for late ones."""
DRAIN_MARGIN_SECONDS = 10.0
"""A replica that is to stop has the deadline of a request and this long before it is killed."""


class AppArgs(BaseModel):
    """The `args` of the application in `serve_config.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: Path | None = None
    """A YAML file with settings, on the node where the application is built."""
    settings: dict[str, Any] = {}
    """Settings laid over that file, nested as in `aura_model/config.yaml`."""
    num_gpus: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """GPUs of each detector; `auto`: one, an even share where detectors outnumber GPUs, or none without any."""
    ingress_replicas: PositiveInt = 1
    cropper_replicas: PositiveInt = 1
    detector_replicas: PositiveInt = 1


def build(args: AppArgs) -> Application:
    """The service, fitted to the cluster.

    Raises:
        ConfigError: a bad setting, more GPUs asked for than the cluster has, or no API keys where they are required.
    """
    config = load_config(args.config, settings=args.settings)
    Access(config.serving, open_to_others=not listens_on_loopback())  # refuses here what each ingress would refuse
    cpus, gpus = cluster_resources()
    in_flight = config.serving.max_in_flight * args.ingress_replicas
    detector = serve.deployment(
        name="Detector",
        num_replicas=args.detector_replicas,
        max_ongoing_requests=max(in_flight + SPARE_SLOTS, max_batch_clips(config)),
        max_queued_requests=config.serving.max_in_flight + SPARE_SLOTS,
        logging_config=QUIET,
        user_config=user_config_of(config),
        **lifecycle(config),
        ray_actor_options={
            "num_cpus": cpu_share(0.4, cpus, args.detector_replicas),
            "num_gpus": gpu_share(args.num_gpus, gpus, args.detector_replicas),
            "runtime_env": {"env_vars": dict(KEEP_MEMORY)},
        },
    )(Detector)
    cropper = serve.deployment(
        name="FaceCropper",
        num_replicas=args.cropper_replicas,
        max_ongoing_requests=in_flight + SPARE_SLOTS,
        max_queued_requests=config.serving.max_in_flight + SPARE_SLOTS,
        logging_config=QUIET,
        **lifecycle(config),
        ray_actor_options={"num_cpus": cpu_share(0.4, cpus, args.cropper_replicas)},
    )(FaceCropper)
    return ingress(config, args, cpus).bind(config, cropper.bind(config), detector.bind(config))


def ingress(config: Config, args: AppArgs, cpus: float) -> serve.Deployment:
    """The HTTP deployment, with room for health requests beside all predictions."""
    return serve.deployment(
        name="Ingress",
        num_replicas=args.ingress_replicas,
        max_ongoing_requests=config.serving.max_in_flight + HEALTH_SLOTS,
        max_queued_requests=HEALTH_SLOTS,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=2),
        **lifecycle(config),
        ray_actor_options={"num_cpus": cpu_share(0.1, cpus, args.ingress_replicas)},
    )(serve.ingress()(Ingress))


def lifecycle(config: Config) -> dict[str, Any]:
    """How replicas are watched and stopped: what one has accepted it may finish."""
    return HEALTH_CHECKS | {
        "graceful_shutdown_wait_loop_s": DRAIN_CHECK_SECONDS,
        "graceful_shutdown_timeout_s": config.serving.deadline_seconds + DRAIN_MARGIN_SECONDS,
    }


def cluster_resources() -> tuple[float, float]:
    """CPUs and GPUs of the cluster; of this machine where Ray does not run yet, as under `serve run module:build`."""
    if ray.is_initialized():
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return resources.get("CPU", 1.0), resources.get("GPU", 0.0)
    import torch

    return float(os.cpu_count() or 1), float(torch.cuda.device_count())


def cpu_share(share: float, cpus: float, replicas: int) -> float:
    """CPUs to ask for, so that the whole application fits a machine with a single one. They only steer placement."""
    return min(1.0, round(share * max(cpus, 1.0) / replicas, 3))


def gpu_share(wanted: float | Literal["auto"], gpus: float, replicas: int) -> float:
    """GPUs to ask for, for each detector.

    Raises:
        ConfigError: more than the cluster has; the application would wait for ever.
    """
    if wanted == "auto":
        return 1.0 / math.ceil(replicas / int(gpus)) if gpus >= 1 else 0.0
    if wanted * replicas > gpus:
        raise ConfigError(f"num_gpus: {replicas} x {wanted:g} is more than the cluster's {gpus:g}; use num_gpus: auto")
    return wanted
