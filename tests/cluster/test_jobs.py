"""Durable jobs on a real cluster: submit, follow, cancel, webhook, and a restart in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos.evidence import same_speech
from tests.cluster.file_server import serving_files
from tests.cluster.job_client import LONGEST_S, JobClient
from tests.cluster.recordings import long_recording
from tests.cluster.running import Service, config_file, poll, running, stop
from tests.cluster.suspended import CHUNK_BY_CHUNK, suspended
from tests.cluster.test_transcription import JFK
from tests.cluster.webhook_receiver import receiving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def recording(folder: Path) -> Path:
    """Two minutes of speech."""
    return long_recording(folder / "long.wav", repeats=8)


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    config = config_file(folder, outbound={"allow": ["127.0.0.0/8"]}, recognizer=CHUNK_BY_CHUNK)
    with running(config) as started:
        yield started


@pytest.fixture(scope="module")
def jobs(service: Service) -> Iterator[JobClient]:
    with JobClient.of(service) as client:
        yield client


def test_job_is_submitted_followed_and_read(jobs: JobClient, folder: Path) -> None:
    job_id = jobs.submit(JFK)

    events = list(jobs.follow(job_id))
    job = jobs.get(job_id)

    assert events[0]["type"] == "queued"
    assert [e["index"] for e in events if e["type"] == "segment"] == list(range(len(job["segments"])))
    assert events[-1]["job"]["status"] == "done"
    assert (job["status"], job["progress"], job["attempts"]) == ("done", 100, 1)
    assert "ask not what your country can do for you" in "".join(s["text"] for s in job["segments"])
    poll(lambda: True if not list((folder / "data" / "media").iterdir()) else None, deadline_s=60)


def test_job_with_a_url_is_fetched_and_read(jobs: JobClient) -> None:
    with serving_files(JFK.parent) as files:
        job = jobs.ended(jobs.submit_url(f"{files}/{JFK.name}"))

    assert job["status"] == "done"
    assert job["size_bytes"] == JFK.stat().st_size
    assert "ask not what your country can do for you" in "".join(s["text"] for s in job["segments"])


def test_url_that_has_nothing_is_a_failed_job_that_says_so(jobs: JobClient) -> None:
    with serving_files(JFK.parent) as files:
        job = jobs.ended(jobs.submit_url(f"{files}/missing.flac"))

    assert (job["status"], job["error"]["code"]) == ("failed", "invalid_audio")
    assert "404" in job["error"]["message"]


def test_webhook_is_delivered_when_the_job_ends(jobs: JobClient) -> None:
    with receiving() as receiver:
        job_id = jobs.submit(JFK, webhook_url=receiver.url)
        came = poll(lambda: receiver.of(job_id) or None, deadline_s=LONGEST_S)
        delivery = poll(
            lambda: next((d for d in jobs.deliveries(job_id) if d["status"] == "delivered"), None), deadline_s=60
        )

    assert came[0].body["status"] == "done"
    assert came[0].delivery_id == delivery["id"]


def test_running_job_is_cancelled_and_keeps_what_was_done(service: Service, jobs: JobClient, recording: Path) -> None:
    with suspended(service.pids("Recognizer")) as walking:
        job_id = jobs.submit(recording)
        stream = jobs.follow(job_id)
        walking.walk_until(lambda: jobs.get(job_id)["segments"] or None)
        cancelled = jobs.cancel(job_id)
    last = list(stream)[-1]

    assert cancelled["status"] == "cancelled"
    assert cancelled["segments"]
    assert last["job"]["status"] == "cancelled"
    assert jobs.cancel(job_id)["completed_at"] == cancelled["completed_at"]


@pytest.mark.slow
def test_job_goes_on_after_a_restart_of_everything(jobs: JobClient, recording: Path, tmp_path: Path) -> None:
    expected = jobs.ended(jobs.submit(recording))
    config = config_file(tmp_path, recognizer=CHUNK_BY_CHUNK)

    with running(config) as first, JobClient.of(first) as before, suspended(first.pids("Recognizer")) as walking:
        job_id = before.submit(recording)
        walking.walk_until(lambda: before.get(job_id)["segments"] or None)
        stop(first.process)
    with running(config) as service, JobClient.of(service) as after:
        job = after.ended(job_id)

    assert (job["status"], job["attempts"]) == ("done", 2)
    assert same_speech(job["segments"], expected["segments"])
