"""
Make `prometheusrule.yaml` of `alerts.yaml`: Kustomize cannot put a file into an object.

    python tests/kuberay/prometheus_rule.py
"""

from __future__ import annotations

from pathlib import Path

MONITORING = Path(__file__).resolve().parents[2] / "kuberay" / "components" / "monitoring"
HEAD = """\
# Made of alerts.yaml by tests/kuberay/prometheus_rule.py.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: rayscribe
  labels: {release: prometheus}
spec:
"""


def prometheus_rule() -> str:
    lines = (MONITORING / "alerts.yaml").read_text().splitlines(keepends=True)
    body = lines[next(n for n, line in enumerate(lines) if line.startswith("groups:")) :]
    return HEAD + "".join(f"  {line}" if line.strip() else line for line in body)


if __name__ == "__main__":
    (MONITORING / "prometheusrule.yaml").write_text(prometheus_rule())
