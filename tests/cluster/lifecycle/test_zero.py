"""To zero and back, over HTTP and with a real model."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import psutil
import pytest

from tests.cluster.job_client import JobClient
from tests.cluster.lifecycle.conftest import ZERO_AFTER_S, goes_to_zero
from tests.cluster.lifecycle.model_client import LONGEST_S, RECORDING, ModelClient
from tests.cluster.running import Service, poll
from tests.cluster.suspended import suspended

ROUNDS = 20
PINNED_S = 2 * ZERO_AFTER_S
LEFT_BEHIND_BYTES = 16 * 1024 * 1024  # of about 200 MiB that each process takes; measured: up to 2 MiB


@pytest.mark.usefixtures("at_zero")
def test_request_at_zero_brings_a_replica_up_and_is_answered(lazy_service: Service, models: ModelClient) -> None:
    with ThreadPoolExecutor(1) as pool, suspended(lazy_service.controller()):
        text = pool.submit(models.text)
        models.becomes("loading")

    assert text.result().strip()
    assert len(lazy_service.pids("Recognizer")) == 1


@pytest.mark.usefixtures("at_zero")
def test_many_requests_at_zero_bring_up_one_replica_and_one_model(lazy_service: Service, models: ModelClient) -> None:
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda _: models.text(), range(8)))

    assert len(set(texts)) == 1
    assert len(lazy_service.pids("Recognizer")) == 1


@pytest.mark.usefixtures("at_zero")
def test_job_at_zero_says_that_it_waits_for_its_model_and_is_done(lazy_service: Service) -> None:
    with JobClient.of(lazy_service) as jobs:
        with suspended(lazy_service.controller()):
            job_id = jobs.submit(RECORDING)
            waited_for = poll(lambda: jobs.get(job_id)["waiting_for"], deadline_s=LONGEST_S)
        done = poll(lambda: job if (job := jobs.get(job_id))["status"] == "done" else None, deadline_s=LONGEST_S)

    assert waited_for == "model"
    assert done["waiting_for"] is None


def test_idle_model_is_unloaded_before_its_replica_goes(lazy_service: Service, models: ModelClient) -> None:
    models.text()
    models.becomes("unloaded")

    assert models.status()["reason"] == "idle", "it went with its replica"
    goes_to_zero(lazy_service)


def test_model_that_idleness_unloaded_is_loaded_by_the_next_request(models: ModelClient) -> None:
    models.text()
    models.becomes("unloaded")

    with models.events() as events:
        next(events)
        text = models.text()
        loaded = next(event for event in events if event["state"] == "ready")

    assert text.strip()
    assert loaded["reason"] == "loaded"


@pytest.mark.usefixtures("at_zero")
def test_nothing_that_is_watched_wakes_a_replica(lazy_service: Service, models: ModelClient) -> None:
    for _ in range(20):
        models.status()
    with models.events() as events:
        next(events)

    assert lazy_service.pids("Recognizer") == []
    assert models.state() == "unloaded"


@pytest.mark.usefixtures("at_zero")
def test_pin_keeps_the_model_from_idleness_and_its_replica_from_zero(
    lazy_service: Service, models: ModelClient
) -> None:
    loading = models.load(ttl_s=PINNED_S).json()
    models.becomes("ready")
    ready = models.status()

    with models.events() as events:
        gone = next(event for event in events if event["state"] == "unloaded")

    assert loading["state"] == "loading"
    assert ready["pinned"]
    assert gone["reason"] == "idle"
    assert instant(gone["at"]) - instant(ready["since"]) >= timedelta(seconds=PINNED_S)
    assert len(lazy_service.pids("Recognizer")) == 1
    goes_to_zero(lazy_service)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_times_to_zero_and_back_lose_no_request_and_no_memory(
    lazy_service: Service, models: ModelClient
) -> None:
    texts, used, processes = [], [], those_that_stay(lazy_service)
    for round_ in range(ROUNDS):
        texts.append(models.text())
        if round_ % 2:
            goes_to_zero(lazy_service)
        else:  # the next request comes while the last replica says goodbye
            poll(lambda: None if models.status()["replicas"] else True, deadline_s=LONGEST_S)
        used.append({name: process.memory_info().rss for name, process in processes.items()})

    assert len(set(texts)) == 1
    assert all(texts)
    assert len(processes) == 4
    for name in processes:
        # The first rounds fill caches.
        assert used[-1][name] - used[4][name] < LEFT_BEHIND_BYTES, [after[name] for after in used]


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def those_that_stay(service: Service) -> dict[str, psutil.Process]:
    """Processes by what they are."""
    found = {}
    for child in psutil.Process(service.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            command = " ".join(child.cmdline())
            for name in ("ServeController", ":Coordinator", ":Gateway", ":Pipeline"):
                if name in command:
                    found[name] = child
    return found
