"""Brings the counts of this process to where those of all come together."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable

from serve_app.telemetry.tally import Tally
from serve_app.telemetry.totals import Growth

logger = logging.getLogger(__name__)

Send = Callable[[Growth], Awaitable[None]]

EVERY_S = 2.0
ANSWER_S = 5.0


class Courier:
    """
    Sends what has grown, from `start` to `close`; nothing while nothing happens.

    Growth that did not arrive for sure is sent again under its number, and what grows meanwhile waits: a keeper that is away
    costs no memory, and nothing is counted twice.

    Args:
        source: This process; unique.
    """

    def __init__(
        self,
        source: str,
        tally: Tally,
        send: Send,
        *,
        every_s: float = EVERY_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._source = source
        self._tally = tally
        self._send = send
        self._every_s = every_s
        self._sleep = sleep
        self._number = 0
        self._on_its_way: Growth | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        # A context of its own: Serve cancels whatever was started in the context of a call that is cancelled.
        self._task = asyncio.create_task(self._run(), context=contextvars.Context())

    async def close(self) -> None:
        """Send the last of it: what had not arrived, and what has grown since."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while await self.bring():
            pass

    async def bring(self) -> bool:
        """Send what has grown; later again if that fails. Whether something arrived."""
        growth = self._on_its_way = self._on_its_way or self._next()
        if growth is None:
            return False
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._send(growth)
        except Exception as error:
            logger.debug("counts wait for who adds them up: %r", error)
            return False
        self._on_its_way = None
        return True

    def _next(self) -> Growth | None:
        if not (counts := self._tally.take()):
            return None
        self._number += 1
        return Growth(self._source, self._number, counts)

    async def _run(self) -> None:
        while True:
            await self._sleep(self._every_s)
            await self.bring()
