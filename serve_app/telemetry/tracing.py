"""
Spans of our work inside those that Serve makes of its calls.

Without `tracing_config` in the config file nobody listens, and a span is a few microseconds of OpenTelemetry's doing nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode

from serve_app.telemetry.context import job_id, request_id

Attribute = str | int | float


@contextmanager
def span(name: str, **attributes: Attribute) -> Iterator[Span]:
    """
    What the block does; spans of what it calls are inside.

    Of an exception only the kind is shown: its message may hold somebody's words or the name of their file.
    """
    tracer = trace.get_tracer("rayscribe")
    with (
        tracer.start_as_current_span(
            name, attributes=_ids() | attributes, record_exception=False, set_status_on_exception=False
        ) as begun,
        _failure_shown(begun),
    ):
        yield begun


@contextmanager
def stream_span(name: str, **attributes: Attribute) -> Iterator[Span]:
    """The same for a generator, whose consumer works between its steps: spans of others are beside it, and not inside."""
    begun = trace.get_tracer("rayscribe").start_span(name, attributes=_ids() | attributes)
    try:
        with _failure_shown(begun):
            yield begun
    finally:
        begun.end()


@contextmanager
def _failure_shown(begun: Span) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        begun.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise


def _ids() -> dict[str, Attribute]:
    ids = {"rayscribe.request_id": request_id(), "rayscribe.job_id": job_id()}
    return {name: value for name, value in ids.items() if value}
