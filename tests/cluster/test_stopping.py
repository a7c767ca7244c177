"""SIGTERM in the middle of work: what was accepted ends well, what is refused is told when to come again, jobs go on later."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import httpx
import pytest

from tests.cluster.job_client import JobClient
from tests.cluster.recordings import long_recording
from tests.cluster.running import KEY, Service, config_file, poll, running
from tests.cluster.test_transcription import JFK

CLIENTS = 6


class Clients:
    """Each sends one request after the other until it is refused, as a client does that heeds `Retry-After`."""

    def __init__(self, url: str) -> None:
        self.answers: list[httpx.Response] = []
        self._url = url
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(timeout=120)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as http:
            while True:
                answer = http.post(
                    "/v1/audio/transcriptions", files={"file": JFK.read_bytes()}, data={"model": "whisper-1"}
                )
                self.answers.append(answer)
                if answer.status_code != 200:
                    return


@pytest.mark.slow
def test_service_told_to_stop_under_load_loses_nothing_that_it_accepted(tmp_path: Path) -> None:
    config = config_file(tmp_path)
    recording = long_recording(tmp_path / "long.wav", repeats=24)
    with running(config) as service, JobClient.of(service) as jobs:
        clients = Clients(service.url)
        poll(lambda: True if len(clients.answers) >= CLIENTS else None, deadline_s=120)
        job_id = jobs.submit(recording)
        next(event for event in jobs.follow(job_id) if event["type"] == "segment")
        service.process.send_signal(signal.SIGTERM)
        ready = poll(lambda: _not_ready(service), deadline_s=30, every_s=0.02)
        clients.join()
        code = service.process.wait(timeout=60)
    with running(config) as service, JobClient.of(service) as jobs:
        job = jobs.ended(job_id)

    assert code == 0
    assert ready.json()["status"] == "draining"
    served, refused = _split(clients.answers)
    assert len(refused) == CLIENTS
    assert all("ask not" in answer.json()["text"] for answer in served)
    assert {answer.status_code for answer in refused} == {503}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
    assert (job["status"], job["attempts"]) == ("done", 2)


def _split(answers: list[httpx.Response]) -> tuple[list[httpx.Response], list[httpx.Response]]:
    return [a for a in answers if a.status_code == 200], [a for a in answers if a.status_code != 200]


def _not_ready(service: Service) -> httpx.Response | None:
    answer = httpx.get(f"{service.url}/health/ready", timeout=30)
    return answer if answer.status_code == 503 else None
