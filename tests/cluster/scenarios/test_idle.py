"""The scenarios of the replaced system's `test_idle_timeout.sh`, with three seconds for its five."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cluster.job_client import JobClient
from tests.cluster.lifecycle.model_client import RECORDING
from tests.cluster.scenarios.lifecycle_client import (
    UNLOAD_AFTER_S,
    A,
    B,
    LifecycleClient,
    begun,
    changes,
    done,
    up_to,
)

UNLOAD_AFTER = timedelta(seconds=UNLOAD_AFTER_S)
FREED = [("draining", "idle"), ("unloaded", "idle")]


def test_idle_model_is_unloaded_and_its_event_says_why(models: LifecycleClient) -> None:
    with models.news() as news:
        models.load(A, ttl_s=0)
        seen = up_to("unloaded", A, news)

    assert changes(seen, A)[-2:] == FREED
    assert models.status(A)["reason"] == "idle"
    assert _at(seen[-1]) - _at(next(event for event in seen if event["state"] == "ready")) >= UNLOAD_AFTER


@pytest.mark.slow
def test_each_use_of_a_model_begins_its_idle_time_anew(models: LifecycleClient) -> None:
    with models.news() as news:
        models.is_loaded(A)  # pinned, because a busy machine may take longer than the idle time to load the other one
        models.is_loaded(B, ttl_s=0)
        models.load(A, ttl_s=0)
        enough = time.monotonic() + 2 * UNLOAD_AFTER_S
        while time.monotonic() < enough:
            assert models.text(A)
            last_use = datetime.now(UTC)
        seen = up_to("unloaded", A, news)
    freed = [event for event in seen if event["state"] not in ("loading", "ready")]

    assert [event["model"] for event in freed] == [B, B, A, A]
    assert changes(freed, A) == changes(freed, B) == FREED
    assert _at(seen[-1]) >= last_use + UNLOAD_AFTER - timedelta(seconds=1)  # the answer comes after the last chunk


def test_model_stays_while_a_job_runs_for_longer_than_its_idle_time(
    models: LifecycleClient, jobs: JobClient, eight_minutes: Path
) -> None:
    with models.news() as news:
        models.is_loaded(A)  # pinned until the job has it, for which a busy machine may take longer than the idle time
        models.load(B, ttl_s=0)
        job_id = jobs.submit(eight_minutes, model=A)
        begun(jobs, job_id)
        models.load(A, ttl_s=0)
        job = done(jobs, job_id)
        seen = up_to("unloaded", A, news)

    assert job["attempts"] == 1
    assert changes(seen, A)[-2:] == changes(seen, B)[-2:] == FREED
    assert _at(seen[-1]) >= datetime.fromisoformat(job["completed_at"])
    assert datetime.fromisoformat(job["completed_at"]) - datetime.fromisoformat(job["started_at"]) > UNLOAD_AFTER


@pytest.mark.slow
def test_model_that_idleness_unloaded_is_loaded_again_by_a_job(models: LifecycleClient, jobs: JobClient) -> None:
    with models.news() as news:
        models.load(A, ttl_s=0)
        up_to("unloaded", A, news)

    job = done(jobs, jobs.submit(RECORDING, model=A))

    assert job["segments"]


def test_pinned_model_says_until_when_and_has_no_time_to_unload(models: LifecycleClient) -> None:
    models.is_loaded(A)
    pinned = models.status(A)
    models.load(A, ttl_s=60)
    held = models.status(A)

    assert pinned["pinned"]
    assert pinned["pinned_until"] is None
    assert held["pinned_until"]
    assert {its["unloads_in_seconds"] for its in pinned["replicas"]} == {None}


def _at(event: dict[str, str]) -> datetime:
    return datetime.fromisoformat(event["at"])
