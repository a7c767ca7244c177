"""
Connections to Serve's proxy, bounded before they are requests.

uvicorn's parser keeps a head of any size, and waits for its end for ever: a client without a key held 200 MB of the proxy's memory
with one unfinished header. Serve makes the server itself and leaves its protocol to uvicorn, so what uvicorn takes by
default is what changes here.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serve_app.api.headers import MAX_HEAD_BYTES


class BoundedConnection(HttpToolsProtocol):
    """
    Hangs up on what is neither head nor body for too long: an endless line, header or trailer, or a head that does not come.

    A body has its own limits, in `limits.py`; between two requests uvicorn's own limit holds.
    """

    head_s = 30.0

    _waiting: asyncio.TimerHandle | None = None
    _pending_bytes = 0
    _progressed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._progressed = False
        super().data_received(data)
        self._pending_bytes = 0 if self._progressed else self._pending_bytes + len(data)
        if self._pending_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        self._wait_for_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        self._progressed = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._progressed = True
        super().on_body(body)

    def _wait_for_head(self) -> None:
        if self._waiting is None:  # from the connection on, or from the first byte of a later request
            self._waiting = self.loop.call_later(self.head_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def bound_connections() -> None:
    """Of all servers that this process starts from now on, and that name no protocol of their own."""
    auto.AutoHTTPProtocol = BoundedConnection
