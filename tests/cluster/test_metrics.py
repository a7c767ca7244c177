"""What all the processes of a real service count, at one address."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.running import Service, config_file, poll, running
from tests.cluster.suspended import suspended
from tests.cluster.test_transcription import JFK, MODEL
from tests.promtool import promtool

Look = Callable[[], float | None]


def metric(service: Service, name: str, **labels: str) -> float | None:
    """The sum of the series that have these labels; None if there is none."""
    answer = httpx.get(f"{service.url}/metrics", timeout=30)
    assert answer.status_code == 200
    samples = [s for family in text_string_to_metric_families(answer.text) for s in family.samples]
    found = [s.value for s in samples if s.name == f"rayscribe_{name}" and labels.items() <= s.labels.items()]
    return sum(found) if found else None


def above(floor: float, service: Service, name: str, **labels: str) -> Look:
    def look() -> float | None:
        value = metric(service, name, **labels)
        return value if value is not None and value > floor else None

    return look


def test_a_transcription_is_counted_by_each_process_that_worked_on_it(service: Service, client: OpenAI) -> None:
    counted = {
        "http_requests_total": {"route": "/v1/audio/transcriptions", "status": "200"},
        "audio_seconds_total": {"kind": "request"},
        "chunks_total": {"model": "tiny.en"},
        "batch_size_count": {"model": "tiny.en"},
    }
    before = {name: metric(service, name, **labels) or 0.0 for name, labels in counted.items()}

    client.audio.transcriptions.create(file=JFK, model=MODEL)

    for name, labels in counted.items():
        assert poll(above(before[name], service, name, **labels), deadline_s=30)
    assert metric(service, "model_load_seconds_count", model="tiny.en", source="disk")
    # A Coordinator that a busy machine keeps for a second is not up in that scrape.
    assert poll(above(0, service, "coordinator_up"), deadline_s=30) == 1
    assert poll(above(0, service, "job_store_up"), deadline_s=30) == 1


def test_prometheus_finds_nothing_wrong_with_what_a_real_service_shows(service: Service, client: OpenAI) -> None:
    client.audio.transcriptions.create(file=JFK, model=MODEL)
    poll(above(0, service, "batch_size_count"), deadline_s=30)

    shown = httpx.get(f"{service.url}/metrics", timeout=30)

    assert promtool("check", "metrics", given=shown.content) == ""


@pytest.mark.slow
def test_totals_outlive_the_processes_that_counted(tmp_path: Path) -> None:
    with running(config_file(tmp_path)) as service, service.client(timeout=120) as client:
        client.audio.transcriptions.create(file=JFK, model=MODEL)
        first = poll(above(0, service, "chunks_total"), deadline_s=30)

        [dead] = service.pids("Recognizer")
        os.kill(dead, signal.SIGKILL)
        client.audio.transcriptions.create(file=JFK, model=MODEL)

        assert poll(above(first, service, "chunks_total"), deadline_s=60) == 2 * first


@pytest.mark.slow
def test_a_scrape_is_answered_while_the_coordinator_is_away(tmp_path: Path) -> None:
    with running(config_file(tmp_path)) as service, service.client(timeout=120) as client:
        client.audio.transcriptions.create(file=JFK, model=MODEL)
        chunks = poll(above(0, service, "chunks_total"), deadline_s=30)

        [dead] = service.pids("Coordinator")
        with suspended(service.controller()):  # or another one is there before this is seen
            os.kill(dead, signal.SIGKILL)

            poll(lambda: True if metric(service, "coordinator_up") == 0 else None, deadline_s=30)
            assert metric(service, "chunks_total") in (chunks, None)
        assert poll(above(0, service, "coordinator_up"), deadline_s=60) == 1
