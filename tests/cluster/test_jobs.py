"""Durable jobs on a real cluster: submit, follow, cancel, webhook, and a restart in the middle."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse

from tests.cluster.recordings import long_recording
from tests.cluster.running import KEY, Service, config_file, poll, running
from tests.cluster.test_transcription import JFK

UNSAMPLED = {"temperature": "[0.0]"}  # a text that is sampled differs from one time to the next
ENDED = {"done", "failed", "cancelled"}
DONE_S = 240


class Jobs:
    """A client of `/jobs`."""

    def __init__(self, service: Service) -> None:
        self._http = httpx.Client(
            base_url=service.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60, trust_env=False
        )

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def submit(self, recording: Path, **fields: str) -> str:
        with recording.open("rb") as file:
            answer = self._http.post("/jobs", files={"audio": file}, data=UNSAMPLED | fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def get(self, job_id: str) -> dict[str, Any]:
        answer = self._http.get(f"/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def cancel(self, job_id: str) -> dict[str, Any]:
        return dict(self._http.delete(f"/jobs/{job_id}").json())

    def deliveries(self, job_id: str) -> list[dict[str, Any]]:
        return list(self._http.get(f"/jobs/{job_id}/deliveries").json()["data"])

    def follow(self, job_id: str) -> Iterator[dict[str, Any]]:
        with connect_sse(self._http, "GET", f"/jobs/{job_id}/stream", timeout=DONE_S) as events:
            for event in events.iter_sse():
                if event.data:  # this client also gives blocks that only set the time to reconnect
                    yield json.loads(event.data)

    def ended(self, job_id: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            job = self.get(job_id)
            return job if job["status"] in ENDED else None

        return poll(look, deadline_s=DONE_S, every_s=0.5)


@pytest.fixture(scope="module")
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook receiver on this machine: its address, and what came."""
    came: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            came.append({"id": self.headers["webhook-id"], "body": json.loads(body)})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", came
        server.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def recording(folder: Path) -> Path:
    """Two minutes of speech."""
    return long_recording(folder / "long.wav", repeats=8)


@pytest.fixture(scope="module")
def config(folder: Path) -> Path:
    return config_file(folder, outbound={"allow": ["127.0.0.0/8"]})


@pytest.fixture(scope="module")
def jobs(config: Path) -> Iterator[Jobs]:
    with running(config) as service, Jobs(service) as client:
        yield client


def test_job_is_submitted_followed_and_read(jobs: Jobs, folder: Path) -> None:
    job_id = jobs.submit(JFK)

    events = list(jobs.follow(job_id))
    job = jobs.get(job_id)

    assert events[0]["type"] == "queued"
    assert [e["index"] for e in events if e["type"] == "segment"] == list(range(len(job["segments"])))
    assert events[-1]["job"]["status"] == "done"
    assert (job["status"], job["progress"], job["attempts"]) == ("done", 100, 1)
    assert "ask not what your country can do for you" in "".join(s["text"] for s in job["segments"])
    poll(lambda: True if not list((folder / "data" / "media").iterdir()) else None, deadline_s=10)


def test_webhook_is_delivered_when_the_job_ends(jobs: Jobs, receiver: tuple[str, list[dict[str, Any]]]) -> None:
    url, came = receiver

    job_id = jobs.submit(JFK, webhook_url=url)
    hook = poll(lambda: next((c for c in came if c["body"]["id"] == job_id), None), deadline_s=DONE_S)
    delivery = poll(
        lambda: next((d for d in jobs.deliveries(job_id) if d["status"] == "delivered"), None), deadline_s=10
    )

    assert hook["body"]["status"] == "done"
    assert hook["id"] == delivery["id"]


def test_running_job_is_cancelled_and_keeps_what_was_done(jobs: Jobs, recording: Path) -> None:
    job_id = jobs.submit(recording)
    stream = jobs.follow(job_id)
    next(event for event in stream if event["type"] == "segment")

    cancelled = jobs.cancel(job_id)
    last = list(stream)[-1]

    assert cancelled["status"] == "cancelled"
    assert cancelled["segments"]
    assert last["job"]["status"] == "cancelled"
    assert jobs.cancel(job_id)["completed_at"] == cancelled["completed_at"]


@pytest.mark.slow
def test_job_goes_on_after_a_restart_of_everything(jobs: Jobs, recording: Path, tmp_path: Path) -> None:
    undisturbed = jobs.submit(recording)
    expected = jobs.ended(undisturbed)
    config = config_file(tmp_path)

    with running(config) as service, Jobs(service) as before:
        job_id = before.submit(recording)
        next(event for event in before.follow(job_id) if event["type"] == "segment")
    with running(config) as service, Jobs(service) as after:
        job = after.ended(job_id)

    assert (job["status"], job["attempts"]) == ("done", 2)
    assert job["segments"] == expected["segments"]
