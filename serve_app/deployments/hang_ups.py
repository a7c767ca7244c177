"""Clients that go away, as ASGI tells of them."""

from __future__ import annotations

from ray.exceptions import RayError
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def with_hang_ups(app: ASGIApp) -> ASGIApp:
    """
    Tell the application that its client is gone where Serve's `receive` raises what ended the call that fetches the body.

    The application would take that for a fault of its own: a 500 in the log and in `RayscribeServerErrors` for an upload that its
    client broke off.
    """

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_or_disconnect() -> Message:
            try:
                return await receive()
            except RayError:
                return {"type": "http.disconnect"}

        await app(scope, receive_or_disconnect, send)

    return told
