"""The disk with the data gets full under a running service: a file system of its own, because a full one harms others."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.file_server import serving_files
from tests.cluster.job_client import ENDED, JobClient
from tests.cluster.recordings import long_recording
from tests.cluster.running import KEY, Service, config_file, poll, running
from tests.cluster.test_transcription import JFK

DISK_BYTES = 64 * 1024 * 1024
NOTICED_S = 60
RECOVERED_S = 90


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A tmpfs, whose errors are the kernel's own; skips where nothing may be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "rayscribe-test", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_disk(tmp_path_factory.mktemp("disk") / "data") as folder:
        yield folder


@pytest.fixture(scope="module")
def service(disk: Path) -> Iterator[Service]:
    with running(config_file(disk.parent, outbound={"allow": ["127.0.0.0/8"]})) as started:
        yield started


def fill(disk: Path) -> Path:
    """A file that takes all that is left."""
    path, block = disk / "filler", bytes(os.statvfs(disk).f_bsize)
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(block)
    assert os.statvfs(disk).f_bavail == 0
    return path


def post(service: Service, **body: Any) -> httpx.Response:
    return httpx.post(f"{service.url}/jobs", headers={"Authorization": f"Bearer {KEY}"}, timeout=30, **body)


def readiness(service: Service) -> httpx.Response:
    return httpx.get(f"{service.url}/health/ready", timeout=30)


@pytest.mark.slow
def test_full_disk_is_said_and_survived(service: Service, disk: Path, tmp_path: Path) -> None:
    with JobClient(service.url, patience_s=RECOVERED_S) as jobs, serving_files(JFK.parent) as files:
        accepted = [jobs.submit(long_recording(tmp_path / "long.wav", repeats=8))]
        next(event for event in jobs.follow(accepted[0]) if event["type"] == "segment")
        filler = fill(disk)
        interrupted = jobs.get(accepted[0])

        upload = post(service, files={"audio": JFK.read_bytes()})
        url = {"url": f"{files}/{JFK.name}"}  # of which nothing is kept but the row

        def refused() -> httpx.Response | None:
            answer = post(service, json=url)
            if answer.status_code == 202:
                accepted.append(answer.json()["job_id"])
                return None
            return answer

        row = poll(refused, deadline_s=NOTICED_S, every_s=0.01)
        unready = poll(lambda: _if_status(readiness(service), 503), deadline_s=NOTICED_S)
        filler.unlink()
        poll(lambda: _if_status(readiness(service), 200), deadline_s=RECOVERED_S)
        accepted.append(jobs.submit(JFK))
        ended = [jobs.ended(job_id) for job_id in accepted]
        listed = jobs.ids()

    assert interrupted["status"] not in ENDED, "the disk was not full in the middle of anything"
    assert (upload.status_code, _code(upload)) == (503, "media_unavailable")
    assert "No space left on device" in upload.json()["error"]["message"]
    assert (row.status_code, _code(row)) == (503, "store_unavailable")
    assert "is full: free some space" in row.json()["error"]["message"]
    assert {"retry-after"} <= upload.headers.keys() & row.headers.keys()
    assert unready.json()["status"] == "unavailable"
    assert listed == accepted[::-1]
    assert [(job["status"], job["error"]) for job in ended] == [("done", None)] * len(accepted)


def _if_status(answer: httpx.Response, status: int) -> httpx.Response | None:
    return answer if answer.status_code == status else None


def _code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])
