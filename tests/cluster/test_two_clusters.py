"""Two whole services on one PostgreSQL and one bucket, as during an upgrade on KubeRay: the one replaces the other, and dies."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.chaos.faults import kill_everything
from tests.cluster.job_client import ENDED, JobClient
from tests.cluster.recordings import long_recording
from tests.cluster.running import Service, config_file, poll, running
from tests.cluster.webhook_receiver import receiving
from tests.postgres import running_postgres
from tests.s3 import BUCKET, client_of, running_s3

PATIENCE_S = 90  # a new cluster has the lead in ten seconds, an old one has it back in half a minute


@pytest.fixture(scope="module")
def shared() -> Iterator[Mapping[str, str]]:
    """The variables with which both services reach one database and one bucket."""
    with running_postgres() as postgres, running_s3() as variables:
        if postgres is None:
            pytest.skip("there are no binaries of PostgreSQL")
        with closing(client_of(variables)) as client:
            client.create_bucket(Bucket=BUCKET)
        yield {**variables, "RAYSCRIBE_DATABASE_URL": postgres.url}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_jobs_through_both_doors_end_once_while_one_cluster_replaces_another_and_dies(
    shared: Mapping[str, str], tmp_path: Path
) -> None:
    recording = long_recording(tmp_path / "long.wav", repeats=2)
    job_ids: list[str] = []
    with receiving() as receiver, running(_config(tmp_path / "old"), **shared) as old:

        def submit_through(*doors: Service) -> None:
            for door in doors:
                with JobClient(door.url, patience_s=PATIENCE_S) as jobs:
                    job_ids.append(jobs.submit(recording, webhook_url=receiver.url))

        submit_through(old)
        with running(_config(tmp_path / "new"), **shared) as new:
            submit_through(old, new)
            _wait_for_epoch(2, new)
            submit_through(old, new)
            _kill_coordinator(new)
            _wait_for_epoch(3, old, new)  # on a very slow machine the old one has it before another starts
            submit_through(new)
            kill_everything(new.process.pid)
        submit_through(old)
        with JobClient.of(old) as jobs:
            told = {job_id: list(jobs.follow(job_id)) for job_id in job_ids}
            listed = jobs.ids()
        poll(lambda: all(receiver.of(job_id) for job_id in job_ids) or None, deadline_s=PATIENCE_S)

    assert sorted(listed) == sorted(job_ids)
    for job_id, events in told.items():
        assert [event["seq"] for event in events] == [*range(1, len(events) + 1)]
        assert [event["type"] for event in events if event["type"] in ENDED] == ["done"]
        assert len({came.delivery_id for came in receiver.of(job_id)}) == 1
    assert _epochs(old)[-1] == max(_epochs(old) + _epochs(new)) <= 5, "the lead went back and forth"


def _config(folder: Path) -> Path:
    """With directories of its own, as pods have."""
    folder.mkdir()
    return config_file(
        folder,
        media={"store": f"s3://{BUCKET}/rayscribe"},
        jobs={"max_running": 2},
        outbound={"allow": ["127.0.0.0/8"]},
    )


def _epochs(service: Service) -> list[int]:
    """In which it led."""
    return [int(epoch) for epoch in re.findall(r"leads, in epoch (\d+)", service.log.read_text(errors="replace"))]


def _wait_for_epoch(epoch: int, *services: Service) -> None:
    """Until one of them leads in it."""
    poll(lambda: any(epoch in _epochs(service) for service in services) or None, deadline_s=PATIENCE_S)


def _kill_coordinator(service: Service) -> None:
    victims = service.pids("Coordinator")
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    assert victims
