"""Scores and predictions on a real Ray cluster, beside those of one process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from aura_model.checkpoint import save_checkpoint
from aura_model.config import Config
from aura_model.model import MultimodalModel
from aura_model.predictor import Predictor
from aura_model.reply import Analysis
from aura_model.settings import load_config
from training.prediction.inputs import find_inputs
from training.prediction.journal import journal_path
from training.prediction.model_facts import ModelFacts, read_model_facts
from training.prediction.rows import PredictionRow, prediction_row
from training.prediction.scoring import ScoredVideo, score_samples

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),  # Ray Data's own settings
]

REPOSITORY = Path(__file__).parents[2]
MEDIA = REPOSITORY / "tests" / "media"
TOLERANCE = 1e-4
GOOD = ("talking_face.mp4", "two_faces.mp4", "no_face_speech.mp4", "no_face.mp4", "vfr.mp4", "face.jpg")
BROKEN = {"not_a_video.mp4": "invalid_video", "empty.mp4": "empty_file", "unsupported_codec.avi": "unsupported_codec"}
FILES = tuple(sorted((*GOOD, *BROKEN)))
COPIES = 2
"""Of each of `FILES`, for a run that is long enough to be killed."""
BATCH = "inference.batch_clips=3"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, make_config: Callable[..., Config]) -> Path:
    """A small model of crops of 64 pixels and clips of 2 frames, whose scores differ from clip to clip."""
    path = tmp_path_factory.mktemp("model") / "model.pth"
    config = make_config()
    torch.manual_seed(2)
    model = MultimodalModel(config.model)
    with torch.no_grad():
        for head in (model.head, model.video_head, model.audio_head):
            head.weight.mul_(8)
    save_checkpoint(path, model, config, 1, {})
    return path


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster of three logical CPUs: two to extract, one to score."""
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    (root / "notes.txt").write_text("no video")
    for copy in range(COPIES):
        (root / str(copy)).mkdir()
        for name in FILES:
            (root / str(copy) / name).symlink_to(MEDIA / name)
    return root


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> ModelFacts:
    """Asked for with default settings, so that what goes with the weights must come from the checkpoint."""
    overrides = [f"inference.checkpoint={json.dumps(str(checkpoint))}", BATCH]
    return read_model_facts(load_config(env={}, overrides=overrides))


@pytest.fixture(scope="module")
def in_process(model: ModelFacts) -> dict[str, Analysis]:
    with Predictor(model.config) as predictor:
        return {name: predictor.predict(MEDIA / name) for name in GOOD}


def numbers(analysis: Analysis) -> list[float]:
    """Every score of an answer."""
    scores = [analysis.fake_probability, analysis.modalities.video, analysis.modalities.audio]
    scores += [score for entry in analysis.timeline for score in (entry.fake_probability, entry.video, entry.audio)]
    return [-1.0 if score is None else score for score in scores]


def assert_same_answer(found: Analysis, expected: Analysis) -> None:
    assert numbers(found) == pytest.approx(numbers(expected), abs=TOLERANCE)
    assert [(one.start, one.end, one.track_id) for one in found.timeline] == [
        (one.start, one.end, one.track_id) for one in expected.timeline
    ]
    assert [face.boxes for face in found.faces] == [face.boxes for face in expected.faces]
    for name in ("verdict", "reasons", "media", "model"):
        assert getattr(found, name) == getattr(expected, name)


@pytest.fixture(scope="module")
def scored(address: str, model: ModelFacts, folder: Path) -> list[ScoredVideo]:
    """With several actors, so that the order is not given by chance."""
    return list(score_samples(find_inputs(str(folder)), model, extractors=3))


def test_videos_come_back_in_order_from_several_actors(scored: list[ScoredVideo]) -> None:
    assert [video.sample.video_id for video in scored] == [f"{copy}/{name}" for copy in range(COPIES) for name in FILES]
    expected = BROKEN | {"no_face.mp4": "no_clips"}
    assert [video.error for video in scored] == [expected.get(name, "") for name in FILES] * COPIES


def test_a_video_has_the_same_scores_as_in_one_process(
    scored: list[ScoredVideo], model: ModelFacts, in_process: dict[str, Analysis]
) -> None:
    answers = {video.sample.video_id: prediction_row(video, model).analysis for video in scored}
    for copy in range(COPIES):
        for name in GOOD:
            found = answers[f"{copy}/{name}"]
            assert found is not None
            assert_same_answer(found, in_process[name])
    spread = [score.fake for video in scored for score in video.scores]
    assert max(spread) - min(spread) > 1000 * TOLERANCE


def test_faces_have_thumbnails(scored: list[ScoredVideo]) -> None:
    for video in scored:
        for clip in video.scored:
            assert clip.thumbnail.startswith(b"\xff\xd8") is (clip.track_id is not None)


@pytest.fixture
def start(address: str, checkpoint: Path, folder: Path) -> Callable[[Path], "subprocess.Popen[str]"]:
    """Start the command line as a user types it; it writes to the path given."""

    def begin(output: Path) -> "subprocess.Popen[str]":
        script = str(REPOSITORY / "training" / "batch_predict.py")
        arguments = ["--input", str(folder), "--checkpoint", str(checkpoint), "--output", str(output)]
        return subprocess.Popen(
            [sys.executable, script, *arguments, "--set", BATCH, "--num-workers", "1", "--device", "cpu"],
            cwd=output.parent,
            env=os.environ | {"RAY_ADDRESS": address},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return begin


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """What a tree holds, by the path to it; without timings."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {
            name: leaf
            for key, part in items
            if key != "timings"
            for name, leaf in leaves(part, f"{path}/{key}").items()
        }
    return {path: value}


def rows_in(journal: Path) -> int:
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0


def test_a_killed_run_goes_on_and_ends_as_an_undisturbed_one(
    start: Callable[[Path], "subprocess.Popen[str]"], scored: list[ScoredVideo], model: ModelFacts, tmp_path: Path
) -> None:
    output, count = tmp_path / "out.jsonl", COPIES * len(FILES)
    killed = start(output)
    while rows_in(journal_path(output)) < 3:
        assert killed.poll() is None, killed.communicate()[0]
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    done = rows_in(journal_path(output))
    assert 3 <= done < count
    assert not output.exists()

    again = start(output)
    said, _ = again.communicate()
    assert again.returncode == 0, said
    assert f"{count} videos, {done} of them done before" in said
    broken = ", ".join(f"{COPIES} {code}" for code in sorted(BROKEN.values()))
    assert f"{COPIES * len(BROKEN)} without an answer ({broken})" in said
    assert list(tmp_path.iterdir()) == [output]

    rows = [PredictionRow.model_validate_json(line) for line in output.read_text().splitlines()]
    undisturbed = [prediction_row(video, model) for video in scored]
    assert [row.video_id for row in rows] == [row.video_id for row in undisturbed]
    for row, expected in zip(rows, undisturbed, strict=True):
        assert leaves(row.model_dump()) == pytest.approx(leaves(expected.model_dump()), abs=TOLERANCE)
