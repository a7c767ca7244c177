"""
Logs of this package, as text or as a JSON object a line.

Neither holds what was said in the audio, names of files, or keys: who logs an error of others logs its kind.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from serve_app.telemetry.context import job_id, request_id

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

Format = Literal["text", "json"]


@dataclass(frozen=True, slots=True)
class Origin:
    """
    Who logs.

    Attributes:
        request_id: Of what is worked on, where nobody said so here.
    """

    deployment: str = ""
    replica: str = ""
    request_id: Callable[[], str] = request_id


def configure_logging(level: str, form: Format = "text", origin: Origin | None = None) -> None:
    """Send this package's logs to standard error; the last call counts, however many there are in a process."""
    logger = logging.getLogger("serve_app")
    logger.setLevel(logging.DEBUG if level == "TRACE" else level)
    logger.propagate = False
    for handler in [handler for handler in logger.handlers if isinstance(handler, _Handler)]:
        logger.removeHandler(handler)
    logger.addHandler(_Handler(form, origin or Origin()))


class _Handler(logging.StreamHandler[Any]):
    def __init__(self, form: Format, origin: Origin) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(_JsonFormatter(origin) if form == "json" else _TextFormatter(origin))


def _ids(record: logging.LogRecord, origin: Origin) -> dict[str, str]:
    found = {
        "request_id": getattr(record, "request_id", "") or request_id() or origin.request_id(),
        "job_id": getattr(record, "job_id", "") or job_id(),
    }
    return {name: value for name, value in found.items() if value}


class _TextFormatter(logging.Formatter):
    def __init__(self, origin: Origin) -> None:
        super().__init__(TEXT)
        self._origin = origin

    def formatMessage(self, record: logging.LogRecord) -> str:
        ids = "".join(f" {name}={value}" for name, value in _ids(record, self._origin).items())
        return super().formatMessage(record) + ids


class _JsonFormatter(logging.Formatter):
    def __init__(self, origin: Origin) -> None:
        super().__init__()
        self._origin = origin

    def format(self, record: logging.LogRecord) -> str:
        where = {"deployment": self._origin.deployment, "replica": self._origin.replica}
        more = {name: value for name, value in where.items() if value} | _ids(record, self._origin)
        if record.exc_info:
            more["exception"] = self.formatException(record.exc_info)
        at = datetime.fromtimestamp(record.created, UTC)
        return json_line(record.getMessage(), at=at, level=record.levelname, logger=record.name, **more)


def json_line(message: str, *, at: datetime, level: str = "INFO", logger: str = "", **more: str) -> str:
    """One line, also of a message of several."""
    time = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": time, "level": level, "logger": logger, "message": message, **more}, ensure_ascii=False)


def as_json_line(line: str, logger: str, **more: str) -> str:
    """A line that others printed, as it is if it is a JSON object."""
    if line.startswith("{"):
        try:
            json.loads(line)
        except ValueError:
            pass
        else:
            return line
    return json_line(line, at=datetime.now(UTC), logger=logger, **more)
