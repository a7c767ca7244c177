"""Memory of bodies that have been read."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGE_BYTES = 4 * 1024 * 1024
AFTER_S = 2.0  # by then the body has been passed on


def give_back() -> None:
    """
    Hand what the allocator keeps of freed memory to the system; does nothing where the C library has no such call.

    glibc keeps blocks of a body for later ones, and a request for a transcript of hours outlives its body by minutes: two
    processes held 75 MB of a 32 MB upload until its answer.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class GiveBackMemory:
    """ASGI middleware that calls `give_back` some time after a large body has come in whole."""

    def __init__(self, app: ASGIApp, give_back: Callable[[], None] = give_back) -> None:
        self._app = app
        self._give_back = give_back

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        read_bytes = 0

        async def counting() -> Message:
            nonlocal read_bytes
            message = await receive()
            read_bytes += len(message.get("body", b""))
            if message["type"] == "http.request" and not message.get("more_body") and read_bytes >= LARGE_BYTES:
                asyncio.get_running_loop().call_later(AFTER_S, self._give_back)
            return message

        await self._app(scope, counting, send)
