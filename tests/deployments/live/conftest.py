"""One live service for all tests here in a process: two replicas of each stage, deployed as by `serve run`."""

import os
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus, DeploymentStatus, ServeDeploySchema

from aura_model.checkpoint import save_checkpoint
from aura_model.model import MultimodalModel
from aura_model.settings import load_config

SERVICES = pytest.StashKey[ExitStack]()
ROOT = Path(__file__).parents[3]
MEDIA = ROOT / "tests" / "media"
STAGES = ("Ingress", "FaceCropper", "Detector")
IN_FLIGHT = 6
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_memory_monitor_refresh_ms": "0",  # other work on this machine must not end a replica
    "OMP_NUM_THREADS": "1",
}
TINY = {
    "model": {
        "video": {"backbone": "test_efficientnet", "pretrained": False},
        "fusion": {"hidden_dim": 16},
        "audio": {"n_mels": 32},
    },
    "dataset": {"face": {"size": 64}, "video": {"temporal_window": 3}},
}
SETTINGS = {
    "serving": {"max_in_flight": IN_FLIGHT, "decode_children": 1, "deadline_seconds": 60},
    "inference": {"threads": 1},
    "logging": {"level": "DEBUG"},
    "limits": {"files_per_child": 100_000},  # a child that is replaced because it is spent would count as a death
}


def until(condition: Callable[[], bool], seconds: float = 150.0) -> None:
    """Wait for something that comes by itself, however busy the machine is."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def checkpoint(folder: Path, name: str, side: int, seed: int) -> Path:
    """A checkpoint of a tiny model that looks at faces of so many pixels."""
    settings = TINY | {"seed": seed, "dataset": {**TINY["dataset"], "face": {"size": side}}}
    config = load_config(settings=settings, env={})
    save_checkpoint(folder / name, MultimodalModel(config.model), config, 1, {"auc": 0.5})
    return folder / name


class Live:
    """The running service."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self._settings: dict[str, Any] = {}
        self.deploy()

    def deploy(
        self, *, settings: Mapping[str, Any] | None = None, detectors: int = 2, checkpoint: Path | None = None
    ) -> None:
        """Submit a configuration, as `serve run` and `serve deploy` do, and wait until it runs.

        Args:
            settings: laid over those of this folder, and kept by later calls; a change is a rolling update.
            detectors: how many there are.
            checkpoint: for the `user_config` of the detector; None leaves that out.
        """
        self._settings |= dict(settings or {})
        detector: dict[str, Any] = {"name": "Detector", "num_replicas": detectors}
        if checkpoint:
            detector["user_config"] = {"checkpoint": str(checkpoint)}
        first = {"inference": SETTINGS["inference"] | {"checkpoint": str(self.folder / "best.pth")}}
        application = {
            "name": "aura",
            "route_prefix": "/",
            "import_path": "deployments.app:build",
            "args": {
                "num_gpus": 0,
                "ingress_replicas": 2,
                "cropper_replicas": 2,
                "detector_replicas": 2,
                "settings": SETTINGS | first | self._settings,
            },
            "deployments": [detector],
        }
        config = ServeDeploySchema.model_validate({"applications": [application]})
        _get_global_client().deploy_apps(config)  # Ray's own wait gives up after a minute
        until(lambda: serve.status().applications["aura"].status == ApplicationStatus.RUNNING)
        self.until_ready()

    def until_ready(self) -> None:
        """Wait until both ingresses have had the time to say so."""
        with self.client() as client:
            until(lambda: all(client.get("/health/ready").status_code == 200 for _ in range(8)))

    def until_whole(self) -> None:
        """Wait until no replica that was lost is missing any more, and the others can reach the new one."""
        deployments = serve.status().applications["aura"].deployments
        until(lambda: all(_is_whole(name) for name in deployments))
        self.until_ready()

    def client(self) -> httpx.Client:
        """A client of the service."""
        return httpx.Client(base_url=self.url, timeout=60)

    def health(self) -> dict[str, Any]:
        """The overview that one of the ingresses gives."""
        with self.client() as client:
            overview: dict[str, Any] = client.get("/health").json()
        return overview

    def pids(self, stage: str) -> set[int]:
        """The processes of a stage's replicas, or of the decode children."""
        title = "aura_model.decode_child" if stage == "child" else f"ray::ServeReplica:aura:{stage}"
        return {process.pid for process in psutil.Process().children(recursive=True) if title in _command(process)}

    @contextmanager
    def load(self, clients: int = 4) -> Iterator["Load"]:
        """Clients that ask for a prediction again as soon as they have an answer, while the block runs."""
        load = Load(self.client, (MEDIA / "face.jpg").read_bytes())
        with ThreadPoolExecutor(clients) as pool:
            asking = [pool.submit(load.ask) for _ in range(clients)]
            try:
                load.until_answered(2 * clients)
                yield load
                load.until_answered(2 * clients)
            finally:
                load.stop.set()
            for one in asking:
                one.result()


