"""When models become ready, and when unloaded, out of the events that all subscribers get."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from serve_app.errors import ModelNotFound
from serve_app.lifecycle.fleet import SILENT_FOR
from serve_app.lifecycle.protocols import Clock
from serve_app.models.protocols import Models
from serve_app.models.types import SERVING, ModelEvent, ModelState

THERE = SERVING | {ModelState.DRAINING}


class Milestones:
    """
    Models over all replicas, for those who are told no more than whether one is there.

    Begun together with the registry: replicas that were there before report within seconds, so all that is ready is told once more,
    and what is unloaded by then is told too, because a predecessor may have told that it is ready.
    """

    def __init__(self, models: Models, clock: Clock) -> None:
        self._models = models
        self._clock = clock
        self._all_heard_at = clock() + SILENT_FOR
        self._ready: set[str] = set()

    async def follow(self) -> AsyncGenerator[ModelEvent, None]:
        """Without end: READY when a first replica has a model, UNLOADED when the last one has freed it."""
        seq: int | None = None
        knows_all = False
        while True:
            async with aclosing(self._models.events(after_seq=seq)) as events:
                async for event in events:
                    seq = event.seq or seq
                    if await self._is_one(event):
                        yield replace(event, replica_id=None)
            if not knows_all and self._clock() >= self._all_heard_at:
                knows_all = True
                async for event in self._unloaded():
                    yield event

    async def _is_one(self, event: ModelEvent) -> bool:
        model_id, state = event.model_id, event.state
        if state in SERVING and model_id not in self._ready:
            self._ready.add(model_id)
            return True
        if state is ModelState.UNLOADED and model_id in self._ready and await self._state(model_id) not in THERE:
            self._ready.discard(model_id)
            return True
        return False

    async def _state(self, model_id: str) -> ModelState:
        try:
            return (await self._models.overview(model_id)).state
        except ModelNotFound:  # its weights were deleted
            return ModelState.UNLOADED

    async def _unloaded(self) -> AsyncIterator[ModelEvent]:
        for model in (await self._models.status()).models:
            if model.state is ModelState.UNLOADED:
                yield ModelEvent(0, model.since, model.model_id, model.state, model.reason)
