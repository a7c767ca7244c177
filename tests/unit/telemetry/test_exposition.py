"""Counts and gauges in Prometheus' text format."""

from __future__ import annotations

import re
from itertools import product

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve_app.jobs.job import Status
from serve_app.jobs.webhooks import OUTCOMES
from serve_app.telemetry.exposition import exposition
from serve_app.telemetry.metrics import (
    ASKED,
    AUDIO_SECONDS,
    BATCH_SIZE,
    COORDINATOR_UP,
    COUNTED,
    HTTP_REQUESTS,
    JOBS,
    JOBS_ENDED,
    JOBS_SUBMITTED,
    TRANSCRIPTIONS,
    WEBHOOK_ATTEMPTS,
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


@pytest.mark.parametrize(
    ("counter", "labels", "words"),
    [
        (JOBS_ENDED, ["state"], [(status,) for status in Status if status.ended]),
        (WEBHOOK_ATTEMPTS, ["outcome"], [(outcome,) for outcome in OUTCOMES.values()]),
        (AUDIO_SECONDS, ["kind"], [("request",), ("job",)]),
        (TRANSCRIPTIONS, ["kind", "outcome"], [*product(("request", "job"), ("done", "failed", "cancelled"))]),
    ],
)
def test_what_has_not_happened_yet_is_a_zero_under_each_label_that_is_known(
    counter: Counter, labels: list[str], words: list[tuple[str, ...]]
) -> None:
    """An alert on `increase()` would be deaf to the first samples of a series that does not begin there."""
    shown = samples(exposition({(counter.name, words[-1]): (3.0,)}, {}))
    its = {of: value for (name, of), value in shown.items() if name == counter.name}

    assert its == {tuple(zip(labels, of, strict=True)): 3.0 if of == words[-1] else 0.0 for of in words}


def test_counts_that_nobody_has_said_are_no_zeros() -> None:
    """They would seem to grow by all that ever was, once somebody says them."""
    assert samples(exposition(None, {})) == {}


def test_series_of_another_version_are_left_out() -> None:
    text = exposition({("rayscribe_batch_size", ("a",)): (1.0, 2.0), ("rayscribe_gone_total", ()): (1.0,)}, {})

    assert samples(text).keys() == samples(exposition({}, {})).keys()


@pytest.mark.parametrize("metric", [*COUNTED, *ASKED], ids=lambda metric: metric.name)
def test_names_keep_to_the_rules_of_prometheus(metric: Counter | Histogram | Gauge) -> None:
    assert re.fullmatch(r"rayscribe_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == isinstance(metric, Counter)
    assert metric.says.endswith(".")
