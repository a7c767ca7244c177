"""The events of a job as a stream that outlives the process they come from."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from serve_app.api.events import named, or_error
from serve_app.errors import Unavailable
from serve_app.jobs.job import Event, Owner, Status
from serve_app.jobs.protocols import Jobs, Sleep
from serve_app.jobs.rendering import job_object

RETRY_S = 1.0  # the Coordinator is back some seconds after it died
LAST = frozenset(status.value for status in Status if status.ended)


@dataclass(frozen=True, slots=True)
class JobEvents:
    """
    The events of one job for one reader: the past first, then what happens, to its end.

    `Jobs.events` gives slices, and each is asked for from the last event that the reader has; so a Coordinator that goes
    away, or is replaced, costs a pause and no event.

    Args:
        draining: Whether this process is about to stop; the reader goes on at another one with its `Last-Event-ID`.
    """

    jobs: Jobs
    owner: Owner
    sleep: Sleep
    draining: Callable[[], bool]
    request_id: str

    def follow(self, job_id: str, after_seq: int) -> AsyncGenerator[bytes, None]:
        """As server-sent events; a failure is the last of them."""
        return or_error(self._blocks(job_id, after_seq), self.request_id)

    async def _blocks(self, job_id: str, seq: int) -> AsyncGenerator[bytes, None]:
        while True:
            try:
                async with aclosing(self.jobs.events(job_id, self.owner, after_seq=seq)) as events:
                    async for event in events:
                        yield await self._block(event)
                        seq = event.seq
                        if event.kind in LAST:
                            return
            except Unavailable:
                await self.sleep(RETRY_S)
            if self.draining():
                return

    async def _block(self, event: Event) -> bytes:
        data = event.data
        if event.kind in LAST:
            data = {"job": job_object(await self.jobs.get(event.topic, self.owner))}
        return named({"type": event.kind, **data}, event.seq)
