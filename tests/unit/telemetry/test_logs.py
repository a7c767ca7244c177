"""Lines of the log, and whose work they belong to."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve_app.telemetry import Origin, configure_logging
from serve_app.telemetry.context import job_id, request_id, working_on
from serve_app.telemetry.logs import as_json_line

logger = logging.getLogger("serve_app.tests")

OPERATIONS = Path(__file__).resolve().parents[3] / "docs" / "operations.md"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger("serve_app")
    before = root.level, root.propagate, [*root.handlers]
    yield
    root.level, root.propagate, root.handlers = before


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_json_line_says_who_logs_and_for_whom(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "json", Origin("Pipeline", "r1"))

    with working_on(request_id="req_1", job_id="j-1"):
        logger.warning("%d chunks wait", 3)

    (line,) = logged(capsys)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "serve_app.tests",
        "message": "3 chunks wait",
        "deployment": "Pipeline",
        "replica": "r1",
        "request_id": "req_1",
        "job_id": "j-1",
    }


def test_each_field_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "json", Origin("Pipeline", "r1"))
    with working_on(request_id="req_1", job_id="j-1"):
        logger.warning("so", exc_info=KeyError())
    _, _, page = OPERATIONS.read_text().partition("## Logs")
    fields = [*logged(capsys)[0], *json.loads(as_json_line("x", "ray", process="p"))]

    assert len(fields) > 8
    assert [field for field in fields if f"`{field}`" not in page.partition("\n## ")[0]] == []


def test_what_is_not_known_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "json")

    logger.warning("so")

    assert logged(capsys)[0].keys() == {"time", "level", "logger", "message"}


def test_a_message_of_several_lines_and_an_exception_stay_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "json")

    try:
        raise KeyError("x")
    except KeyError:
        logger.exception("first\nsecond")

    (line,) = logged(capsys)
    assert line["message"] == "first\nsecond"
    assert line["exception"].endswith("KeyError: 'x'")


def test_text_names_the_ids_behind_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")

    with working_on(job_id="j-1"):
        logger.warning("so")
    logger.warning("and so")

    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("WARNING serve_app.tests: so job_id=j-1")
    assert second.endswith("WARNING serve_app.tests: and so")


def test_level_and_form_of_the_last_call_count(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("TRACE")
    configure_logging("ERROR", "json")

    logger.warning("not this")
    logger.error("this")

    assert [line["message"] for line in logged(capsys)] == ["this"]


def test_the_id_that_serve_knows_is_shown_where_nobody_said_another(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "json", Origin(request_id=lambda: "from-serve"))

    logger.warning("a")
    with working_on(request_id="ours"):
        logger.warning("b")

    assert [line["request_id"] for line in logged(capsys)] == ["from-serve", "ours"]


async def test_two_that_work_at_once_keep_their_own_ids() -> None:
    async def work(name: str) -> tuple[str, str]:
        with working_on(request_id=name, job_id=f"job-{name}"):
            await asyncio.sleep(0)
            return request_id(), await asyncio.to_thread(job_id)

    assert await asyncio.gather(work("a"), work("b")) == [("a", "job-a"), ("b", "job-b")]
    assert (request_id(), job_id()) == ("", "")


@pytest.mark.parametrize("forged", ["a\nERROR all is lost", "a b", "x" * 129, "\x1b[31m"])
def test_an_id_that_could_forge_a_line_is_left_out(forged: str) -> None:
    with working_on(request_id="before"), working_on(request_id=forged, job_id=forged):
        assert (request_id(), job_id()) == ("before", "")


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "{broken", "", '["no", "object"]'])
def test_what_others_print_becomes_json(line: str) -> None:
    assert json.loads(as_json_line(line, "ray"))["message"] == line


def test_what_is_json_already_stays_as_it_is() -> None:
    assert as_json_line('{"message": "é"}', "ray") == '{"message": "é"}'
