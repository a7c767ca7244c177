"""Loads and unloads that are asked for, over HTTP and with a real model."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.job_client import JobClient
from tests.cluster.lifecycle.model_client import LONGEST_S, RECORDING, ModelClient
from tests.cluster.recordings import long_recording
from tests.cluster.running import Service, config_file, free_port, poll, running
from tests.cluster.suspended import suspended

NEVER = -1


@pytest.fixture
def pinned(models: ModelClient) -> Iterator[None]:
    """The model is in memory, and idleness leaves it alone."""
    models.load(ttl_s=NEVER)
    models.becomes("ready")
    yield
    models.unload()
    models.becomes("unloaded")


@pytest.fixture(scope="module")
def two_minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return long_recording(tmp_path_factory.mktemp("audio") / "long.wav", repeats=8)


@pytest.fixture(scope="module")
def eight_minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough to be in the middle of when an order comes, however busy the machine is."""
    return long_recording(tmp_path_factory.mktemp("audio") / "longer.wav", repeats=32)


@pytest.fixture
def jobs(lazy_service: Service) -> Iterator[JobClient]:
    with JobClient.of(lazy_service) as client:
        yield client


def run_to(state: str, events: Iterator[dict[str, Any]]) -> list[tuple[str, str]]:
    """States and reasons up to the first event of a state that a replica tells."""
    seen = []
    for event in events:
        seen.append((event["state"], event["reason"]))
        if event["state"] == state and event["replica"]:
            return seen
    raise AssertionError("the stream ended")


def begun(job: dict[str, Any]) -> dict[str, Any] | None:
    return job if job["segments"] else None


def done(job: dict[str, Any]) -> dict[str, Any] | None:
    assert job["status"] != "failed", job["error"]
    return job if job["status"] == "done" else None


@pytest.mark.usefixtures("at_zero")
def test_two_subscribers_see_a_load_and_an_unload_in_order(models: ModelClient) -> None:
    with models.events() as first, models.events() as second:
        begin = next(first), next(second)
        models.load(ttl_s=NEVER)
        loaded = run_to("ready", first), run_to("ready", second)
        models.unload()
        freed = run_to("unloaded", first), run_to("unloaded", second)

    assert [event["state"] for event in begin] == ["unloaded", "unloaded"]
    assert loaded[0] == loaded[1] == [("loading", "load"), ("loading", "load"), ("ready", "loaded")]
    assert freed[0] == freed[1]
    assert freed[0][-1] == ("unloaded", "unload")


@pytest.mark.usefixtures("at_zero")
def test_many_loads_at_once_are_one(lazy_service: Service, models: ModelClient) -> None:
    with models.events() as events:
        next(events)
        with suspended(lazy_service.controller()), ThreadPoolExecutor(8) as pool:
            states = list(pool.map(lambda _: models.load(ttl_s=NEVER).json()["state"], range(8)))
        seen = run_to("ready", events)
        again = models.load(ttl_s=NEVER)

    assert set(states) == {"loading"}
    assert [state for state, _ in seen].count("ready") == 1
    assert again.status_code == 200
    assert len(lazy_service.pids("Recognizer")) == 1
    models.unload()


@pytest.mark.usefixtures("at_zero")
def test_unload_at_zero_has_nothing_to_do(lazy_service: Service, models: ModelClient) -> None:
    unloaded = models.unload()

    assert unloaded.status_code == 200
    assert unloaded.json()["state"] == "unloaded"
    assert lazy_service.pids("Recognizer") == []


@pytest.mark.usefixtures("at_zero")
def test_unload_before_a_replica_is_up_ends_the_load(lazy_service: Service, models: ModelClient) -> None:
    with suspended(lazy_service.controller()):
        models.load(ttl_s=NEVER)
        unloaded = models.unload()

    assert unloaded.json()["state"] == "unloaded"
    assert not unloaded.json()["pinned"]


