"""The changes of models as a stream that outlives the process they come from."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from serve_app.api.events import named, or_error
from serve_app.api.model_answers import event_data
from serve_app.errors import Unavailable
from serve_app.jobs.protocols import Sleep
from serve_app.models.protocols import Models

RETRY_S = 1.0  # the Coordinator is back some seconds after it died


@dataclass(frozen=True, slots=True)
class ModelEventStream:
    """
    The states of all models, then each change.

    `Models.events` gives slices, and each is asked for from the last event that the reader has. A new Coordinator knows nothing
    of the old one's events, so it begins with the states again.

    Args:
        draining: Whether this process is about to stop; the reader goes on at another one with its `Last-Event-ID`.
    """

    models: Models
    sleep: Sleep
    draining: Callable[[], bool]
    request_id: str

    def follow(self, after_seq: int | None) -> AsyncGenerator[bytes, None]:
        """As server-sent events; a failure is the last of them."""
        return or_error(self._blocks(after_seq), self.request_id)

    async def _blocks(self, seq: int | None) -> AsyncGenerator[bytes, None]:
        while not self.draining():
            try:
                async with aclosing(self.models.events(after_seq=seq)) as events:
                    async for event in events:
                        yield named(event_data(event), event.seq)
                        seq = event.seq or seq  # of the states that come first, only the last one has a number
            except Unavailable:
                await self.sleep(RETRY_S)