class Load:
    """What came of the requests."""

    def __init__(self, client: Callable[[], httpx.Client], content: bytes) -> None:
        self._client = client
        self._content = content
        self.stop = threading.Event()
        self.outcomes: Counter[str] = Counter()
        """By status, and problem code or version of the model."""

    def ask(self) -> None:
        """One client."""
        with self._client() as client:
            while not self.stop.is_set():
                reply = client.post("/predict", files={"file": ("face.jpg", self._content)})
                body = reply.json()
                what = body["model"]["version"] if reply.status_code == 200 else body["code"]
                self.outcomes[f"{reply.status_code} {what}"] += 1

    def until_answered(self, more: int) -> None:
        """Wait for so many more answers."""
        enough = self.outcomes.total() + more
        until(lambda: self.outcomes.total() >= enough)

    @property
    def lost(self) -> dict[str, int]:
        """The answers that were none."""
        return {outcome: count for outcome, count in self.outcomes.items() if not outcome.startswith("200")}

    @property
    def versions(self) -> set[str]:
        """The models that answered."""
        return {outcome.removeprefix("200 ") for outcome in self.outcomes if outcome.startswith("200")}


def _is_whole(deployment: str) -> bool:
    status = serve.status().applications["aura"].deployments[deployment]
    return status.status == DeploymentStatus.HEALTHY and status.replica_states.keys() == {"RUNNING"}


def _command(process: psutil.Process) -> str:
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture(scope="session")
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Live:
    """The service, ready, until the last test of this folder."""
    services = request.config.stash.setdefault(SERVICES, ExitStack())
    return services.enter_context(running(tmp_path_factory.mktemp("live")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """Other folders have clusters of their own, and a process has room for one."""
    yield
    if nextitem is None or nextitem.path.parent != item.path.parent:
        item.config.stash.get(SERVICES, ExitStack()).close()


@contextmanager
def running(folder: Path) -> Iterator[Live]:
    """The service while the block runs."""
    checkpoint(folder, "best.pth", side=64, seed=1)
    sockets = str(Path(tempfile.gettempdir()) / "ray")  # the path of a socket must be short
    path = os.pathsep.join([str(Path(__file__).with_name("poison")), str(ROOT), os.environ.get("PYTHONPATH", "")])
    with pytest.MonkeyPatch.context() as patch, socket.socket() as free:
        for name, value in (ENVIRONMENT | {"PYTHONPATH": path.rstrip(os.pathsep)}).items():
            patch.setenv(name, value)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        ray.init(num_cpus=16, include_dashboard=False, log_to_driver=False, _temp_dir=sockets)
        serve.start(proxy_location="HeadOnly", http_options=HTTPOptions(host="127.0.0.1", port=port))
        yield Live(f"http://127.0.0.1:{port}", folder)
        serve.shutdown()
        ray.shutdown()
