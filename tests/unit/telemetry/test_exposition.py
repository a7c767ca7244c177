"""Counts and gauges in Prometheus' text format."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve_app.telemetry.exposition import exposition
from serve_app.telemetry.metrics import (
    ASKED,
    BATCH_SIZE,
    COORDINATOR_UP,
    COUNTED,
    HTTP_REQUESTS,
    JOBS,
    JOBS_SUBMITTED,
    Gauge,
)
from serve_app.telemetry.tally import Counter, Histogram, Tally


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(text.decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_counts_are_shown_under_their_names_and_labels() -> None:
    tally = Tally()
    tally.count(HTTP_REQUESTS, "GET", "/jobs/{job_id}", "404", by=2)

    shown = samples(exposition(tally.take(), {COORDINATOR_UP: {(): 1}, JOBS: {("queued",): 3}}))

    labels = (("method", "GET"), ("route", "/jobs/{job_id}"), ("status", "404"))
    assert shown["rayscribe_http_requests_total", labels] == 2
    assert shown["rayscribe_coordinator_up", ()] == 1
    assert shown["rayscribe_jobs", (("state", "queued"),)] == 3


def test_buckets_of_a_histogram_add_up() -> None:
    tally = Tally()
    for size in (1, 4, 5, 100):
        tally.observe(BATCH_SIZE, size, "tiny.en")

    shown = samples(exposition(tally.take(), {}))

    def bucket(bound: str) -> float:
        return shown["rayscribe_batch_size_bucket", (("le", bound), ("model", "tiny.en"))]

    assert [bucket(bound) for bound in ("1.0", "4.0", "6.0", "64.0", "+Inf")] == [1, 2, 3, 3, 4]
    assert shown["rayscribe_batch_size_count", (("model", "tiny.en"),)] == 4
    assert shown["rayscribe_batch_size_sum", (("model", "tiny.en"),)] == 110


def test_every_metric_explains_itself_before_anything_happens() -> None:
    text = exposition({}, {}).decode()

    for metric in (*COUNTED, *ASKED):
        assert f"# HELP {metric.name} " in text
        assert f"# TYPE {metric.name} " in text
    assert f"\n{JOBS_SUBMITTED.name} 0.0\n" in text


def test_series_of_another_version_are_left_out() -> None:
    text = exposition({("rayscribe_batch_size", ("a",)): (1.0, 2.0), ("rayscribe_gone_total", ()): (1.0,)}, {})

    assert samples(text).keys() == samples(exposition({}, {})).keys()


@pytest.mark.parametrize("metric", [*COUNTED, *ASKED], ids=lambda metric: metric.name)
def test_names_keep_to_the_rules_of_prometheus(metric: Counter | Histogram | Gauge) -> None:
    assert re.fullmatch(r"rayscribe_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == isinstance(metric, Counter)
    assert metric.says.endswith(".")
