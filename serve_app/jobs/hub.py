"""Wakes who waits for something to happen in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator

ENDED = "ended"
"""The topic of whoever waits for any job to end."""


class Bell:
    """Wakes one listener; rings while it was busy are heard as one at its next wait."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, timeout_s: float) -> None:
        """Until it rings, but no longer than `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        self._rung.clear()


class Hub:
    """
    A bell for each listener of a topic.

    It carries no events: listeners read those from the store at their own pace, so a slow one holds nothing up. For what another
    process wrote the `Lookout` rings.
    """

    def __init__(self) -> None:
        self._bells: defaultdict[str, set[Bell]] = defaultdict(set)
        self._on_delivered: list[Callable[[str], None]] = []

    def ring(self, topic: str) -> None:
        for bell in self._bells.get(topic, ()):
            bell.ring()

    def ring_end(self, job_id: str) -> None:
        """A job has ended."""
        self.ring(job_id)
        self.ring(ENDED)

    def on_delivered(self, listener: Callable[[str], None]) -> None:
        """Call it with the id of each job whose webhook is delivered."""
        self._on_delivered.append(listener)

    def delivered(self, job_id: str) -> None:
        for listener in self._on_delivered:
            listener(job_id)

    @property
    def jobs(self) -> list[str]:
        """Jobs that somebody listens to."""
        return [topic for topic in self._bells if topic != ENDED]

    @contextlib.contextmanager
    def listen(self, topic: str) -> Iterator[Bell]:
        bell = Bell()
        self._bells[topic].add(bell)
        try:
            yield bell
        finally:
            self._bells[topic].discard(bell)
            if not self._bells[topic]:
                del self._bells[topic]
