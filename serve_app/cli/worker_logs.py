"""The standard error of `rayscribe serve` as JSON: also what replicas print, and what Ray and we say to people."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from ray._private.ray_logging import global_worker_stdstream_dispatcher

from serve_app.telemetry.logs import as_json_line


def print_as_json() -> None:
    """
    In place of Ray, which puts the name of a process before each of its lines and leaves repeated ones out.

    By a private way of Ray's, for as long as this process is connected to it; a test holds it.
    """
    global_worker_stdstream_dispatcher.remove_handler("ray_print_logs")
    global_worker_stdstream_dispatcher.add_handler("ray_print_logs", _print)


def _print(data: Mapping[str, Any]) -> None:
    process = str(data.get("actor_name") or data.get("task_name") or data.get("pid", ""))
    for line in data.get("lines", ()):
        sys.stderr.write(as_json_line(line, "ray", process=process) + "\n")
    sys.stderr.flush()


class JsonLines(io.TextIOBase):
    """A file for people's eyes, each line of which becomes an object; empty lines are left out."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._line = ""

    def write(self, text: str) -> int:
        *whole, self._line = (self._line + text).split("\n")
        for line in whole:
            if line.strip():
                self._out.write(as_json_line(line.strip(), "rayscribe") + "\n")
        return len(text)

    def flush(self) -> None:
        self._out.flush()
