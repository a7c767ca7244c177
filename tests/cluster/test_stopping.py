"""SIGTERM in the middle of work: what was accepted ends well, what is refused is told when to come again, jobs go on later."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.cluster.job_client import JobClient
from tests.cluster.recordings import long_recording
from tests.cluster.running import KEY, Service, config_file, poll, running
from tests.cluster.suspended import CHUNK_BY_CHUNK, suspended
from tests.cluster.test_transcription import JFK

CLIENTS = 6


@pytest.mark.slow
def test_service_told_to_stop_under_load_loses_nothing_that_it_accepted(tmp_path: Path) -> None:
    config = config_file(tmp_path, recognizer=CHUNK_BY_CHUNK)
    recording = long_recording(tmp_path / "long.wav", repeats=8)
    with running(config) as service, JobClient.of(service) as jobs, ThreadPoolExecutor(CLIENTS) as clients:
        with suspended(service.pids("Recognizer")) as walking:
            job_id = jobs.submit(recording)
            walking.walk_until(lambda: jobs.get(job_id)["segments"] or None)
            accepted = [clients.submit(_transcribe, service) for _ in range(CLIENTS)]
            poll(lambda: True if _in_progress(service) >= CLIENTS else None, deadline_s=60)
            service.process.send_signal(signal.SIGTERM)
            ready = poll(lambda: _not_ready(service), deadline_s=30)
            refused = [_transcribe(service) for _ in range(CLIENTS)]
        served = [answer.result() for answer in accepted]
        code = service.process.wait(timeout=60)
    with running(config) as service, JobClient.of(service) as jobs:
        job = jobs.ended(job_id)

    assert code == 0
    assert ready.json()["status"] == "draining"
    assert {answer.status_code for answer in served} == {200}
    assert all("ask not" in answer.json()["text"] for answer in served)
    assert {answer.status_code for answer in refused} == {503}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
    assert (job["status"], job["attempts"]) == ("done", 2)


def _transcribe(service: Service) -> httpx.Response:
    return httpx.post(
        f"{service.url}/v1/audio/transcriptions",
        headers={"Authorization": f"Bearer {KEY}"},
        files={"file": JFK.read_bytes()},
        data={"model": "whisper-1"},
        timeout=60,
    )


def _in_progress(service: Service) -> int:
    return int(httpx.get(f"{service.url}/health", timeout=30).json()["queue_depth"])


def _not_ready(service: Service) -> httpx.Response | None:
    answer = httpx.get(f"{service.url}/health/ready", timeout=30)
    return answer if answer.status_code == 503 else None
