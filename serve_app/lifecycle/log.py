"""What is numbered, and who waits for the next of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Generic, TypeVar

T = TypeVar("T")

KEPT = 1000  # entries; whoever is further behind starts anew


class NumberedLog(Generic[T]):
    """
    The last entries in memory, each with a number one above the one before.

    Args:
        started_at: Numbers begin with its milliseconds, so that those of a process that starts later are higher than all that an
            earlier one gave, although nothing of them is kept.
    """

    def __init__(self, started_at: datetime, *, kept: int = KEPT) -> None:
        self._last = int(started_at.timestamp() * 1000)
        self._entries: deque[tuple[int, T]] = deque(maxlen=kept)
        self._more = asyncio.Event()

    @property
    def last(self) -> int:
        """The highest number so far."""
        return self._last

    def add(self, make: Callable[[int], T]) -> T:
        """Append what `make` makes of the next number, and wake all who wait."""
        self._last += 1
        entry = make(self._last)
        self._entries.append((self._last, entry))
        self._more.set()
        self._more = asyncio.Event()
        return entry

    def reaches(self, after: int) -> bool:
        """Whether all entries after this number are here."""
        oldest = self._entries[0][0] if self._entries else self._last + 1
        return oldest - 1 <= after <= self._last

    def after(self, number: int) -> Sequence[T]:
        """Entries with higher numbers, in order."""
        return [entry for its, entry in self._entries if its > number]

    async def wait_after(self, number: int, timeout_s: float) -> Sequence[T]:
        """As `after`; if there are none, it waits for one for so many seconds."""
        if not (entries := self.after(number)):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._more.wait()
            entries = self.after(number)
        return entries
