"""Pure ASGI middleware: Starlette's `BaseHTTPMiddleware` would hide from the routes that a client went away."""

from __future__ import annotations

import logging
import traceback
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.problems import answer
from serve_app.telemetry.context import SANE_ID, working_on

logger = logging.getLogger(__name__)


class RequestIds:
    """Every answer has an `x-request-id`: the client's own if it sent a sane one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        with working_on(request_id=request_id):
            await self._app({**scope, "request_id": request_id}, receive, send_with_id)


class LastResort:
    """
    Answers 500 to what nobody foresaw, and logs where it happened.

    The message of the exception is not logged: it may hold somebody's words or the name of their file.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            log_surprise(error, scope.get("request_id", ""))
            if started or scope["type"] != "http":
                raise RuntimeError("failed in the middle of an answer") from None
            await answer(error)(scope, receive, send)


def log_surprise(error: Exception, request_id: str) -> None:
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("request %s: %s\n%s", request_id, type(error).__name__, where)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if SANE_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
