"""Durable jobs on a real PostgreSQL, which outlive the process that keeps them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos.evidence import same_speech
from tests.cluster.job_client import JobClient
from tests.cluster.recordings import long_recording
from tests.cluster.running import Service, config_file, poll, running
from tests.cluster.test_transcription import JFK
from tests.cluster.webhook_receiver import receiving
from tests.postgres import running_postgres

AWAY_S = 60  # at most; then a client of the documentation's would give up, too


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("postgres")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    with running_postgres(durable=True) as server:
        if server is None:
            pytest.skip("there are no binaries of PostgreSQL")
        config = config_file(folder, outbound={"allow": ["127.0.0.0/8"]})
        with running(config, RAYSCRIBE_DATABASE_URL=server.url) as started:
            yield started


@pytest.mark.slow
def test_jobs_outlive_the_coordinator_that_is_killed_in_the_middle(service: Service, folder: Path) -> None:
    recording = long_recording(folder / "long.wav", repeats=8)
    with JobClient(service.url, patience_s=AWAY_S) as jobs, receiving() as receiver:
        expected = jobs.ended(jobs.submit(recording))
        job_id = jobs.submit(recording, webhook_url=receiver.url)
        stream = jobs.follow(job_id)
        events = [next(stream)]
        while events[-1]["type"] != "segment":
            events.append(next(stream))
        victims = service.pids("Coordinator")
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        meanwhile = jobs.submit(JFK)
        events += stream
        job, other = jobs.ended(job_id), jobs.ended(meanwhile)
        came = poll(lambda: receiver.of(job_id) or None, deadline_s=AWAY_S)
        listed = jobs.ids()

    assert victims
    assert (job["status"], other["status"]) == ("done", "done")
    assert job["attempts"] == 2, "it was not in the middle"
    assert listed[:2] == [meanwhile, job_id]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["index"] for event in events if event["type"] == "segment"] == list(range(len(job["segments"])))
    assert same_speech(job["segments"], expected["segments"])
    assert {delivery.delivery_id for delivery in came} == {came[0].delivery_id}
    assert not (folder / "data" / "jobs.sqlite3").exists(), "the jobs lay elsewhere"
