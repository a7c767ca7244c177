"""What names the next page of a list of jobs."""

from __future__ import annotations

import re

from serve_app.errors import InvalidRequest
from serve_app.jobs.machine import Record


def cursor_after(record: Record) -> str:
    """The cursor of the page that comes after this job."""
    return f"{record.number:x}"


def number_before(cursor: str | None) -> int | None:
    """
    The jobs of the page have lower numbers than this.

    Raises:
        InvalidRequest: The cursor is none of ours.
    """
    if cursor is None:
        return None
    if not re.fullmatch("[0-9a-f]{1,15}", cursor):
        raise InvalidRequest("The cursor is not one of `next_cursor`.", param="cursor")
    return int(cursor, 16)
