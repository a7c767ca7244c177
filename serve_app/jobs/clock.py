"""Time as the jobs see it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def wall_clock() -> datetime:
    return datetime.now(UTC)


class SteadyClock:
    """
    Wall time that never goes back within a process, and never stands still.

    When the wall clock is set back, this one goes on from where it was at the pace of the monotonic clock, because a clock
    that waited for the wall to catch up would let no lease expire and no retry come due. A jump ahead is followed.
    """

    def __init__(
        self, wall: Callable[[], datetime] = wall_clock, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._monotonic_s = monotonic_s
        self._latest = wall()
        self._latest_s = monotonic_s()

    def __call__(self) -> datetime:
        now_s = self._monotonic_s()
        at_least = self._latest + timedelta(seconds=now_s - self._latest_s)
        self._latest, self._latest_s = max(self._wall(), at_least), now_s
        return self._latest
