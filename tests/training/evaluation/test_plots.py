import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from functools import cache

import matplotlib as mpl
import numpy as np
import pytest

from aura_model.metrics import Labels, Scores
from training.evaluation.plots import (
    PAGE_COLOURS,
    coverage_risk_plot,
    histogram_plot,
    precision_recall_plot,
    reliability_plot,
    roc_plot,
)

Plot = Callable[[Labels, Scores], str]


def histogram(labels: Labels, probabilities: Scores) -> str:
    return histogram_plot(labels, probabilities, 0.5)


def coverage(labels: Labels, probabilities: Scores) -> str:
    return coverage_risk_plot(labels, probabilities, 0.5)


PLOTS = [roc_plot, precision_recall_plot, reliability_plot, coverage, histogram]


def some(count: int = 60, seed: int = 0) -> tuple[Labels, Scores]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    return labels, np.clip(rng.normal(0.35 + 0.3 * labels, 0.2), 0, 1)


@cache
def drawn(plot: Plot) -> str:
    return plot(*some())


def words(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("plot", PLOTS)
def test_a_plot_is_one_element_that_loads_nothing(plot: Plot) -> None:
    svg = drawn(plot)
    root = ET.fromstring(svg)
    assert svg.startswith("<svg")
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("aria-label")
    assert {link for link in re.findall(r'href="([^"]*)"', svg) if not link.startswith("#")} == set()
    assert "<script" not in svg
    assert set(re.findall(r"https?://[^\"]+", svg)) <= {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("plot", PLOTS)
def test_its_ink_is_that_of_the_page(plot: Plot) -> None:
    svg = drawn(plot)
    assert "var(--ink)" in svg
    assert not [stand_in for stand_in in PAGE_COLOURS if stand_in in svg]
    assert not re.search(r"(fill|stroke): #(000000|ffffff)", svg)


def test_plots_of_one_page_share_no_ids() -> None:
    found = [set(re.findall(r'\bid="([^"]+)"', drawn(plot))) for plot in PLOTS]
    assert all(found)
    assert len(set.union(*found)) == sum(len(ids) for ids in found)


@pytest.mark.parametrize("plot", PLOTS)
def test_each_reference_has_its_target(plot: Plot) -> None:
    svg = drawn(plot)
    ids = set(re.findall(r'\bid="([^"]+)"', svg))
    assert set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg)) <= ids


@pytest.mark.parametrize("plot", PLOTS)
def test_the_same_scores_give_the_same_text(plot: Plot) -> None:
    assert plot(*some()) == drawn(plot)
    assert plot(*some(seed=1)) != drawn(plot)


@pytest.mark.parametrize(
    ("plot", "labels"),
    [
        (roc_plot, {"false positive rate (share of 30 real videos)", "true positive rate (share of 30 fake videos)"}),
        (precision_recall_plot, {"recall (share of 30 fake videos)", "precision (share of those called)"}),
        (reliability_plot, {"fake probability", "share of fakes", "videos", "as stated", "found"}),
        (coverage, {"coverage (share of 60 videos that is kept)", "share judged wrongly", "the surest"}),
        (histogram, {"share of the class's videos", "real, n = 30", "fake, n = 30", "threshold 0.5"}),
    ],
)
def test_axes_say_what_and_of_how_many(plot: Plot, labels: set[str]) -> None:
    assert labels <= set(words(drawn(plot)))


def test_the_roc_curve_has_marked_points() -> None:
    labels = np.array([0] * 100 + [1] * 10)
    scores = np.concatenate([np.linspace(0.0, 0.8, 100), [0.9] * 4 + [0.7951] * 3 + [0.77] * 2 + [0.1]])
    found = words(roc_plot(labels, scores))
    assert "0.700 at 1 %" in found
    assert "0.900 at 5 %" in found
    assert {"0.1 %", "1 %", "10 %", "100 %"} <= set(found)


def test_more_than_a_thousand_reals_reach_further_down() -> None:
    assert "0.01 %" in words(roc_plot(*some(2002)))


def test_precision_is_shown_over_the_base_rate() -> None:
    labels, probabilities = some()
    labels[:30] = 0
    assert f"base rate {labels.mean():.3f}" in words(precision_recall_plot(labels, probabilities))


def test_reliability_counts_the_videos_of_each_bin() -> None:
    found = words(reliability_plot(np.array([0, 0, 1, 1, 1]), np.array([0.01, 0.02, 0.5, 0.99, 0.98])))
    assert found.count("2") >= 2
    assert "1" in found


def test_coverage_is_shown_over_the_error_of_all() -> None:
    found = words(coverage(np.array([0, 0, 1, 1]), np.array([0.1, 0.7, 0.8, 0.9])))
    assert "all: 0.250" in found
    assert "coverage (share of 4 videos that is kept)" in found


@pytest.mark.parametrize("plot", [reliability_plot, coverage, histogram])
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_can_be_drawn_where_that_makes_sense(plot: Plot, label: int) -> None:
    assert plot(np.full(3, label), np.array([0.0, 0.5, 1.0])).startswith("<svg")


@pytest.mark.parametrize("plot", PLOTS)
def test_two_samples_are_enough(plot: Plot) -> None:
    assert plot(np.array([0, 1]), np.array([0.5, 0.5])).startswith("<svg")


def test_the_users_settings_neither_matter_nor_change() -> None:
    expected = drawn(roc_plot)
    with mpl.rc_context({"axes.linewidth": 7.0, "xtick.major.size": 20.0, "font.size": 40}):
        assert roc_plot(*some()) == expected
        assert mpl.rcParams["font.size"] == 40
