"""Models that change when a test says so."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from serve_app.errors import ModelNotFound
from serve_app.lifecycle.events import ModelEvents
from serve_app.lifecycle.pins import ends_at
from serve_app.models.protocols import Models
from serve_app.models.types import SERVING, ClusterModels, GpuMemory, ModelEvent, ModelOverview, ModelState, Reason
from serve_app.testing.clock import FakeClock

RETRY_AFTER_S = 7.0
UNLOADS_AFTER_S = 300.0
IDLE = frozenset({ModelState.UNLOADED, ModelState.FAILED})


class FakeModels(Models):
    """
    What the HTTP layer sees of models, without replicas: a load begins, and ends when the test calls `become`.

    Attributes:
        loads: Models and their TTLs, one for each call of `load`.
        wants: Models, one for each call of `want`.
        unloads: Models, and whether by force, one for each call of `unload`.
        gpus: What `status` tells of devices.
    """

    def __init__(
        self,
        model_ids: Sequence[str] = ("tiny.en",),
        clock: Callable[[], datetime] | None = None,
        *,
        slice_s: float = 0.05,
    ) -> None:
        self._clock = clock or FakeClock().utc
        started_at = self._clock()
        self._models = {
            model_id: ModelOverview(
                model_id, ModelState.UNLOADED, started_at, Reason.NEVER_LOADED, 0, 0, None, RETRY_AFTER_S
            )
            for model_id in model_ids
        }
        self._events = ModelEvents(started_at, lambda: tuple(self._models.values()), slice_s=slice_s)
        self.loads: list[tuple[str, float | None]] = []
        self.wants: list[str] = []
        self.unloads: list[tuple[str, bool]] = []
        self.gpus: tuple[tuple[str, GpuMemory], ...] = ()

    def become(
        self, model_id: str, state: ModelState, reason: Reason = Reason.LOADED, *, error: str | None = None, **more: Any
    ) -> None:
        """
        The model's state changes, and subscribers hear of it.

        Args:
            more: Other attributes of its `ModelOverview`, such as `in_flight` or `replicas`.
        """
        now = self._clock()
        wait_s = 0.0 if state in SERVING else RETRY_AFTER_S
        changed = replace(self._models[model_id], state=state, since=now, reason=reason, last_error=error)
        self._models[model_id] = replace(changed, **{"retry_after_s": wait_s, **more})
        self._events.add(now, model_id, state, reason, error=error)

    async def status(self) -> ClusterModels:
        return ClusterModels(tuple(self._models.values()), self.gpus, self._clock())

    async def overview(self, model_id: str) -> ModelOverview:
        if model_id not in self._models:
            raise ModelNotFound(f"There is no model {model_id}.", param="model")
        return self._models[model_id]

    async def load(self, model_id: str, *, ttl_s: float | None = None) -> ModelOverview:
        model = await self.overview(model_id)
        self.loads.append((model_id, ttl_s))
        until = ends_at(self._clock(), ttl_s, unloads_after_s=UNLOADS_AFTER_S)
        self._models[model_id] = replace(model, pinned_until=until)
        return self._begin(model_id, Reason.LOAD)

    async def want(self, model_id: str) -> ModelOverview:
        await self.overview(model_id)
        self.wants.append(model_id)
        return self._begin(model_id, Reason.REQUEST)

    async def expect(self, model_id: str) -> ModelOverview:
        return await self.overview(model_id)

    async def unload(self, model_id: str, *, force: bool = False) -> ModelOverview:
        model = await self.overview(model_id)
        self.unloads.append((model_id, force))
        self._models[model_id] = replace(model, pinned_until=None)
        if model.state is not ModelState.UNLOADED:
            self.become(model_id, ModelState.DRAINING if model.in_flight else ModelState.UNLOADED, Reason.UNLOAD)
        return self._models[model_id]

    def events(self, *, after_seq: int | None) -> AsyncGenerator[ModelEvent, None]:
        return self._events.follow(after_seq)

    def _begin(self, model_id: str, reason: Reason) -> ModelOverview:
        if self._models[model_id].state in IDLE:
            self.become(model_id, ModelState.LOADING, reason)
        return self._models[model_id]
