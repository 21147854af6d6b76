"""A service of a benchmark's own, on a Ray of its own and a free port: with the real model, or with sleeping stages."""

import asyncio
import json
import os
import platform
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import httpx
import numpy as np
import psutil
import ray
from ray import cloudpickle, serve
from ray.serve import Application
from ray.serve.config import HTTPOptions

from aura_model.clips import Clip, Clips, blank_clip
from aura_model.config import Config
from aura_model.media import MediaInfo
from aura_model.reply import ModelInfo
from aura_model.scores import ClipScore
from deployments.app import AppArgs, build
from deployments.messages import Cropped, Failed, ModelStatus, Scored, Settings

CORES = len(os.sched_getaffinity(0))
STAGES = ("Ingress", "FaceCropper", "Detector")
TITLES = {
    **{stage: f"ray::ServeReplica:aura:{stage}" for stage in STAGES},
    "controller": "ray::ServeController",
    "proxy": "ray::ProxyActor",
    "gcs": "gcs_server",
    "child": "aura_model.decode_child",
    "serve": "ray.serve.scripts",
}
"""What the command line of each kind of process holds."""
READY_SECONDS = 120.0
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # other work on this machine must not end a replica
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
}


@dataclass(frozen=True)
class Stub:
    """Stages that sleep in place of work, so that what surrounds them is measured."""

    score_seconds: float = 0.05
    crop_seconds: float | None = 0.0
    """None: the real FaceCropper."""
    slots: int = 8
    """How many files each detector scores at once; the others wait."""


@dataclass(frozen=True)
class Service:
    """A running service."""

    port: int
    temp: Path
    """Where its processes make temporary files."""

    @property
    def url(self) -> str:
        """The root of the service."""
        return f"http://127.0.0.1:{self.port}"

    def processes(self, kind: str) -> list[psutil.Process]:
        """The living processes of a kind, a key of `TITLES`.

        A process that one of them has just forked, and that is to become something else, still bears its name.
        """
        found = {}
        for process in psutil.Process().children(recursive=True):
            try:
                if TITLES[kind] in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = process.ppid(), process
            except psutil.Error:
                continue
        return [process for parent, process in found.values() if parent not in found]

    def pids(self, *kinds: str) -> dict[str, list[int]]:
        """Process ids by kind, in order; those of the three stages where no kind is named."""
        return {kind: sorted(process.pid for process in self.processes(kind)) for kind in kinds or STAGES}

    def is_ready(self) -> bool:
        """Whether `/health/ready` says so now."""
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=10).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def wait_until_ready(self) -> None:
        """Poll until the service is ready; raises TimeoutError after two minutes."""
        end = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            if time.monotonic() > end:
                raise TimeoutError("the service did not become ready")
            time.sleep(0.1)


@contextmanager
def ray_serve(*, cpus: int = CORES, environment: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Ray Serve without an application, on 127.0.0.1 and a free port.

    Args:
        cpus: what Ray counts, whatever the machine has.
        environment: variables for Ray's processes beside `ENVIRONMENT`.
    """
    with ExitStack() as stack:
        temp = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aura-")))
        sockets = str(Path(tempfile.gettempdir()) / "ray")  # the path of a socket must be short
        stack.enter_context(mock.patch.dict(os.environ, ENVIRONMENT | {"TMPDIR": str(temp)} | dict(environment or {})))
        ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, _temp_dir=sockets)
        stack.callback(ray.shutdown)
        port = free_port()
        options = HTTPOptions(host="127.0.0.1", port=port, request_timeout_s=300)
        serve.start(proxy_location="HeadOnly", http_options=options)
        stack.callback(serve.shutdown)
        yield Service(port, temp)


@contextmanager
def live_service(settings: Mapping[str, Any] | None = None, *, stub: Stub | None = None) -> Iterator[Service]:
    """The service, ready.

    Args:
        settings: keys of `aura_model/config.yaml`.
        stub: stages that sleep; None: the real ones.
    """
    with ray_serve() as service:
        args = AppArgs.model_validate({"settings": dict(settings or {}), "num_gpus": 0})
        serve.run(application(args, stub), name="aura", route_prefix="/")
        service.wait_until_ready()
        yield service


def application(args: AppArgs, stub: Stub | None = None) -> Application:
    """The service's own application; with a stub only the classes behind the ingress are others."""
    if stub is None:
        return build(args)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call] # not importable there
    stages: dict[str, Any] = {"Detector": type("Detector", (SleepingDetector,), {"stub": stub})}
    if stub.crop_seconds is not None:
        stages["FaceCropper"] = type("FaceCropper", (SleepingCropper,), {"stub": stub})
    with mock.patch.multiple("deployments.app", **stages):
        return build(args)


class SleepingCropper:
    """Stands in for `FaceCropper`: one clip for any bytes, after a while."""

    stub: ClassVar = Stub()

    def __init__(self, config: Config) -> None:
        self._config = config

    async def prepare(self, _: Settings) -> bool:
        """Ready at once."""
        return True

    async def crop(self, _: object, settings: Settings, *__: object) -> Cropped:
        """Sleep, then give a clip of a few pixels."""
        await asyncio.sleep(self.stub.crop_seconds or 0.0)
        return Cropped(tiny_clips(self._config), settings.fit)


class SleepingDetector:
    """Stands in for `Detector`: the same score for everything, so many at once."""

    stub: ClassVar = Stub()

    def __init__(self, config: Config) -> None:
        self._config = config
        self._slots = asyncio.Semaphore(self.stub.slots)
        self._info = ModelInfo(name="stub", version="1", trained=True, calibrated=True)

    async def status(self) -> ModelStatus:
        """Ready at once."""
        settings = Settings.of(self._config)
        return ModelStatus("ready", None, checkpoint_exists=False, model=self._info, device="cpu", settings=settings)

    async def score(self, cropped: Cropped | Failed, *_: object) -> Scored | Failed:
        """Wait for a slot, sleep, and answer."""
        if isinstance(cropped, Failed):
            return cropped
        clips = cropped.clips
        async with self._slots:
            await asyncio.sleep(self.stub.score_seconds)
        scores = tuple(ClipScore(fake=1.0, video=1.0, audio=None) for _ in clips.clips)
        return Scored(clips.without_samples(), scores, self._info, {"score": self.stub.score_seconds})


def tiny_clips(config: Config) -> Clips:
    """One clip of four by four pixels."""
    blank: Clip = blank_clip(config)
    frames = np.zeros((len(blank.times), 4, 4, 3), np.uint8)
    media = MediaInfo(
        sha256="0" * 64,
        bytes=1,
        container="mp4",
        duration=1.0,
        width=64,
        height=64,
        fps=25.0,
        rotation=0,
        video_codec="h264",
        audio_codec=None,
    )
    return Clips((replace(blank, frames=frames, wave=None),), media, (), {"open": 0.0})


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def save_json(path: Path | None, results: Mapping[str, Any]) -> None:
    """Write the results, and the machine that they are from, where a path is given."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), **results}, indent=1) + "\n")


def machine() -> dict[str, str | int]:
    """What figures depend on."""
    processors = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cores": CORES,
        "processor": processors[0].partition(": ")[2] if processors else platform.machine(),
        "memory, GB": round(psutil.virtual_memory().total / 1e9),
        "python": platform.python_version(),
        "ray": ray.__version__,
    }
