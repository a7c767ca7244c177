"""Clients that go away, as ASGI tells of them."""

from __future__ import annotations

import logging

from ray.exceptions import RayError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)


class HangUps:
    """
    ASGI middleware that tells of a client that is gone where Serve's `receive` raises what ended the call that fetches the body.

    The application would take that for a fault of its own: a 500 in the log and in `RayscribeServerErrors` for an upload that its
    client broke off.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_or_disconnect() -> Message:
            try:
                return await receive()
            except RayError as error:
                logger.debug("the body of a request cannot be had: %s", type(error).__name__)
                return {"type": "http.disconnect"}

        await self._app(scope, receive_or_disconnect, send)
