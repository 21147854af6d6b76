"""The figures of the model card are what the default checkpoint and the results say."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from model_card import BLOCKS, NONE, PAGES, RESULTS, facts_of, number, ranged, read_sources, rewrite, share

from aura_model.calibration import Calibration
from aura_model.checkpoint import read_checkpoint, save_checkpoint
from aura_model.config import PACKAGED_CHECKPOINT
from aura_model.settings import load_config
from tests.operating_points import make_points

POINTS = make_points()


def figure(value: float | None, low: float | None = 0.5, high: float | None = 0.9, **more: Any) -> dict[str, Any]:
    return {"n": 40, "people": 20, "auc": {"value": value, "low": low, "high": high}, **more}


def auc(value: float, low: float | None = 0.4, high: float | None = 0.8) -> dict[str, Any]:
    return {"n": 51, "fakes": 19, "groups": 20, "value": value, "low": low, "high": high}


SIDES = {
    "reals": {"fake": 0.05, "real": 0.8, "uncertain": 0.15},
    "fakes": {"fake": 0.6, "real": None, "uncertain": 0.4},
}
WILD: dict[str, Any] = {
    "auc": {
        "overall": {"Aura": auc(0.7), "constant": auc(0.5, None, None)},
        "matched pairs": {"Aura": auc(0.75), "constant": auc(0.5, None, None)},
    },
    "pairs_won": {"matched pairs": {"Aura": 0.8, "constant": 0.5}},
    "decisions": {"in_force": SIDES, "balanced": SIDES},
    "acceptance": [{"what": "overall: above constant", "found": "0.200", "passed": True}],
}
ROBUSTNESS: dict[str, Any] = {
    "families": {
        "table": {
            "self_blend": {"kind": "trained", **figure(0.99)},
            "donor_poisson": {"kind": "held_out", **figure(0.82, None, None)},
            "generated_person": {"kind": "drawn", **figure(0.9)},
        },
        "trained": {"mean": 0.99, "worst": 0.985},
        "held_out": {"mean": 0.91, "worst": 0.82},
    },
    "robustness": {
        "clean": figure(0.97, ece={"value": 0.03, "low": 0.02, "high": 0.05}),
        "cells": {"blur:1": figure(0.96), "blur:3": figure(0.94), "JPEG:1": figure(0.95)},
    },
    "probes": {"null blend": figure(0.51, 0.48, 0.54)},
    "null_blend": {"in_force": {"reals": {"fake": 0.02}}},
    "decisions": {"in_force": SIDES, "strict": SIDES},
    "selective": {"risk_at": {"1.0": 0.1, "0.8": 0.04, "0.5": None}},
    "heatmap": {"families": {"self_blend": {"n": 20, "mean": 0.61}}},
    "acceptance": [{"what": "worst AUC >= 0.98", "found": "0.970", "passed": False}],
}
WEIGHTS: dict[str, Any] = {
    "sha256": "ab" * 32,
    "bytes": 8_945_313,
    "parameters": 3_812_345,
    "epoch": 11,
    "config": {
        "seed": 3,
        "training": {"epochs": 12},
        "model": {"video": {"backbone": "tf_efficientnet_lite0"}},
        "dataset": {
            "video": {"temporal_window": 2, "frame_rate": 8.0},
            "face": {"size": 192, "margin": 0.125},
            "audio": {"enabled": False},
            "pseudo_fakes": {
                "families": {"self_blend": 0.4, "donor_blend": 0.0},
                "generated": {"generated_person": 0.5, "generated_swap": 1.0},
            },
        },
    },
    "calibration": {"scale": 0.8, "bias": 0.0},
    "operating_points": [POINTS.balanced.model_dump()],
}
LEAVE_ONE_OUT: dict[str, Any] = {
    "rows": {
        "all": {"self_blend": auc(0.95), "donor_blend": auc(0.8), "wild, overall": auc(0.6)},
        "self_blend": {"self_blend": auc(0.7), "donor_blend": auc(0.65), "wild, overall": auc(0.55)},
    }
}
SOURCES = {"wild": WILD, "robustness": ROBUSTNESS, "weights": WEIGHTS, "leave_one_out": LEAVE_ONE_OUT}
BALANCED = POINTS.balanced
SAID = {
    "summary": [
        "| videos from the wild, overall, AUC | 0.700 [0.400, 0.800] |",
        "| of 32 reals among them called fake, at `balanced` | 5.0 % [1.2 %, 18.4 %] |",
        "| pseudo-fakes of unseen people, families never trained on, AUC | mean 0.910, worst 0.820 |",
    ],
    "weights": [
        f"| file | 8.9 MB, SHA-256 `{'ab' * 32}` |",
        "| a clip | 2 frames at 8.0 a second, faces of 192 pixels with a margin of 0.125, without sound |",
        "| families trained on | self_blend 0.4 |",
        "| what was made of drawn faces | generated_person 0.5, generated_swap 1 |",
        "| calibration | scale 0.800, bias 0.000 |",
    ],
    "points": [f"| `balanced` | {BALANCED.low:.3f} | {BALANCED.high:.3f} |"],
    "acceptance": ["| overall: above constant | 0.200 | met |", "| worst AUC >= 0.98 | 0.970 | **missed** |"],
    "wild": [
        "| AUC of | videos | fakes | groups | Aura | constant |",
        "| matched pairs | 51 | 19 | 20 | 0.750 [0.400, 0.800] | 0.500 |",
        "The fake of a pair looks more fake than its original: matched pairs 80.0 %.",
    ],
    "decided": [
        "| wild, `balanced` | 5.0 % | 80.0 % | 15.0 % | 60.0 % | none | 40.0 % |",
        "| pseudo-fakes, `strict` | 5.0 % |",
    ],
    "families": [
        "| `donor_poisson` | never trained on | 40 | 20 | 0.820 | none |",
        "| `self_blend` | trained on | 40 | 20 | 0.990 [0.500, 0.900] | 0.610 |",
    ],
    "leave_one_out": [
        "| AUC on | all | without self_blend |",
        "| self_blend | 0.950 | **0.700** |",
        "| donor_blend | 0.800 | 0.650 |",
        "| wild, overall | 0.600 | 0.550 |",
    ],
    "grid": [
        "Unperturbed: 0.970 [0.500, 0.900] on 40 clips; ECE 0.030 [0.020, 0.050].",
        "| blur | 0.960 | none | 0.940 | none | none |",
        "| JPEG | 0.950 | none | none | none | none |",
    ],
    "probes": [
        "| null blend | 40 | 0.510 [0.480, 0.540] |",
        "Of null blends, faces blended back unchanged, 2.0 % are called fake.",
    ],
    "coverage": ["| answered | 100.0 % | 80.0 % | 50.0 % |", "| wrong | 10.0 % | 4.0 % | none |"],
}


def page(name: str) -> str:
    return f"before\n<!-- figures: {name} -->\nold\n<!-- end -->\nafter\n"


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_says_what_its_sources_say(name: str) -> None:
    lines = rewrite(page(name), SOURCES).splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert "old" not in lines
    for said in SAID[name]:
        assert any(line.startswith(said) for line in lines), said


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_without_a_source_says_so(name: str) -> None:
    assert rewrite(page(name), {}) == page(name).replace("old", "Not measured yet.")


@pytest.mark.parametrize(("name", "block"), BLOCKS.items())
def test_a_block_lives_with_sources_that_tell_nothing(name: str, block: Any) -> None:
    """Such as those of an older version of a benchmark."""
    bare = {"weights": {"sha256": "", "bytes": 0, "parameters": 0, "epoch": 0, "config": {}}}
    assert "Not measured yet." not in rewrite(page(name), {source: bare.get(source, {}) for source in block.sources})


def test_a_block_of_another_program_stays() -> None:
    assert rewrite(page("load"), SOURCES) == page("load")


def test_the_hardest_family_comes_first() -> None:
    found = re.findall(r"^\| `(\w+)`", rewrite(page("families"), SOURCES), re.MULTILINE)
    assert found == ["donor_poisson", "generated_person", "self_blend"]


def test_the_sources_are_the_files_that_are_there(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    assert read_sources(tmp_path, tmp_path / "gone.pth") == {}
    (tmp_path / "wild.json").write_text(json.dumps(WILD))
    found = read_sources(tmp_path, save(tmp_path / "a.pth"))
    assert found.keys() == {"wild", "weights"}
    assert found["wild"] == WILD


@pytest.fixture
def save() -> Callable[[Path], Path]:
    def build(path: Path) -> Path:
        model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.BatchNorm1d(2))
        calibration = Calibration(scale=2.0, bias=0.0)
        config = load_config(env={}, overrides=["seed=9"])
        save_checkpoint(path, model, config, 5, {"auc": 0.9}, calibration=calibration, operating_points=POINTS)
        return path

    return build


def test_the_facts_of_a_checkpoint(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    checkpoint = read_checkpoint(save(tmp_path / "a.pth"))
    facts = facts_of(checkpoint)
    assert facts["parameters"] == 4 * 2 + 2 + 2 + 2  # no running figures
    assert (facts["epoch"], facts["config"]["seed"], facts["sha256"]) == (5, 9, checkpoint.sha256)
    assert facts["bytes"] == (tmp_path / "a.pth").stat().st_size
    assert [point["name"] for point in facts["operating_points"]] == ["screening", "balanced", "strict"]
    assert rewrite(page("points"), {"weights": facts}).count("\n| `") == 3


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_pages_are_up_to_date(path: Path) -> None:
    written = path.read_text()
    assert rewrite(written, read_sources(RESULTS, PACKAGED_CHECKPOINT)) == written, (
        "run python benchmarks/model_card.py"
    )


def test_every_block_is_on_a_page() -> None:
    written = "".join(path.read_text() for path in PAGES)
    assert set(re.findall(r"<!-- figures: (\w+) -->", written)) == set(BLOCKS)


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (None, NONE),
        ({"value": None}, NONE),
        ({"value": 0.12345}, "0.123"),
        ({"value": 0.5, "low": None, "high": None}, "0.500"),
        ({"value": 0.5, "low": 0.25, "high": 0.75}, "0.500 [0.250, 0.750]"),
    ],
)
def test_a_figure_with_its_interval(figure: dict[str, Any] | None, text: str) -> None:
    assert ranged(figure) == text


def test_numbers_and_shares() -> None:
    assert (number(None), number(0.12345), share(None), share(0.0512)) == (NONE, "0.123", NONE, "5.1 %")
