"""A clock that stands still until it is told to go."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """Call it for seconds, as `time.monotonic`; its `utc` is the same moment as an instant, as `jobs.protocols.Clock`."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def utc(self) -> datetime:
        return EPOCH + timedelta(seconds=self.now_s)

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class FakeSleep:
    """
    Sleeps by a clock that stands still, as `asyncio.sleep`.

    Args:
        clock: Is moved by `advance`.
    """

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    async def __call__(self, seconds: float) -> None:
        if seconds <= 0:
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._clock() + seconds, woken))
        await woken

    def advance(self, seconds: float) -> None:
        """Move the clock, and wake those whose time has come."""
        self._clock.advance(seconds)
        for due, woken in self._sleepers:
            if due <= self._clock() and not woken.done():
                woken.set_result(None)
        self._sleepers = [(due, woken) for due, woken in self._sleepers if not woken.done()]
