"""The service on a real Ray: one cluster with a GPU that exists in name only, one sound model and three bad ones."""

import http.server
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import ray
import torch
import yaml
from ray import serve
from ray.serve.config import HTTPOptions

from aura_model.allocator import KEEP_MEMORY
from aura_model.checkpoint import save_checkpoint
from aura_model.model import MultimodalModel
from aura_model.redaction import API_KEYS
from aura_model.settings import load_config
from deployments.app import AppArgs, build

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
MEDIA = ROOT / "tests" / "media"
KEY = "c4nary-own-key-0123456789"
TINY = {
    "model": {
        "video": {"backbone": "test_efficientnet", "pretrained": False},
        "fusion": {"hidden_dim": 16},
        "audio": {"n_mels": 32},
    },
    "dataset": {"face": {"size": 64}, "video": {"temporal_window": 3}},
}
CLIP_SECONDS = 3 / 8
IN_FLIGHT = 2
BAD = {"missing": "checkpoint_missing", "truncated": "checkpoint_damaged", "pickled": "checkpoint_foreign"}


class Evil:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints, and the temporary folder of the replicas."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "tmp").mkdir()
    config = load_config(settings=TINY, env={})
    save_checkpoint(folder / "best.pth", MultimodalModel(config.model), config, 1, {"auc": 0.5})
    whole = (folder / "best.pth").read_bytes()
    (folder / "truncated.pth").write_bytes(whole[: len(whole) // 2])
    torch.save({"model_state_dict": Evil(folder / "executed")}, folder / "pickled.pth")
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """Where Ray Serve listens."""
    sockets = str(Path(tempfile.gettempdir()) / "ray")  # the path of a socket must be short
    environment = {
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "RAY_memory_monitor_refresh_ms": "0",  # other work on this machine must not end a replica
        "OMP_NUM_THREADS": "1",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deployments.proxy:middlewares",
        "TMPDIR": str(folder / "tmp"),
        API_KEYS: f"tests:{KEY}",
    }
    with pytest.MonkeyPatch.context() as patch, socket.socket() as free:
        for name, value in environment.items():
            patch.setenv(name, value)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        ray.init(num_cpus=16, num_gpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=sockets)
        serve.start(proxy_location="HeadOnly", http_options=HTTPOptions(host="127.0.0.1", port=port))
        yield f"http://127.0.0.1:{port}"
        serve.shutdown()
        ray.shutdown()


@pytest.fixture(scope="module")
def service(url: str, folder: Path) -> str:
    """The URL of the service with the sound model, once it is ready. It asks for no key, as on a fresh checkout."""
    settings = {
        "inference": {"checkpoint": str(folder / "best.pth")},
        "serving": {
            "allow_loopback": True,
            "max_in_flight": IN_FLIGHT,
            "decode_children": IN_FLIGHT,
            "require_key": False,
        },
        "limits": {"max_bytes": 10_000_000},
        "logging": {"level": "DEBUG"},
    }
    serve.run(build(AppArgs(settings=settings)), name="aura", route_prefix="/")
    until(lambda: httpx.get(f"{url}/health/ready", timeout=30).status_code == 200)
    return url


@pytest.fixture
def client(service: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service, timeout=60) as client:
        yield client


def upload(client: httpx.Client, name: str) -> httpx.Response:
    return client.post("/predict", files={"file": (name, (MEDIA / name).read_bytes())})


def processes(text: str) -> list[psutil.Process]:
    """Processes below this one whose command line holds `text`."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if text in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_gpu_is_asked_for_and_the_cpu_does_where_it_is_none(client: httpx.Client) -> None:
    assert ray.available_resources().get("GPU", 0.0) == 0.0
    assert client.get("/health").json()["device"] == ("cuda" if torch.cuda.is_available() else "cpu")


def test_the_detector_keeps_its_memory(service: str) -> None:
    (detector,) = processes("ray::ServeReplica:aura:Detector")
    assert detector.environ().items() >= KEEP_MEMORY.items()


def test_health_of_a_sound_service(client: httpx.Client, folder: Path) -> None:
    checkpoint = str(folder / "best.pth")
    live, ready, health = (client.get(f"/health{path}") for path in ("/live", "/ready", ""))
    assert (live.status_code, live.json()) == (200, {"status": "alive"})
    assert (ready.status_code, ready.json()) == (
        200,
        {"status": "ready", "model_loaded": True, "checkpoint_path": checkpoint},
    )
    assert health.json().items() >= {"status": "healthy", "checkpoint_exists": True, "ready": True}.items()


def test_an_upload_is_answered_in_full(client: httpx.Client) -> None:
    reply = client.post(
        "/predict",
        files={"file": ("talking.mp4", (MEDIA / "talking_face.mp4").read_bytes())},
        headers={"X-Request-ID": "abc-1"},
    )
    assert reply.status_code == 200
    assert reply.headers.get_list("x-request-id") == ["abc-1"]
    analysis = reply.json()
    assert analysis["request_id"] == "abc-1"
    assert analysis["verdict"] in {"real", "fake", "uncertain"}
    assert len(analysis["faces"]) == 1
    assert analysis["modalities"].keys() == {"video", "audio"}
    assert None not in analysis["modalities"].values()
    assert analysis["media"]["bytes"] == (MEDIA / "talking_face.mp4").stat().st_size
    assert analysis["timings"].keys() >= {"fetch", "queue", "open", "decode", "faces", "sound", "score", "total"}


def test_clips_are_prepared_as_the_checkpoint_was_trained(client: httpx.Client) -> None:
    """The service's own settings say 8 frames a clip, the checkpoint's 3."""
    for entry in upload(client, "talking_face.mp4").json()["timeline"]:
        assert entry["end"] - entry["start"] == pytest.approx(CLIP_SECONDS, abs=0.002)


def test_a_url_gives_the_same_scores_as_an_upload(client: httpx.Client) -> None:
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(MEDIA))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        video = f"http://127.0.0.1:{server.server_port}/talking_face.mp4?X-Signature=SECRET"
        by_url = client.post("/predict", json={"video_url": video})
        absent = client.post("/predict", json={"video_url": video.replace("face", "foot")})
        server.shutdown()
    assert by_url.status_code == 200
    by_upload = upload(client, "talking_face.mp4").json()
    same = ("verdict", "fake_probability", "modalities", "faces", "timeline", "segments", "media", "model")
    assert {key: by_url.json()[key] for key in same} == {key: by_upload[key] for key in same}
    assert (absent.status_code, absent.json()["code"]) == (422, "fetch_refused")
    assert "SECRET" not in absent.text


@pytest.mark.parametrize("name", ["face.jpg", "audio_only.m4a", "no_face_speech.mp4", "two_faces.mp4"])
def test_other_media(client: httpx.Client, name: str) -> None:
    reply = upload(client, name)
    assert reply.status_code == 200
    assert reply.json()["fake_probability"] is not None


def test_neither_face_nor_speech_is_not_applicable(client: httpx.Client) -> None:
    assert upload(client, "no_face.mp4").json()["verdict"] == "not_applicable"


BAD_MEDIA = {
    "empty.mp4": "empty_file",
    "not_a_video.mp4": "invalid_video",
    "one_pixel.png": "resolution_too_small",
    "one_pixel.webm": "resolution_too_small",
    "huge_frame.mp4": "resolution_too_large",
    "huge_header.png": "resolution_too_large",
    "ten_hours.mp4": "too_long",
    "unknown_codec.mp4": "unsupported_codec",
    "unsupported_codec.avi": "unsupported_codec",
}


def test_bad_media_are_refused_and_leave_nothing_behind(client: httpx.Client, folder: Path) -> None:
    before = {process.pid for process in processes("ray::ServeReplica:aura:")}
    assert len(before) == 3
    replies = {name: upload(client, name) for name in [*BAD_MEDIA, "huge_header.mp4", "truncated.mp4"]}
    assert {name: replies[name].json().get("code") for name in BAD_MEDIA} == BAD_MEDIA
    assert {replies[name].status_code for name in BAD_MEDIA} == {422}
    assert 400 <= replies["huge_header.mp4"].status_code < 500
    assert "truncated" in replies["truncated.mp4"].json()["reasons"]
    assert upload(client, "talking_face.mp4").status_code == 200
    assert {process.pid for process in processes("ray::ServeReplica:aura:")} == before
    assert list((folder / "tmp").iterdir()) == []


def test_too_large_an_upload_is_refused_while_it_is_sent(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(300):
            yield b"a" * 100_000

    headers = {"content-type": "multipart/form-data; boundary=b", "content-length": "30000000"}
    reply = client.post("/predict", content=chunks(), headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (413, "file_too_large")
    reply = client.post("/predict", content=b"a", headers=headers | {"content-length": "1"})
    assert reply.status_code == 422


def test_health_answers_while_the_service_is_saturated(service: str) -> None:
    """Three times as many callers as places; each asks again as soon as it has an answer."""
    stop = threading.Event()
    content = (MEDIA / "talking_face.mp4").read_bytes()

    def hammer() -> list[int]:
        statuses = []
        with httpx.Client(base_url=service, timeout=60) as client:
            while not stop.is_set() or not statuses:
                statuses.append(client.post("/predict", files={"file": ("a.mp4", content)}).status_code)
        return statuses

    with ThreadPoolExecutor(3 * IN_FLIGHT) as pool, httpx.Client(base_url=service, timeout=60) as client:
        callers = [pool.submit(hammer) for _ in range(3 * IN_FLIGHT)]
        health = [
            client.get(path).status_code for _ in range(20) for path in ("/health/live", "/health/ready", "/health")
        ]
        stop.set()
        statuses = {status for caller in callers for status in caller.result()}
    assert set(health) == {200}
    assert statuses == {200, 503}


def test_clients_that_go_away_free_their_places(service: str) -> None:
    """Each waits for a download that never comes, and would hold its place for a minute."""
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(IN_FLIGHT) as pool:
        video = {"video_url": f"http://127.0.0.1:{silent.getsockname()[1]}/a.mp4"}
        callers = [pool.submit(httpx.post, f"{service}/predict", json=video, timeout=2) for _ in range(IN_FLIGHT)]
        downloads = [silent.accept()[0] for _ in range(IN_FLIGHT)]
        with httpx.Client(base_url=service, timeout=60) as client:
            assert upload(client, "face.jpg").status_code == 503
            assert all(isinstance(caller.exception(), httpx.TimeoutException) for caller in callers)
            until(lambda: upload(client, "face.jpg").status_code == 200, seconds=20)
        for download in downloads:
            download.close()


@pytest.fixture(scope="module")
def bad_services(url: str, folder: Path, service: str) -> dict[str, str]:
    """A service for each bad checkpoint, beside the sound one. They ask for the key of the environment."""
    urls = {}
    for name in BAD:
        settings = {
            "inference": {"checkpoint": str(folder / f"{name}.pth")},
            "serving": {"decode_children": 1},
        }
        serve.run(build(AppArgs(settings=settings, num_gpus=0)), name=name, route_prefix=f"/{name}", blocking=False)
        urls[name] = f"{url}/{name}"
    for bad in urls.values():
        until(lambda bad=bad: httpx.get(f"{bad}/health/ready", timeout=30).json()["reason"] in BAD.values())
    return urls


@pytest.mark.parametrize(("name", "reason"), BAD.items())
def test_a_bad_checkpoint_leaves_the_service_up(
    bad_services: dict[str, str], folder: Path, name: str, reason: str
) -> None:
    checkpoint = str(folder / f"{name}.pth")
    with httpx.Client(base_url=bad_services[name], timeout=60) as client:
        live, ready, health = (client.get(f"/health{path}") for path in ("/live", "/ready", ""))
        stranger = upload(client, "face.jpg")
        client.headers["X-API-Key"] = KEY
        prediction = upload(client, "face.jpg")
    assert (stranger.status_code, stranger.json()["code"]) == (401, "unauthorized")
    assert (live.status_code, live.json()) == (200, {"status": "alive"})
    assert ready.status_code == 503
    expected = {"status": "not_ready", "model_loaded": False, "checkpoint_path": checkpoint, "reason": reason}
    assert ready.json().items() >= expected.items()
    assert health.status_code == 200
    expected = {"status": "healthy", "model_loaded": False, "checkpoint_exists": name != "missing", "ready": False}
    assert health.json().items() >= expected.items()
    assert (prediction.status_code, prediction.json()["code"]) == (503, "model_not_ready")
    assert "retry-after" in prediction.headers
    assert not (folder / "executed").exists()


def test_a_killed_cropper_leaves_no_children_and_comes_back(service: str, client: httpx.Client) -> None:
    (cropper,) = processes("ray::ServeReplica:aura:FaceCropper")
    children = {child.pid for child in processes("aura_model.decode_child") if child.ppid() == cropper.pid}
    assert len(children) >= IN_FLIGHT
    cropper.kill()
    until(lambda: not any(psutil.pid_exists(pid) for pid in children))
    until(lambda: upload(client, "face.jpg").status_code == 200)
    assert client.get("/health/live").status_code == 200


# --- what the documents show, run as printed -------------------------------------------------------------------------

ADDRESS = "http://127.0.0.1:8000"


def fenced(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)


def commands(program: str) -> list[str]:
    """The README's lines that call a program at the service's address."""
    lines = [line for block in fenced(ROOT / "README.md", "bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith(f"{program} ") and ADDRESS in line]


@pytest.mark.parametrize("line", commands("curl"))
def test_the_readmes_curl_lines(service: str, line: str) -> None:
    done = subprocess.run(shlex.split(line.replace(ADDRESS, service)), cwd=ROOT, capture_output=True, check=True)
    body = json.loads(done.stdout)
    if "/health" in line:
        assert body["status"] == "ready"
    elif "video_url" in line:  # whatever example.com says to it, if it can be reached at all
        assert re.match("fetch_|invalid_video", body["code"])
    else:
        assert body["verdict"] in {"real", "fake", "uncertain"}


def test_the_readme_shows_a_health_request_an_upload_and_a_url() -> None:
    assert [sum(text in line for line in commands("curl")) for text in ("/health/ready", "file=@", "video_url")] == [
        1
    ] * 3


def test_the_readmes_client(service: str) -> None:
    (code,) = [block for block in fenced(ROOT / "README.md", "python") if "httpx" in block]
    assert ADDRESS in code
    script = [sys.executable, "-c", code.replace(ADDRESS, service)]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() in {"real", "fake", "uncertain"}


def probes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every HTTP probe in a piece of YAML that asks the service, not Ray."""
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from probes(value)
    if isinstance(tree, dict) and tree.get("httpGet", {}).get("port") in {8000, "serve"}:
        yield tree


def written_probes() -> list[dict[str, Any]]:
    blocks = [block for document in sorted(ROOT.glob("docs/*.md")) for block in fenced(document, "yaml")]
    texts = [block for block in blocks if "httpGet" in block] + [(ROOT / "cluster" / "rayservice.yaml").read_text()]
    return [probe for text in texts for probe in probes(yaml.safe_load(text))]


@pytest.mark.parametrize("probe", written_probes(), ids=str)
def test_the_probes_of_kubernetes(service: str, probe: dict[str, Any]) -> None:
    """The kubelet sends no key, and counts 200 to 399 as well."""
    reply = httpx.get(service + probe["httpGet"]["path"], timeout=probe["timeoutSeconds"])
    assert 200 <= reply.status_code < 400


# --- what callers send, and what is said about it ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [b"\xff\xfe", "é".encode("latin-1"), b"a" * 20_000, b"", b"a b"], ids=lambda given: given[:4]
)
def test_no_request_id_breaks_a_request(client: httpx.Client, given: bytes) -> None:
    """The proxy itself would answer a 500 to the first two."""
    reply = client.post("/predict", json={}, headers={b"X-Request-ID": given})
    assert reply.status_code == 422
    assert reply.headers.get_list("x-request-id") == [reply.json()["instance"]]


def session_logs() -> Iterator[tuple[Path, str]]:
    """Every file that Ray and our processes wrote their output to."""
    for path in Path(ray._private.worker._global_node.get_logs_dir_path()).rglob("*"):
        if path.is_file():
            yield path, path.read_text(errors="replace")


def metrics() -> str:
    """What Prometheus would be given by every node."""
    return "".join(httpx.get(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics").text for node in ray.nodes())


def bring_canaries(client: httpx.Client, video: str) -> Iterator[httpx.Response]:
    """Requests that are answered, refused and fail, each with a secret in it."""
    content = (MEDIA / "face.jpg").read_bytes()
    signed = ("X-Amz-Signature=c4nary1", "X-Goog-Signature=c4nary2", "sv=1&sig=c4nary3%3D")
    for query in signed:
        yield client.post("/predict", json={"video_url": f"{video}?{query}"})
        yield client.post("/predict", json={"video_url": f"{video}.gone?{query}"})
        yield client.post("/predict", json={"video_url": f"ftp://eve:c4nary4@h/v.mp4?{query}"})
        yield client.post("/predict", files={"file": (f"clip.mp4?{query}", content)})
    jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjIn0.c4nary5"
    secrets = {
        "X-API-Key": "c4nary6-0123456789",
        "Authorization": f"Bearer {jwt}",
        "Cookie": "session=c4nary7",
        "Referer": "https://h/?sig=c4nary8",
        "X-Note": "postgresql://aura:c4nary9@db/aura",
    }
    for name in ("face.jpg", "not_a_video.mp4", "truncated.mp4"):
        yield client.post("/predict", files={"file": (f"{jwt}.mp4", (MEDIA / name).read_bytes())}, headers=secrets)
    yield client.post("/predict?token=c4naryA", json={"video_url": "postgresql://aura:c4naryB@db/aura"})
    yield client.post("/predict", json={"password": "c4naryC", "video_url": KEY}, headers={"X-API-Key": KEY})
    yield client.get("/nothing?sig=c4naryD", headers=secrets)


def test_no_secret_is_written_anywhere(bad_services: dict[str, str], client: httpx.Client) -> None:
    """At level DEBUG, by Aura or by Ray: neither these, nor the key that the tests above sent."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(MEDIA))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        replies = list(bring_canaries(client, f"http://127.0.0.1:{server.server_port}/talking_face.mp4"))
        server.shutdown()
    assert {200, 404, 422} <= {reply.status_code for reply in replies}
    with httpx.Client(base_url=bad_services["missing"], timeout=60) as keyed:
        replies += [upload(keyed, "face.jpg"), keyed.post("/predict", headers={"Authorization": f"Bearer {KEY}"})]
    client.post("/predict", json={}, headers={"X-Request-ID": "the-last-one"})
    until(lambda: any('"request_id": "the-last-one"' in text for _, text in session_logs()))
    written = {str(path): text for path, text in session_logs()} | {"metrics": metrics()}
    written |= {f"reply {number}": f"{reply.headers}{reply.text}" for number, reply in enumerate(replies)}
    assert any("worker-" in name and '"DEBUG"' in text for name, text in written.items())
    assert "serve_num_http_requests" in written["metrics"]
    assert {name for name, text in written.items() if "c4nary" in text} == set()


def test_the_decode_children_do_not_have_the_keys(service: str) -> None:
    children = processes("aura_model.decode_child")
    assert children
    assert not [child for child in children if API_KEYS in child.environ()]
    assert all(API_KEYS in process.environ() for process in processes("ray::ServeReplica:aura:"))
