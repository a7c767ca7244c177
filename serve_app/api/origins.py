"""Which pages may use the service from a browser."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.api.problems import answer
from serve_app.errors import NotPermitted
from serve_app.settings import is_loopback

METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
READABLE = (
    "location",
    "retry-after",
    "tus-checksum-algorithm",
    "tus-extension",
    "tus-resumable",
    "tus-version",
    "upload-expires",
    "upload-length",
    "upload-metadata",
    "upload-offset",
    "x-audio-seconds",
    "x-job-status",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-request-id",
)


def cors(origins: Collection[str]) -> list[Middleware]:
    """What lets pages of these origins use the service; no cookies, because a key comes in a header."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=[*origins],
            allow_methods=METHODS,
            allow_headers=["*"],
            expose_headers=READABLE,
        )
    ]


class SameMachine:
    """
    ASGI middleware for a service that is for this machine only and asks for no key.

    The browser of whoever works here is on this machine too, and carries requests for any page it shows: directly, where
    the answer stays unread but the work is done; or after the page's own name was pointed at this machine (DNS rebinding),
    where even the answer is read. The first tells its `Origin`, the second its `Host`.
    """

    def __init__(self, app: ASGIApp, *, origins: Collection[str] = ()) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        why = self._why_not(Headers(scope=scope)) if scope["type"] == "http" else None
        await (answer(NotPermitted(why)) if why else self._app)(scope, receive, send)

    def _why_not(self, headers: Headers) -> str | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not is_loopback(_split(f"//{host}").hostname or ""):
            return (
                "This service has no API key, so it answers to the names of its own machine only: set one, or auth.mode: none"
                " if everyone may use it."
            )
        if origin is None or _split(origin).netloc == host or {origin, "*"} & {*self._origins}:
            return None
        return "Pages of other origins may not use this service: name theirs in http.cors_origins."


def _split(url: str) -> SplitResult:
    """Into nothing, if it is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")
