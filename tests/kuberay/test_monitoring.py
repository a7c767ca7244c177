"""What Prometheus and Grafana are given is what was tested with promtool."""

from __future__ import annotations

import yaml

from tests.kuberay.manifests import manifests_of
from tests.kuberay.prometheus_rule import MONITORING, prometheus_rule


def test_rule_object_is_made_of_the_alerts() -> None:
    assert (MONITORING / "prometheusrule.yaml").read_text() == prometheus_rule(), (
        "run `python tests/kuberay/prometheus_rule.py`"
    )


def test_rule_object_has_the_alerts() -> None:
    alerts = yaml.safe_load((MONITORING / "alerts.yaml").read_text())

    assert manifests_of("gpu-ha").one("PrometheusRule")["spec"] == alerts


def test_grafana_finds_the_dashboard() -> None:
    (found,) = [c for c in manifests_of("gpu-ha").of("ConfigMap") if "dashboard.json" in c["data"]]

    assert found["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert found["data"]["dashboard.json"] == (MONITORING / "dashboard.json").read_text()


def test_totals_are_scraped_from_gateways() -> None:
    monitors = {m["metadata"]["name"]: m["spec"] for m in manifests_of("gpu-ha").of("PodMonitor")}

    assert monitors["rayscribe"]["podMetricsEndpoints"] == [{"port": "serve", "path": "/metrics"}]
