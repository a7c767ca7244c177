"""Whose work this is: ids that travel with calls, and stand in every line that is logged meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_request_id: ContextVar[str] = ContextVar("request_id", default="")
_job_id: ContextVar[str] = ContextVar("job_id", default="")


def request_id() -> str:
    """Of the request that is worked on; "" if none, or not known here."""
    return _request_id.get()


def job_id() -> str:
    """Of the job that is worked on; "" if none."""
    return _job_id.get()


@contextmanager
def working_on(*, request_id: str = "", job_id: str = "") -> Iterator[None]:
    """Whose work the block is; what is not given stays as it was. An id that a line of text could not hold is left out."""
    given = [(_request_id, request_id), (_job_id, job_id)]
    tokens = [(variable, variable.set(value)) for variable, value in given if SANE_ID.fullmatch(value)]
    try:
        yield
    finally:
        for variable, token in tokens:
            variable.reset(token)
