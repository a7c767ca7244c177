"""A client that talks ASGI itself, and so can go away when it likes."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from starlette.types import ASGIApp, Message

from tests.service.api.conftest import WAV


class LeavingClient:
    """
    Posts a transcription; `leave` hangs up.

    Attributes:
        sent: What the application sent so far.
        came: Set whenever it sends something.
    """

    def __init__(self, app: ASGIApp, fields: dict[str, str], data: bytes = WAV) -> None:
        request = httpx.Request("POST", "http://x/v1/audio/transcriptions", files={"file": ("a", data)}, data=fields)
        self._body = request.read()
        self._app = app
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "POST",
            "path": request.url.path,
            "raw_path": request.url.raw_path,
            "root_path": "",
            "query_string": b"",
            "scheme": "http",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 1),
            "server": ("x", 80),
        }
        self._left = asyncio.Event()
        self._read = False
        self.sent: list[Message] = []
        self.came = asyncio.Event()

    def leave(self) -> None:
        self._left.set()

    async def run(self) -> None:
        await self._app(self._scope, self._receive, self._send)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    async def _receive(self) -> Message:
        if not self._read:
            self._read = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        self.came.set()
