"""Counts and logs requests by route and status."""

from __future__ import annotations

import logging
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.telemetry.context import working_on
from serve_app.telemetry.metrics import HTTP_REQUESTS, HTTP_SECONDS
from serve_app.telemetry.tally import Tally

logger = logging.getLogger(__name__)

OTHER = "other"
POLLED = frozenset({"/health", "/health/live", "/health/ready", "/metrics", "/model/status", "/jobs/{job_id}"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CLIENT_WENT_AWAY = 499  # nobody reads it; a number for access logs


class CountRequests:
    """Pure ASGI middleware; what it counts has as many series as there are routes, whatever clients ask for."""

    def __init__(self, app: ASGIApp, *, tally: Tally, clock: Callable[[], float]) -> None:
        self._app = app
        self._tally = tally
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else OTHER
        began_s = self._clock()
        status = CLIENT_WENT_AWAY

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._tally.observe(HTTP_SECONDS, self._clock() - began_s, method, _template(scope))
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = _template(scope)
            self._tally.count(HTTP_REQUESTS, method, route, str(status))
            level = logging.DEBUG if _is_poll(method, route, status) else logging.INFO
            with working_on(job_id=scope.get("path_params", {}).get("job_id", "")):
                logger.log(level, "%s %s %d in %.3f s", method, route, status, self._clock() - began_s)


def _is_poll(method: str, route: str, status: int) -> bool:
    """Asked every few seconds, by machines, and answered as ever: it would bury what happens."""
    return method in ("GET", "HEAD") and route in POLLED and status < 400


def _template(scope: Scope) -> str:
    """Of the route that took the request; the router leaves it in the scope."""
    return getattr(scope.get("route"), "path", OTHER)
