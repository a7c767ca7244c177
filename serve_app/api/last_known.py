"""What somebody behind this process last said, for questions that must not wait for them."""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

FRESH_S = 0.5
KEPT_S = 2.0


class LastKnown(Generic[T]):
    """
    Gives what `ask` last gave, and asks again meanwhile if that is older than `FRESH_S`; what is older than `KEPT_S` is waited for.

    However many want to know, one question is on its way at a time.

    Args:
        ask: Does not raise, and ends by itself.
        clock: Seconds, from any start.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._said: T | None = None
        self._said_s = -math.inf
        self._asking: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        age_s = self._clock() - self._said_s
        asking = self._again() if age_s >= FRESH_S else None
        if self._said is None or age_s >= KEPT_S:
            return await asyncio.shield(asking or self._again())
        return self._said

    def _again(self) -> asyncio.Task[T]:
        if self._asking is None or self._asking.done():
            # A context of its own: Serve cancels what was started in the context of a request that is cancelled.
            self._asking = asyncio.create_task(self._keep(), context=contextvars.Context())
        return self._asking

    async def _keep(self) -> T:
        said = await self._ask()
        self._said, self._said_s = said, self._clock()
        return said
