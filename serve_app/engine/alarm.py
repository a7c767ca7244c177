"""Wakes somebody at an instant."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable


class Alarm:
    """
    Rings once, at the earliest of the instants that it was set to; who is woken sets it again.

    Args:
        ring: Called then.
        now: A clock in seconds.
        sleep: Waits for seconds of that clock.
    """

    def __init__(
        self, ring: Callable[[], None], now: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._ring = ring
        self._now = now
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None
        self._at: float | None = None

    def set(self, at: float | None) -> None:
        """
        Args:
            at: None: never, which ends no earlier wish: one that rings too early does no harm.
        """
        if at is None or (self._at is not None and self._at <= at):
            return
        self.stop()
        self._at = at
        # A context of its own: Serve cancels whatever was started in the context of a call that is cancelled.
        self._task = asyncio.create_task(self._wait(at), context=contextvars.Context())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task, self._at = None, None

    async def _wait(self, at: float) -> None:
        await self._sleep(max(0.0, at - self._now()))
        self._task, self._at = None, None
        self._ring()
