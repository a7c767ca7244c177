"""Changes of models, as subscribers see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from datetime import datetime

from serve_app.lifecycle.log import NumberedLog
from serve_app.models.types import ModelEvent, ModelOverview, ModelState, Reason

SLICE_S = 10.0  # a call that lasted longer would hold up the drain of its replica
UNNUMBERED = 0


class ModelEvents:
    """
    The last changes in memory.

    Args:
        states: The state of each model now.
        slice_s: How long one call of `follow` lasts.
    """

    def __init__(
        self, started_at: datetime, states: Callable[[], Sequence[ModelOverview]], *, slice_s: float = SLICE_S
    ) -> None:
        self._log: NumberedLog[ModelEvent] = NumberedLog(started_at)
        self._states = states
        self._slice_s = slice_s

    def add(
        self,
        at: datetime,
        model_id: str,
        state: ModelState,
        reason: Reason,
        *,
        replica_id: str | None = None,
        error: str | None = None,
    ) -> None:
        self._log.add(lambda seq: ModelEvent(seq, at, model_id, state, reason, replica_id, error))

    async def follow(self, after_seq: int | None) -> AsyncGenerator[ModelEvent, None]:
        """A slice, as `Models.events`; one who is too far behind begins anew with the state of each model."""
        ends_at_s = asyncio.get_running_loop().time() + self._slice_s
        if after_seq is None or not self._log.reaches(after_seq):
            current = self._current()
            after_seq = self._log.last
            for event in current:
                yield event
        while (left_s := ends_at_s - asyncio.get_running_loop().time()) > 0:
            for event in await self._log.wait_after(after_seq, left_s):
                yield event
                after_seq = event.seq

    def _current(self) -> Sequence[ModelEvent]:
        """
        The state of each model as an event.

        Only the last one has a number that can be gone on from: who saw only some of them is to get them all again.
        """
        events = [_event_of(overview) for overview in self._states()]
        return [*events[:-1], *(replace(event, seq=self._log.last) for event in events[-1:])]


def _event_of(overview: ModelOverview) -> ModelEvent:
    return ModelEvent(
        UNNUMBERED, overview.since, overview.model_id, overview.state, overview.reason, error=overview.last_error
    )
