"""The model in the package says of the bundled clips what is true of them, and what it said when it was put there."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from aura_model.checkpoint import read_checkpoint
from aura_model.config import PACKAGED_CHECKPOINT
from aura_model.export import MOST_BYTES, without_paths
from aura_model.reply import Analysis, Heatmap
from aura_model.settings import load_config
from tests.golden import CLIPS, COMMAND, MEDIA, REPLIES, default_model, plain_reply

pytestmark = pytest.mark.skipif(not PACKAGED_CHECKPOINT.exists(), reason="the package holds no weights yet")

PROBABILITY, PIXELS, SECONDS = 0.01, 1.0, 1e-3
"""By how much a number of a reply may differ on another machine."""
WIDE = {"x", "y", "x1", "y1", "x2", "y2"}
FINE = {"time", "start", "end", "duration", "fps"}


@dataclass(frozen=True)
class Truth:
    """When and where the bundled fake is forged."""

    start: float
    end: float
    regions: list[dict[str, Any]]

    def mask(self, heatmap: Heatmap) -> npt.NDArray[np.bool_]:
        """[h, w] which places of a heat-map lie in the forged region of the frame that is nearest in time."""
        region = min(self.regions, key=lambda one: abs(one["time"] - heatmap.area.time))
        height, width = len(heatmap.values), len(heatmap.values[0])
        area = heatmap.area
        scale = np.array([width / (area.x2 - area.x1), height / (area.y2 - area.y1)]) * 16
        polygon = (np.array(region["polygon"]) - (area.x1, area.y1)) * scale
        fine = np.zeros((height * 16, width * 16), np.uint8)
        cv2.fillPoly(fine, [polygon.round().astype(np.int32)], 255)
        return np.asarray(cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA) > 127)


@pytest.fixture(scope="module")
def truth() -> Truth:
    facts = json.loads((MEDIA / "self_made_fake.json").read_text())
    return Truth(facts["start"], facts["end"], facts["regions"])


@pytest.fixture(scope="module")
def answers() -> Iterator[dict[str, Analysis]]:
    with default_model() as predictor:
        yield {name: predictor.predict(MEDIA / f"{name}.mp4") for name in CLIPS}


def heat(answer: Analysis) -> Heatmap:
    (face,) = answer.faces
    assert face.heatmap is not None
    return face.heatmap


def assert_alike(found: Any, expected: Any, key: str = "") -> None:
    """The same tree, with numbers that may differ a little."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), key
        for name, value in expected.items():
            assert_alike(found[name], value, name)
    elif isinstance(expected, list):
        assert len(found) == len(expected), key
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other, key)
    elif isinstance(expected, float):
        allowed = PIXELS if key in WIDE else SECONDS if key in FINE else PROBABILITY
        assert found == pytest.approx(expected, abs=allowed), key
    else:
        assert found == expected, key


@pytest.mark.parametrize("name", CLIPS)
def test_the_verdict_is_the_truth(answers: dict[str, Analysis], name: str) -> None:
    assert (answers[name].verdict, answers[name].model.trained) == (CLIPS[name], True)


def test_only_the_forged_span_looks_forged(answers: dict[str, Analysis], truth: Truth) -> None:
    assert answers["talking_face"].segments == ()
    segments = answers["self_made_fake"].segments
    inside = sum(max(0.0, min(one.end, truth.end) - max(one.start, truth.start)) for one in segments)
    assert inside > 0
    assert inside >= 0.8 * sum(one.end - one.start for one in segments)


def test_forged_clips_look_more_forged_than_those_before(answers: dict[str, Analysis], truth: Truth) -> None:
    timeline = answers["self_made_fake"].timeline
    before = [one.fake_probability for one in timeline if one.end <= truth.start]
    within = [one.fake_probability for one in timeline if one.start >= truth.start]
    assert before
    assert max(before) < min(within)


def test_the_heat_map_is_hotter_inside_the_forged_region(answers: dict[str, Analysis], truth: Truth) -> None:
    found = heat(answers["self_made_fake"])
    values, mask = np.array(found.values), truth.mask(found)
    assert mask.any()
    assert not mask.all()
    assert values[mask].mean() > values[~mask].mean() + 0.1
    assert truth.start <= found.area.time <= truth.end


def test_the_same_place_of_the_genuine_clip_stays_cool(answers: dict[str, Analysis], truth: Truth) -> None:
    values = {name: np.array(heat(answers[name]).values)[truth.mask(heat(answers[name]))].mean() for name in CLIPS}
    assert values["talking_face"] < values["self_made_fake"] - 0.1


@pytest.mark.parametrize("name", CLIPS)
def test_the_reply_is_the_golden_one(answers: dict[str, Analysis], name: str) -> None:
    golden = json.loads((REPLIES / f"{name}.json").read_text())
    version = f"multimodal_v1-{read_checkpoint(PACKAGED_CHECKPOINT).sha256[:12]}"
    assert golden["model"]["version"] == version, f"made by other weights: {COMMAND}"
    assert_alike(plain_reply(answers[name]), golden)


def test_the_weights_are_small_and_hold_no_training() -> None:
    assert PACKAGED_CHECKPOINT.stat().st_size <= MOST_BYTES
    stored = read_checkpoint(PACKAGED_CHECKPOINT)
    assert (stored.optimizer_state_dict, stored.scheduler_state_dict, stored.training_state_dict) == (None, None, None)


def test_the_weights_bring_calibration_and_operating_points() -> None:
    stored = read_checkpoint(PACKAGED_CHECKPOINT)
    assert stored.calibration is not None
    assert stored.operating_points is not None


def test_no_place_of_a_machine_is_in_the_weights() -> None:
    stored = dict(read_checkpoint(PACKAGED_CHECKPOINT).config)
    assert without_paths(stored, {}) == stored


def test_the_default_settings_name_these_weights() -> None:
    assert load_config(env={}).inference.checkpoint_file == PACKAGED_CHECKPOINT
