"""The alerts and the dashboard ask for metrics that the service has, with labels and values that they take."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.metrics import METRICS, Metric

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "cluster" / "alerts.yaml").read_text())
DASHBOARD = json.loads((ROOT / "cluster" / "grafana_dashboard.json").read_text())
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()

ALERTS: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
SELECTOR = re.compile(r"\b(ray_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')
SERVE_LABELS = {"application", "deployment", "replica"}


def exported(metric: Metric) -> set[str]:
    """The names under which Prometheus finds a metric."""
    ends = ("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",)
    return {f"ray_{metric.name}{end}" for end in ends}


NAMES = {name: metric for metric in METRICS for name in exported(metric)}


def queries() -> Iterator[tuple[str, str]]:
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]


QUERIES = dict(queries())


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_a_query_asks_for_metrics_that_there_are(query: str) -> None:
    selected = SELECTOR.findall(query)
    assert selected
    assert {name for name, _ in selected} <= NAMES.keys()


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_a_query_asks_for_labels_and_values_that_there_are(query: str) -> None:
    for name, matchers in SELECTOR.findall(query):
        metric = NAMES[name]
        for label, _, value in MATCHER.findall(matchers):
            assert label in {metric.label, *SERVE_LABELS}
            if label == metric.label:
                assert set(value.split("|")) <= set(metric.values or ())
    grouped = {label for labels in re.findall(r"by \(([^)]*)\)", query) for label in labels.split(", ")}
    assert grouped <= {"le", *(metric.label for metric in METRICS)}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_counters_are_read_as_rates_and_gauges_are_not(query: str) -> None:
    for match in SELECTOR.finditer(query):
        is_counter = NAMES[match[1]].kind != "gauge"
        assert query[: match.start()].endswith(("rate(", "increase(")) == is_counter
        assert query[match.end() :].startswith("[") == is_counter


def test_there_are_five_alerts_each_says_what_to_do() -> None:
    assert len(ALERTS) == len({alert["alert"] for alert in ALERTS}) == 5
    for alert in ALERTS:
        assert alert.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"].keys() == {"summary", "description"}
        assert re.fullmatch(r"\d+m", alert.get("for", "0m"))
        assert alert["expr"].count("(") == alert["expr"].count(")")


def test_a_service_that_is_gone_is_not_ready() -> None:
    """Without any ingress there is no series at all, and a comparison with nothing would never fire."""
    (ready,) = [alert["expr"] for alert in ALERTS if "aura_ready" in alert["expr"]]
    assert "or vector(0)" in ready


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {NAMES[name].name for panel in PANELS for t in panel["targets"] for name, _ in SELECTOR.findall(t["expr"])}
    assert shown == {metric.name for metric in METRICS}


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    assert DASHBOARD.keys() >= {"title", "uid", "schemaVersion", "panels", "templating", "time"}
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in PANELS}
    assert len(places) == len(PANELS)
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(PANELS))) == variables


def test_the_documentation_has_the_same_metrics() -> None:
    rows = re.findall(r"^\| `(ray_aura_\w+)` \| (\w+) \| (?:`(\w+)`|none) \|", OPERATIONS, re.MULTILINE)
    assert rows == [(f"ray_{metric.name}", metric.kind, metric.label or "") for metric in METRICS]


def test_the_documentation_has_the_same_alerts() -> None:
    rows = re.findall(r"^\| `(Aura\w+)` \| (\w+) \|", OPERATIONS, re.MULTILINE)
    assert rows == [(alert["alert"], alert["labels"]["severity"]) for alert in ALERTS]
