"""A `Models` of each kind, and how its world goes on."""

from __future__ import annotations

from typing import Protocol

from serve_app.models.protocols import Models
from serve_app.models.types import ModelState, Reason
from serve_app.testing import FakeClock, FakeModels
from tests.unit.lifecycle.world import World, settled


class House(Protocol):
    clock: FakeClock
    models: Models

    async def becomes_ready(self, model_id: str) -> None:
        """The load that was begun ends well."""
        ...

    def loads_begun(self, model_id: str) -> int: ...


class FakeHouse(House):
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.fake = self.models = FakeModels(("tiny.en", "base"), self.clock.utc)
        self._begun = 0

    async def becomes_ready(self, model_id: str) -> None:
        self._begun += (await self.models.overview(model_id)).state is ModelState.LOADING
        self.fake.become(model_id, ModelState.READY, Reason.LOADED)

    def loads_begun(self, model_id: str) -> int:
        return self._begun


class RegistryHouse(House):
    def __init__(self) -> None:
        self.world = World()
        self.clock, self.models = self.world.clock, self.world.registry

    async def becomes_ready(self, model_id: str) -> None:
        await settled()
        self.clock.advance(1)
        ready = self.world.change(model_id, ModelState.READY)
        await self.world.report(self.world.snapshot(model_id, ModelState.READY), changes=[ready])

    def loads_begun(self, model_id: str) -> int:
        return [call.model_id for call in self.world.holder.calls].count(model_id)
