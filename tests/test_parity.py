"""One file gives one answer, whichever way it takes: in process, through Ray Data, over HTTP."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
import torch
from ray import serve

from aura_model.analysis import analyse
from aura_model.checkpoint import save_checkpoint
from aura_model.config import Config
from aura_model.model import MultimodalModel
from aura_model.model_loading import load_for_inference
from aura_model.predictor import Predictor
from aura_model.reply import Analysis
from aura_model.scoring import Scorer
from aura_model.settings import load_config
from deployments.app import AppArgs, build
from training.data.manifest import Sample
from training.dataset import clip_dataset
from training.plan import ExtractorPlan
from training.rows import Row, rows_to_clips

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),  # Ray Data's own settings
]

MEDIA = Path(__file__).parent / "media"
FILES = ("talking_face.mp4", "two_faces.mp4", "no_face_speech.mp4")
"""A face that speaks, two silent faces, and speech alone."""
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Way:
    """What the three ways have in common."""

    settings: dict[str, Any]
    config: Config


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Way:
    """A model whose scores differ from clip to clip; an untrained one says 0.5 to all, and would hide differences."""
    checkpoint = tmp_path_factory.mktemp("parity") / "model.pth"
    settings: dict[str, Any] = {
        "inference": {"checkpoint": str(checkpoint), "device": "cpu"},
        "serving": {"decode_children": 1},
    }
    config = load_config(settings=settings, env={})
    torch.manual_seed(2)
    model = MultimodalModel(config.model)
    with torch.no_grad():
        for head in (model.head, model.video_head, model.audio_head):
            head.weight.mul_(8)
    save_checkpoint(checkpoint, model, config, 1, {})
    return Way(settings, config)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    started = not ray.is_initialized()
    if started:
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    if started:
        ray.shutdown()


@pytest.fixture(scope="module")
def in_process(way: Way) -> dict[str, Analysis]:
    with Predictor(way.config) as predictor:
        return {name: predictor.predict(MEDIA / name) for name in FILES}


@pytest.fixture(scope="module")
def through_ray_data(way: Way, cluster: None) -> dict[str, Analysis]:
    loaded = load_for_inference(way.config.inference.checkpoint, way.config, "cpu")
    samples = [Sample(name, 0, "test", str(MEDIA / name)) for name in FILES]
    rows: dict[str, list[Row]] = {name: [] for name in FILES}
    for row in clip_dataset(samples, loaded.config, ExtractorPlan(actors=1, cpus=1.0, memory=2**30)).iter_rows():
        rows[row["video_id"]].append(row)
    answers = {}
    for name in FILES:
        clips = rows_to_clips(rows[name])
        scores = Scorer(loaded, "cpu").score(clips.clips)
        answers[name] = analyse(clips, scores, loaded.info, loaded.config, {})
    return answers


@pytest.fixture(scope="module")
def over_http(way: Way, cluster: None) -> Iterator[dict[str, Analysis]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build(AppArgs(settings=way.settings)), name="parity", route_prefix="/")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
        while client.get("/health/ready").status_code != 200:
            pass
        replies = {name: client.post("/predict", files={"file": (MEDIA / name).read_bytes()}) for name in FILES}
    yield {name: Analysis.model_validate_json(reply.raise_for_status().content) for name, reply in replies.items()}
    serve.shutdown()


def numbers(analysis: Analysis) -> list[float]:
    """Every score of an answer."""
    scores = [analysis.fake_probability, analysis.modalities.video, analysis.modalities.audio]
    scores += [face.fake_probability for face in analysis.faces]
    scores += [score for entry in analysis.timeline for score in (entry.fake_probability, entry.video, entry.audio)]
    return [-1.0 if score is None else score for score in scores]


def places(analysis: Analysis) -> list[tuple[float, float, int | None]]:
    return [(entry.start, entry.end, entry.track_id) for entry in analysis.timeline]


def assert_same_answer(found: Analysis, expected: Analysis) -> None:
    assert places(found) == places(expected)
    assert numbers(found) == pytest.approx(numbers(expected), abs=TOLERANCE)
    assert (found.verdict, found.reasons, found.media, found.model) == (
        expected.verdict,
        expected.reasons,
        expected.media,
        expected.model,
    )


def test_the_files_tell_ways_apart(in_process: dict[str, Analysis]) -> None:
    scores = [entry.fake_probability for answer in in_process.values() for entry in answer.timeline]
    assert len(scores) >= 8
    assert max(scores) - min(scores) > 1000 * TOLERANCE
    assert all(0.001 < score < 0.999 for score in scores)


@pytest.mark.parametrize("name", FILES)
def test_ray_data_gives_the_answer_of_the_process(
    in_process: dict[str, Analysis], through_ray_data: dict[str, Analysis], name: str
) -> None:
    assert_same_answer(through_ray_data[name], in_process[name])


@pytest.mark.parametrize("name", FILES)
def test_the_service_gives_the_answer_of_the_process(
    in_process: dict[str, Analysis], over_http: dict[str, Analysis], name: str
) -> None:
    assert_same_answer(over_http[name], in_process[name])
