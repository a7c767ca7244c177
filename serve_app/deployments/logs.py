"""Logs of the process that a replica is."""

from __future__ import annotations

from ray import serve
from ray.serve.context import _get_serve_request_context

from serve_app import telemetry
from serve_app.settings import Settings


def configure_logging(settings: Settings) -> None:
    """As the settings say; called in a replica's constructor."""
    context = serve.get_replica_context()
    origin = telemetry.Origin(context.deployment, context.replica_id.unique_id, serve_request_id)
    telemetry.configure_logging(settings.log_level, settings.log_format, origin)


def serve_request_id() -> str:
    """What Serve sends along with each call: the id of the HTTP request that a call is made for; else any."""
    return str(_get_serve_request_context().request_id)
