"""What `rayscribe serve` prints where logs are JSON."""

from __future__ import annotations

import io
import json

import pytest
from ray._private.ray_logging import global_worker_stdstream_dispatcher as dispatcher
from rich.console import Console

from serve_app.cli.worker_logs import JsonLines, print_as_json


def test_what_is_said_to_people_becomes_an_object_a_line() -> None:
    out = io.StringIO()
    console = Console(file=JsonLines(out), highlight=False, soft_wrap=True)  # type: ignore[arg-type]

    console.print("ready after 15 s")
    console.print("\nAPI:  here\nPage: there\n")

    said = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["message"] for line in said] == ["ready after 15 s", "API:  here", "Page: there"]
    assert {line["logger"] for line in said} == {"rayscribe"}


def test_lines_of_replicas_are_printed_as_they_are_and_all_others_as_objects(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours = '{"message": "ours", "request_id": "r1"}'
    dispatcher.add_handler("ray_print_logs", pytest.fail)
    print_as_json()
    try:
        dispatcher.emit({"lines": [ours, ours, "Fatal: no"], "pid": 7, "actor_name": "Gateway", "is_err": True})
    finally:
        dispatcher.remove_handler("ray_print_logs")

    first, second, third = capsys.readouterr().err.splitlines()
    assert first == second == ours
    assert json.loads(third).items() >= {"message": "Fatal: no", "process": "Gateway", "logger": "ray"}.items()
