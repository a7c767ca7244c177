"""Headers: what every answer carries for browsers, and what the head of a request may be."""

from __future__ import annotations

from collections.abc import MutableMapping
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.problems import answer

# An answer is data: what takes it for a page gets one that may do nothing. Pages bring their own policy.
SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100
ADDED = "rayscribe.answer_headers"


class AnswerHeaders:
    """ASGI middleware that gives every answer the headers of `SAFE`, unless it has its own, and those of `answer_headers`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added: dict[str, str] = {}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in (SAFE | added).items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app({**scope, ADDED: added}, receive, send_with_headers)


def answer_headers(request: Request) -> MutableMapping[str, str]:
    """What is put here goes out with the answer, whatever answer it will be."""
    found: MutableMapping[str, str] = request.scope[ADDED]
    return found


class HeadLimit:
    """ASGI middleware that refuses heads of requests that no client needs: too large, or of a body that is compressed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = _refusal(scope) if scope["type"] == "http" else None
        await (answer(refusal) if refusal else self._app)(scope, receive, send)


def _refusal(scope: Scope) -> HTTPException | None:
    headers = scope["headers"]
    if len(headers) > MAX_HEADERS or _size_bytes(scope) > MAX_HEAD_BYTES:
        return HTTPException(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"A request may have {MAX_HEADERS} headers, and {MAX_HEAD_BYTES} bytes of them.",
            {"Connection": "close"},
        )
    if Headers(scope=scope).get("content-encoding", "identity").lower() != "identity":
        # A few bytes could become very many; and audio is compressed already.
        return HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Send the body as it is, without Content-Encoding.",
            {"Connection": "close"},
        )
    return None


def _size_bytes(scope: Scope) -> int:
    names_and_values = sum(len(name) + len(value) for name, value in scope["headers"])
    return names_and_values + len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
