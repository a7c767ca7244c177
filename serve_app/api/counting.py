"""Counts requests by route and status."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.telemetry.metrics import HTTP_REQUESTS, HTTP_SECONDS
from serve_app.telemetry.tally import Tally

OTHER = "other"
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
            self._tally.count(HTTP_REQUESTS, method, _template(scope), str(status))


def _template(scope: Scope) -> str:
    """Of the route that took the request; the router leaves it in the scope."""
    return getattr(scope.get("route"), "path", OTHER)
