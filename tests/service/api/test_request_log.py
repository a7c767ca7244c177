"""What is logged of requests: whose they are and how they ended, and nothing of what they carried."""

from __future__ import annotations

import dataclasses
import json
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve_app.api.application import Services
from serve_app.api.auth import KeyRing
from serve_app.settings import AuthSettings
from serve_app.telemetry import configure_logging
from serve_app.testing import SENTENCES
from tests.service.api.conftest import WAV, client_of
from tests.service.api.job_house import House, submitted


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger("serve_app")
    before = root.level, root.propagate, [*root.handlers]
    yield
    root.level, root.propagate, root.handlers = before


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


async def test_each_request_is_a_line_with_its_id(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "json")
    async with client_of(services) as http:
        await http.get("/v1/models", headers={"x-request-id": "mine"})
        await http.get("/health")
        await http.get("/metrics")

    (line,) = lines(capsys)
    assert (line["request_id"], line["message"]) == ("mine", "GET /v1/models 200 in 0.000 s")


async def test_what_is_polled_is_a_line_only_when_it_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with House(tmp_path).client() as http:
        job_id = await submitted(http)
        configure_logging("DEBUG", "json")
        polled = ["/health", "/health/live", "/health/ready", "/metrics", "/model/status", f"/jobs/{job_id}"]
        answers = [await http.get(path) for path in polled]
        await http.get(f"/jobs/{uuid.uuid4()}")
        await http.delete(f"/jobs/{job_id}")

    levels = [line["level"] for line in lines(capsys) if line["logger"] == "serve_app.api.counting"]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert levels == ["DEBUG"] * 6 + ["INFO"] * 2


async def test_a_request_about_a_job_names_it_unless_the_id_is_none_of_ours(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO", "json")
    job_id = str(uuid.uuid4())
    async with client_of(services) as http:
        await http.get(f"/jobs/{job_id}")
        await http.get("/jobs/forged%0aline")

    first, second = lines(capsys)
    assert first["job_id"] == job_id
    assert "job_id" not in second


@pytest.mark.parametrize("form", ["text", "json"])
async def test_nothing_that_a_request_carried_is_logged(
    services: Services, capsys: pytest.CaptureFixture[str], tmp_path: Path, form: Any
) -> None:
    configure_logging("TRACE", form)
    keys = tmp_path / "keys"
    keys.write_text("sk-hidden")
    guarded = dataclasses.replace(services, api_keys=KeyRing(AuthSettings(api_key_file=str(keys))))
    async with client_of(guarded) as http:
        for key in ("sk-hidden", "sk-wrong"):
            answer = await http.post(
                "/v1/audio/transcriptions?query=hidden",
                headers={"authorization": f"Bearer {key}", "user-agent": "hidden"},
                data={"model": "tiny.en", "prompt": "hidden", "hotwords": "hidden"},
                files={"file": ("hidden.wav", WAV)},
            )
        await http.get("/hidden")

    assert answer.status_code == 401
    logged = capsys.readouterr().err
    assert "POST /v1/audio/transcriptions 200" in logged
    assert "hidden" not in logged
    assert "sk-wrong" not in logged
    assert SENTENCES[0].strip() not in logged
