"""What `kuberay/components/monitoring` brings to Prometheus and Grafana, evaluated by Prometheus' own tool."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.telemetry.exposition import exposition
from serve_app.telemetry.metrics import ASKED, COUNTED
from serve_app.telemetry.tally import Counter, Tally
from tests.promtool import promtool

HERE = Path(__file__).parent
MONITORING = HERE.parents[2] / "kuberay" / "components" / "monitoring"
ALERTS = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
OPERATIONS = (HERE.parents[2] / "docs" / "operations.md").read_text()

COUNTS = re.compile(r"rayscribe_\w+_(total|sum|count)\b")
INTERVAL = re.compile(r"\$__rate_interval")


def expressions() -> Iterator[tuple[str, str]]:
    """Panel and query of each that the dashboard asks."""
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def labels_shown() -> dict[str, set[str]]:
    """Labels of each series that `/metrics` can show."""
    shown = {metric.name: set(metric.labels) for metric in (*COUNTED, *ASKED)}
    for metric in COUNTED:
        if not isinstance(metric, Counter):
            parts = {"_bucket": {*metric.labels, "le"}, "_sum": {*metric.labels}, "_count": {*metric.labels}}
            shown |= {metric.name + suffix: labels for suffix, labels in parts.items()}
    return shown


@pytest.mark.server
def test_alerts_ring_when_they_should_and_not_before() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(HERE / "alerts_test.yaml"))


def test_counters_of_the_cases_begin_as_the_service_shows_them() -> None:
    """With a zero that the service does not show, an alert would ring in the test alone."""
    shown = samples_of(exposition({}, {}))
    cases = yaml.safe_load((HERE / "alerts_test.yaml").read_text())["tests"]
    series = [series for case in cases for series in case["input_series"] if COUNTS.match(series["series"])]

    assert len(series) > 20
    for one in series:
        name = re.sub(r',? ?instance="."|\{\}| ', "", one["series"]).replace("{,", "{")
        assert re.match(r"0[ +x]" if name in shown else "_", one["values"]), one


def samples_of(text: bytes) -> set[str]:
    return {line.rpartition(" ")[0] for line in text.decode().splitlines() if not line.startswith("#")}


@pytest.mark.server
def test_an_alert_that_does_not_ring_is_found(tmp_path: Path) -> None:
    deaf = (MONITORING / "alerts.yaml").read_text().replace("rayscribe_coordinator_up", "rayscribe_nothing")
    (tmp_path / "alerts.yaml").write_text(deaf)
    cases = yaml.safe_load((HERE / "alerts_test.yaml").read_text()) | {"rule_files": ["alerts.yaml"]}
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump(cases))

    with pytest.raises(AssertionError, match="RayscribeCoordinatorAway"):
        promtool("test", "rules", str(tmp_path / "cases.yaml"))


@pytest.mark.server
def test_prometheus_understands_each_query_of_the_dashboard(tmp_path: Path) -> None:
    queries = [
        {"record": f"query:{n}", "expr": INTERVAL.sub("5m", query)} for n, (_, query) in enumerate(expressions())
    ]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": queries}]}))

    assert f"{len(queries)} rules found" in promtool("check", "rules", str(tmp_path / "queries.yaml"))


@pytest.mark.server
def test_prometheus_finds_nothing_wrong_with_the_metrics() -> None:
    tally = Tally()
    for metric in COUNTED:
        values = ["some" for _ in metric.labels]
        if isinstance(metric, Counter):
            tally.count(metric, *values)
        else:
            tally.observe(metric, 0.3, *values)
    readings = {gauge: {tuple("some" for _ in gauge.labels): 1.0} for gauge in ASKED}

    assert promtool("check", "metrics", given=exposition(tally.take(), readings)) == ""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_has_cases_in_which_it_rings_and_does_not_and_says_what_to_do(rule: dict[str, Any]) -> None:
    cases = yaml.safe_load((HERE / "alerts_test.yaml").read_text())["tests"]
    tried = [case for test in cases for case in test["alert_rule_test"] if case["alertname"] == rule["alert"]]

    assert any(case["exp_alerts"] for case in tried)
    assert any(not case["exp_alerts"] for case in tried) or "by (model)" in rule["expr"]
    assert f"| `{rule['alert']}` |" in OPERATIONS


@pytest.mark.parametrize(
    ("where", "query"),
    [*expressions(), *((rule["alert"], rule["expr"]) for rule in RULES)],
)
def test_each_query_asks_for_metrics_and_labels_that_there_are(where: str, query: str) -> None:
    known = labels_shown()
    asked = set(re.findall(r"\brayscribe_\w+", query))

    assert asked
    assert asked <= known.keys(), where
    there = set.union(*(known[name] for name in asked))
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
    matched = set(re.findall(r'(\w+)\s*(?:=~|!=|!~|=)\s*"', query))
    assert grouped | matched <= there, where


@pytest.mark.parametrize("metric", [*COUNTED, *ASKED], ids=lambda metric: metric.name)
def test_each_metric_is_documented_with_its_labels(metric: Any) -> None:
    labels = ", ".join(f"`{label}`" for label in metric.labels)

    assert f"| `{metric.name}` | {labels} |" in OPERATIONS
