"""
What runs in Serve's proxy, before any deployment sees a request.

Serve acts on some request headers: they set or lift its time limit, switch off the detection of a client that went away, and
choose the replica. They are for the operator's own proxies; from a stranger they are removed. Serve also reads a request
body whole into memory, so the limit on its size has to stand here, too.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.api.body_budget import BodyBudget
from serve_app.api.connections import bound_connections
from serve_app.api.headers import AnswerHeaders, HeadLimit
from serve_app.api.limits import BodyLimit
from serve_app.api.middleware import RequestIds
from serve_app.settings import upload_limit_bytes, uploads_limit_bytes
from serve_app.settings.memory import give_back_freed_memory

STEERING = frozenset(
    {
        "x-request-timeout-seconds",
        "x-request-disconnect-disabled",
        "x-session-id",
    }
)


class CleanHeaders:
    """Drop the headers by which a client could steer Serve, and hand on the request id that the answer will carry."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = {**scope, "headers": [(k, v) for k, v in scope["headers"] if not steers(k)]}
        if "request_id" in scope:
            MutableHeaders(scope=scope)["x-request-id"] = scope["request_id"]
        await self._app(scope, receive, send)


def steers(header: bytes) -> bool:
    """Whether Serve would act on this request header; it takes `_` and `-` for the same."""
    name = header.decode("latin-1").lower().replace("_", "-")
    return name in STEERING or name.startswith(("serve-", "ray-serve-"))


def proxy_middlewares() -> list[Middleware]:
    """For `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`, called before the server starts; Serve makes the last the outermost."""
    bound_connections()
    give_back_freed_memory()
    from_the_outermost = [
        Middleware(RequestIds),
        Middleware(AnswerHeaders),
        Middleware(HeadLimit),
        Middleware(CleanHeaders),
        Middleware(BodyBudget, total_bytes=uploads_limit_bytes(), max_bytes=upload_limit_bytes()),
        Middleware(BodyLimit, max_bytes=upload_limit_bytes()),
    ]
    return from_the_outermost[::-1]
