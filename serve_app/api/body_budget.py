"""How many bytes of request bodies Serve's proxy holds at once."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.api.problems import answer
from serve_app.errors import Overloaded

RETRY_AFTER_S = 5.0


class BodyBudget:
    """
    ASGI middleware that answers 503 before it reads a body for which `total_bytes` have no room left.

    A body counts as long as its request lasts, because the proxy keeps it so long; one that does not tell its length counts
    as `max_bytes`, the most it may have. One alone is always taken.
    """

    def __init__(self, app: ASGIApp, *, total_bytes: int, max_bytes: int) -> None:
        self._app = app
        self._total_bytes = total_bytes
        self._max_bytes = max_bytes
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size_bytes = self._size_bytes(Headers(scope=scope)) if scope["type"] == "http" else 0
        if size_bytes and self._held_bytes and self._held_bytes + size_bytes > self._total_bytes:
            busy = Overloaded(
                "Too many large uploads are in progress. Try again in a moment.", retry_after_s=RETRY_AFTER_S
            )
            await answer(busy)(scope, receive, send)
            return
        self._held_bytes += size_bytes
        try:
            await self._app(scope, receive, send)
        finally:
            self._held_bytes -= size_bytes

    def _size_bytes(self, headers: Headers) -> int:
        declared = headers.get("content-length", "")
        if declared.isascii() and declared.isdigit():
            return min(int(declared[:20]), self._max_bytes)  # one that is larger is refused later
        return self._max_bytes if "transfer-encoding" in headers else 0
