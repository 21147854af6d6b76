import json

import cv2
import numpy as np
import pytest
from honesty_plots import PAIRS, WILD, bars, draw, families, main, robustness, selective, systems
from matplotlib.figure import Figure

MOST_BYTES = 150_000


def figure(value=0.9, low=0.85, high=0.95):
    return {"value": value, "low": low, "high": high}


def cell(value):
    return {"auc": figure(value), "ece": figure(0.02), "n": 1000}


REPORT = {
    "clean": cell(0.97),
    "reliability": [
        {"low": 0, "high": 0.1, "count": 400, "mean_probability": 0.05, "fake_share": 0.04},
        {"low": 0.9, "high": 1, "count": 600, "mean_probability": 0.95, "fake_share": 0.97},
    ],
    "selective": {"area": 0.012, "risk_at": {}, "curve": [[0.1, 0.0], [0.5, 0.01], [1.0, 0.06]]},
    "robustness": {
        "clean": cell(0.97),
        "cells": {f"{name}:{level}": cell(0.97 - level / 50) for name in ("blur", "noise") for level in (1, 3, 5)},
    },
    "families": {
        "table": {
            "self_blend": cell(0.98) | {"kind": "trained"},
            "donor_blend": cell(0.83) | {"kind": "held_out"},
            "generated_swap": {"auc": figure(0.7, None, None), "kind": "drawn"},
        }
    },
}
WILD_REPORT = {
    "auc": {
        "overall": {"Aura": figure(0.8) | {"n": 51}, "constant": figure(0.5, None, None)},
        "matched pairs": {"Aura": figure(0.9), "constant": figure(0.5, 0.5, 0.5)},
    }
}


@pytest.fixture
def axes():
    return Figure().subplots()


@pytest.fixture
def results(tmp_path):
    for name, report in (("robustness", REPORT), ("wild", WILD_REPORT)):
        (tmp_path / f"{name}.json").write_text(json.dumps(report))
    return tmp_path


def names(axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_all_pictures_are_drawn_and_small(results, capsys):
    output = results / "deeper" / "pictures"
    arguments = ["--robustness", str(results / "robustness.json"), "--wild", str(results / "wild.json")]
    assert main([*arguments, "--output", str(output)]) == 0
    assert {path.stem for path in output.iterdir()} == {*PAIRS, *WILD}
    assert all(path.stat().st_size < MOST_BYTES for path in output.iterdir())
    assert all(cv2.imread(str(path)).std() > 5 for path in output.iterdir())
    assert "reliability.png" in capsys.readouterr().out


def test_results_that_are_not_there_are_passed_over(results, capsys):
    arguments = ["--robustness", str(results / "none.json"), "--output", str(results / "pictures")]
    assert main([*arguments, "--wild", str(results / "wild.json")]) == 0
    assert [path.name for path in (results / "pictures").iterdir()] == ["wild.png"]
    assert main([*arguments, "--wild", str(results / "none.json")]) == 1
    assert "no results" in capsys.readouterr().out


def test_the_same_results_give_the_same_bytes(results):
    first, second = (draw(results / "robustness.json", results / name, PAIRS) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_family_a_bar_the_worst_on_top(axes):
    families(axes, REPORT)
    assert names(axes) == ["self blend", "donor blend", "generated swap"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["trained", "held out", "drawn"]


def test_a_line_a_perturbation_from_the_clean_clips_on(axes):
    robustness(axes, REPORT)
    lines = {line.get_label(): line.get_xydata() for line in axes.get_lines()}
    assert set(lines) == {"blur", "noise"}
    assert lines["blur"].tolist() == pytest.approx(np.array([[0, 0.97], [1, 0.95], [3, 0.91], [5, 0.87]]))


def test_the_risk_is_drawn_over_the_coverage(axes):
    selective(axes, REPORT)
    (line,) = axes.get_lines()
    assert line.get_xydata().tolist() == [[0.1, 0.0], [0.5, 0.01], [1.0, 0.06]]
    assert "0.0120" in axes.get_legend().get_texts()[0].get_text()


def test_each_system_has_a_bar_for_each_set(axes):
    systems(axes, WILD_REPORT)
    assert names(axes) == ["constant, matched pairs", "constant, overall", "Aura, matched pairs", "Aura, overall"]
    assert "51 videos" in axes.get_title()


def test_intervals_are_whiskers_and_may_be_missing(axes):
    bars(axes, [("a", figure(), "red"), ("b", figure(0.7, None, None), "blue")])
    (whiskers,) = axes.collections
    ends = [segment[:, 0].tolist() for segment in whiskers.get_segments()]
    assert ends == [pytest.approx([0.85, 0.95]), pytest.approx([0.7, 0.7])]


def test_an_auc_below_the_usual_is_still_in_view(axes):
    bars(axes, [("a", figure(0.3, 0.2, 0.4), "red")])
    assert axes.get_xlim()[0] == pytest.approx(0.2)
