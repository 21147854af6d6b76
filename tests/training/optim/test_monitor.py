import json
import math
from typing import Any

import pytest

from aura_model.config import MonitorConfig
from aura_model.errors import ConfigError
from training.optim.monitor import Monitor, check_metric

METRICS: dict[str, Any] = {
    "epoch": 3,
    "loss": 0.25,
    "val_auc": 0.9,
    "val": {"auc": 0.9, "eer": 0.1, "confusion": {"tp": 4}, "curve": [0.0, 1.0]},
    "clip": {"auc": None, "brier": math.nan},
    "checkpoint": "a.pth",
    "early": True,
}


def monitor(metric: str = "auc", mode: Any = "max", min_delta: float = 0.0, patience: int | None = None) -> Monitor:
    return Monitor(MonitorConfig(metric=metric, mode=mode, min_delta=min_delta, patience=patience))


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("val_auc", 0.9),
        ("loss", 0.25),
        ("epoch", 3.0),
        ("val.eer", 0.1),
        ("val.confusion.tp", 4.0),
        ("clip.auc", None),
        ("clip.brier", None),
    ],
)
def test_any_figure_can_be_watched(metric: str, value: float | None) -> None:
    assert monitor(metric).value(METRICS) == value


@pytest.mark.parametrize("metric", ["loss", "val_auc", "val.brier", "clip.eer", "val.fpr_at_95tpr"])
def test_figures_of_an_epoch_may_be_watched(metric: str) -> None:
    check_metric(metric)


@pytest.mark.parametrize("metric", ["val_loss", "auc", "val", "val.confusion.tn", ""])
def test_a_typing_error_is_refused_before_the_first_epoch(metric: str) -> None:
    with pytest.raises(ConfigError, match=r"is no figure of an epoch; there are: loss, val_auc, val\.auc"):
        check_metric(metric)


@pytest.mark.parametrize("metric", ["auc", "val", "val.auc.x", "val.curve", "checkpoint", "early", ""])
def test_what_is_no_figure_is_refused_with_those_there_are(metric: str) -> None:
    with pytest.raises(ConfigError) as caught:
        monitor(metric).value(METRICS)
    assert repr(metric) in caught.value.detail
    assert caught.value.detail.endswith(
        "clip.auc, clip.brier, epoch, loss, val.auc, val.confusion.tp, val.eer, val_auc"
    )


@pytest.mark.parametrize(
    ("mode", "min_delta", "figures", "improved"),
    [
        ("max", 0.0, [0.5, 0.6, 0.6, 0.55, 0.61], [True, True, False, False, True]),
        ("min", 0.0, [0.5, 0.4, 0.4, 0.45, 0.39], [True, True, False, False, True]),
        # measured from the best, so that small steps add up
        ("max", 0.25, [0.0, 0.2, 0.25, 0.26], [True, False, False, True]),
        ("min", 0.25, [1.0, 0.8, 0.75, 0.74], [True, False, False, True]),
        ("max", 0.0, [None, -1.0, None, math.nan, 0.0], [False, True, False, False, True]),
    ],
)
def test_improvement(mode: str, min_delta: float, figures: list[float | None], improved: list[bool]) -> None:
    watch = monitor(mode=mode, min_delta=min_delta)
    assert [watch.update({"auc": figure}) for figure in figures] == improved


@pytest.mark.parametrize(("mode", "figure", "score"), [("max", 0.5, 0.5), ("min", 0.5, -0.5), ("max", None, -math.inf)])
def test_a_score_is_better_the_higher_it_is(mode: str, figure: float | None, score: float) -> None:
    assert monitor(mode=mode).score({"auc": figure}) == score


def test_it_keeps_the_best_and_counts_the_epochs_since() -> None:
    watch = monitor()
    seen = []
    for figure in (0.5, 0.4, None, 0.7, 0.6):
        watch.update({"auc": figure})
        seen.append((watch.best, watch.stale))
    assert seen == [(0.5, 0), (0.5, 1), (0.5, 1), (0.7, 0), (0.7, 1)]


@pytest.mark.parametrize(("patience", "stops"), [(1, [2]), (2, [3]), (3, []), (None, [])])
def test_patience_ends_a_run(patience: int | None, stops: list[int]) -> None:
    watch = monitor(patience=patience)
    found = []
    for epoch, figure in enumerate([0.5, 0.6, 0.6, 0.6]):
        watch.update({"auc": figure})
        if watch.stop:
            found.append(epoch)
    assert found[:1] == stops


def test_it_goes_on_where_it_stood() -> None:
    first, second = monitor(patience=2), monitor(patience=2)
    for figure in (0.5, 0.4):
        first.update({"auc": figure})
    second.restore(json.loads(json.dumps(first.state())))
    assert not second.stop
    assert second.update({"auc": 0.45}) is first.update({"auc": 0.45}) is False
    assert second.stop
    assert second.state() == first.state()
