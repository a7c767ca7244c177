"""Logs of the process that a replica is."""

from __future__ import annotations

import logging

from ray import serve
from ray.serve.context import _get_serve_request_context

from serve_app import telemetry
from serve_app.errors import RayscribeError
from serve_app.settings import Settings


def configure_logging(settings: Settings) -> None:
    """As the settings say; called in a replica's constructor."""
    context = serve.get_replica_context()
    origin = telemetry.Origin(context.deployment, context.replica_id.unique_id, serve_request_id)
    telemetry.configure_logging(settings.log_level, settings.log_format, origin)
    logging.getLogger("ray.serve").addFilter(is_fault)  # once, however often it is added


def is_fault(record: logging.LogRecord) -> bool:
    """
    Whether a record of Serve's tells of something that nobody meant to happen.

    Serve logs whatever a call raises as a failure of the replica, with its traceback. Audio that cannot be read, or a job that
    waits for the GPU, is none: who asked is told.
    """
    return not (record.exc_info and isinstance(record.exc_info[1], RayscribeError))


def serve_request_id() -> str:
    """What Serve sends along with each call: the id of the HTTP request that a call is made for; else any."""
    return str(_get_serve_request_context().request_id)
