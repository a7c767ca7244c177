"""The log of a real service: JSON to the last line, with the ids of requests and jobs through all deployments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.running import KEY, Service, config_file, poll, running
from tests.cluster.test_transcription import JFK

HEADERS = {"Authorization": f"Bearer {KEY}"}
REQUEST_ID = "request-of-this-test"

Line = dict[str, Any]


def lines(service: Service) -> list[Line]:
    """All that was printed; a line that is not JSON fails."""
    *whole, _ = service.log.read_text().split("\n")
    return [json.loads(line) for line in whole]


def deployments(service: Service, wanted: set[str], **ids: str) -> set[str] | None:
    """Who logged lines with these ids, once those wanted have."""
    found = {line.get("deployment", "") for line in lines(service) if ids.items() <= line.items()}
    return found if found >= wanted else None


@pytest.mark.slow
def test_ids_of_requests_and_jobs_go_through_all_deployments_and_no_secret_does(tmp_path: Path) -> None:
    config = config_file(tmp_path, log_level="DEBUG", log_format="json")
    with running(config) as service:
        answer = httpx.post(
            f"{service.url}/v1/audio/transcriptions",
            headers={**HEADERS, "x-request-id": REQUEST_ID},
            data={"model": "whisper-1"},
            files={"file": ("hidden.flac", JFK.read_bytes())},
            timeout=120,
        )
        submitted = httpx.post(
            f"{service.url}/jobs", headers=HEADERS, files={"audio": ("hidden.flac", JFK.read_bytes())}, timeout=60
        )
        job_id = submitted.json()["job_id"]

        assert answer.status_code == 200
        for_request = {"Gateway", "Pipeline", "Recognizer"}
        assert poll(lambda: deployments(service, for_request, request_id=REQUEST_ID), deadline_s=30)
        assert poll(
            lambda: deployments(service, {"Coordinator", "Pipeline", "Recognizer"}, job_id=job_id), deadline_s=60
        )
    logged = service.log.read_text()
    assert "ask what you can do" not in logged
    assert "hidden" not in logged
    assert KEY not in logged
    assert str(JFK) not in logged