@pytest.mark.usefixtures("pinned")
def test_load_right_after_an_unload_wins(models: ModelClient) -> None:
    with models.events() as events:
        next(events)
        models.unload()
        models.load(ttl_s=NEVER)
        run_to("unloaded", events)
        run_to("ready", events)
    models.becomes("ready")

    assert models.status()["pinned"]


@pytest.mark.usefixtures("pinned")
def test_unload_during_a_job_lets_it_end_first(
    lazy_service: Service, models: ModelClient, jobs: JobClient, two_minutes: Path
) -> None:
    with suspended(lazy_service.pids("Recognizer")) as walking:
        job_id = jobs.submit(two_minutes)
        walking.walk_until(lambda: models.status()["in_flight"] or None)
        answer = models.unload()
        before = jobs.get(job_id)["status"]
    ended = poll(lambda: done(jobs.get(job_id)), deadline_s=180)
    models.becomes("unloaded")

    assert answer.status_code == 202
    assert (before, ended["attempts"]) == ("running", 1)


@pytest.mark.usefixtures("pinned")
def test_unload_by_force_queues_the_job_again_and_loses_nothing(
    lazy_service: Service, models: ModelClient, jobs: JobClient, eight_minutes: Path
) -> None:
    expected = jobs.submit(eight_minutes)
    text = _text(poll(lambda: done(jobs.get(expected)), deadline_s=180))
    with suspended(lazy_service.pids("Recognizer")) as walking:
        job_id = jobs.submit(eight_minutes)
        walking.walk_until(lambda: begun(jobs.get(job_id)))
        models.unload(force=True)
    ended = poll(lambda: done(jobs.get(job_id)), deadline_s=180)

    assert ended["attempts"] > 1
    assert _text(ended) == text


@pytest.mark.usefixtures("pinned")
def test_new_coordinator_learns_what_is_loaded(
    lazy_service: Service, models: ModelClient, jobs: JobClient, two_minutes: Path
) -> None:
    [before] = models.status()["replicas"]
    job_id = jobs.submit(two_minutes)
    poll(lambda: begun(jobs.get(job_id)), deadline_s=60)
    [pid] = lazy_service.pids("Coordinator")

    os.kill(pid, signal.SIGKILL)
    poll(lambda: True if lazy_service.pids("Coordinator") not in ([], [pid]) else None, deadline_s=60)
    [learned] = poll(lambda: models.status()["replicas"] or None, deadline_s=60)
    poll(lambda: done(jobs.get(job_id)), deadline_s=180)

    assert learned["replica"] == before["replica"]
    assert learned["state"] in ("ready", "busy")


@pytest.mark.usefixtures("pinned")
def test_model_of_a_killed_replica_is_loaded_again_because_it_is_pinned(
    lazy_service: Service, models: ModelClient
) -> None:
    [pid] = lazy_service.pids("Recognizer")
    [before] = models.status()["replicas"]

    os.kill(pid, signal.SIGKILL)

    def replaced() -> bool | None:
        ids = {its["replica"] for its in models.status()["replicas"] if its["state"] == "ready"}
        return True if ids and before["replica"] not in ids else None

    poll(replaced, deadline_s=LONGEST_S)


@pytest.mark.usefixtures("pinned")
def test_recognition_goes_on_while_the_coordinator_is_away(lazy_service: Service, models: ModelClient) -> None:
    [pid] = lazy_service.pids("Coordinator")

    os.kill(pid, signal.SIGSTOP)
    try:
        text = models.text()
    finally:
        os.kill(pid, signal.SIGCONT)

    assert text.strip()


def test_models_are_steered_although_the_job_store_cannot_be_opened(tmp_path: Path) -> None:
    config = config_file(tmp_path, preload=[], recognizer={"min_replicas": 0})
    away = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    with running(config, RAYSCRIBE_DATABASE_URL=away) as service, ModelClient(service) as models:
        models.load(ttl_s=NEVER)
        models.becomes("ready")
        with JobClient.of(service) as jobs, pytest.raises(AssertionError, match="store_unavailable"):
            jobs.submit(RECORDING)


def _text(job: dict[str, Any]) -> str:
    return "".join(segment["text"] for segment in job["segments"])
