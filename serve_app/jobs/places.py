"""Places that hosts share, so that one that does not answer takes none from the others."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator

LEFT = 4


class FairPlaces:
    """
    So many places for all, given to the host that has the fewest, and among these to the one that came first.

    A host gets a further place only while `LEFT` times as many as it has are free, as in a switch whose queues share one memory
    (Choudhury and Hahne 1998, dynamic thresholds): however many a few hosts would take, some are left for the next.

    Args:
        total: Over all hosts.
        per_host: At most for one.
    """

    def __init__(self, total: int, per_host: int) -> None:
        self._free = total
        self._per_host = per_host
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # hosts in the order in which they came

    @contextlib.asynccontextmanager
    async def of(self, host: str) -> AsyncIterator[None]:
        """Wait for a place of this host, and hold it."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(host, deque()).append(place)
        self._give()
        try:
            await place
            yield
        finally:
            self._leave(host, place)

    def _give(self) -> None:
        while hosts := [host for host in self._waiting if self._may_have_one(host)]:
            host = min(hosts, key=self._held.__getitem__)
            waiting = self._waiting.pop(host)
            place = waiting.popleft()
            if waiting:
                self._waiting[host] = waiting  # behind those that came meanwhile
            if not place.done():  # or else its task was cancelled
                self._held[host] += 1
                self._free -= 1
                place.set_result(None)

    def _may_have_one(self, host: str) -> bool:
        held = self._held[host]
        return self._free > 0 and held < self._per_host and (held == 0 or LEFT * held < self._free)

    def _leave(self, host: str, place: asyncio.Future[None]) -> None:
        if place.done() and not place.cancelled():
            self._free += 1
            self._held[host] -= 1
            if not self._held[host]:
                del self._held[host]
        self._give()
