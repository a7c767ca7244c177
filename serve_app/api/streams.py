"""Work that ends when the client goes away, and answers that come as they are made."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Generic, Self, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve_app.errors import RecognizerUnavailable

T = TypeVar("T")

HEARTBEAT = b": waiting\n\n"


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """
    Do the work, and cancel it when the client goes away. The request's body must have been read.

    Raises:
        ClientDisconnect: It went away.
        RecognizerUnavailable: Something else cancelled the work.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        if working.cancelled():
            raise stopped()
        return working.result()
    finally:
        await _cancel(working, leaving)


class Relay(Generic[T]):
    """
    Runs a generator in one task of its own, for others to take from.

    A generator may hold a task group or a timeout, and these must be left by the task that entered them. To wait for the next
    item with a time limit would run each step in another task.
    """

    def __init__(self, source: AsyncGenerator[T, None]) -> None:
        self._source = source
        self._items: asyncio.Queue[T | Exception | None] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._running = asyncio.ensure_future(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await _cancel(self._running)

    async def take(self) -> T | None:
        """The next item; None after the last. Raises what the generator raised."""
        item = await self._items.get()
        if isinstance(item, Exception):
            raise item
        return item

    async def _run(self) -> None:
        end: Exception | None = stopped()
        try:
            async with contextlib.aclosing(self._source) as source:
                async for item in source:
                    self._items.put_nowait(item)
            end = None
        except Exception as error:
            end = error
        finally:  # also when cancelled: whoever waits in `take` must not wait for ever
            self._items.put_nowait(end)


class EventStream(Response):
    """
    Server-sent events, one for each block of bytes; comments in between show that the stream is alive.

    Each step of the generator runs in a task of its own: see `Relay`.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], *, heartbeat_s: float) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._heartbeat_s = heartbeat_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(ClientDisconnect):
            await unless_gone(receive, self._send_all(send))

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with contextlib.aclosing(self._events) as events, contextlib.aclosing(self._alive(events)) as blocks:
            async for block in blocks:
                await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _alive(self, events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        taking = asyncio.ensure_future(anext(events, b""))
        try:
            while True:
                await asyncio.wait({taking}, timeout=self._heartbeat_s)
                if not taking.done():
                    yield HEARTBEAT
                    continue
                if not (block := taking.result()):
                    return
                yield block
                taking = asyncio.ensure_future(anext(events, b""))
        finally:
            await _cancel(taking)


def stopped() -> RecognizerUnavailable:
    return RecognizerUnavailable("The service stopped this transcription; try again.")


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
