"""The seams of the model lifecycle."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from serve_app.models.types import (
    ClusterModels,
    GpuMemory,
    ModelEvent,
    ModelOverview,
    ReplicaReport,
    UnloadOrder,
)


class Gpu(Protocol):
    """The device that this process runs on."""

    def memory(self) -> GpuMemory:
        """
        Raises:
            GpuLost: The driver does not answer, or the device fell off the bus.
        """
        ...


class Models(Protocol):
    """What the HTTP layer asks for; the Coordinator answers, and no replica is asked, woken or kept awake by it."""

    async def status(self) -> ClusterModels: ...

    async def overview(self, model_id: str) -> ModelOverview:
        """
        Raises:
            ModelNotFound: The catalogue has no such model.
        """
        ...

    async def load(self, model_id: str, *, ttl_s: float | None = None) -> ModelOverview:
        """
        Begin to load a model, also when no replica is up, and pin it; gives its state now. Asking again renews the pin.

        Args:
            ttl_s: The pin ends so many seconds after the model's last use; None: as idleness would free it; negative: never.

        Raises:
            ModelNotFound: The catalogue has no such model.
        """
        ...

    async def want(self, model_id: str) -> ModelOverview:
        """Begin to load a model for a request that is turned away now, without a pin; gives its state."""
        ...

    async def expect(self, model_id: str) -> ModelOverview:
        """
        As `overview`, asked by one whose work waits for the model: until a replica is up it counts as LOADING.

        Begins nothing, because the work itself starts a replica, and holds for some seconds: ask again.
        """
        ...

    async def unload(self, model_id: str, *, force: bool = False) -> ModelOverview:
        """
        Take the pin back and have each replica free the model; gives its state now.

        Transcriptions that run go on to their end, unless `force`: their callers then get ModelNotReady. What begins later
        loads it again.

        Raises:
            ModelNotFound: The catalogue has no such model.
        """
        ...

    def events(self, *, after_seq: int | None) -> AsyncGenerator[ModelEvent, None]:
        """
        A slice of the changes: ends by itself after some seconds, so that replicas can drain.

        Args:
            after_seq: The last one seen; None begins with the state of each model of the catalogue.
        """
        ...


class ModelReporter(Protocol):
    """What a replica tells the Coordinator, and what it is told; calls in this direction keep no replica awake."""

    async def report(self, report: ReplicaReport) -> None: ...

    async def orders(self, replica_id: str, *, after: int | None) -> Sequence[UnloadOrder]:
        """
        Orders with a number above `after`, oldest first; waits for one for some seconds and gives none if none came.

        Args:
            after: The last one carried out; None: all that are known.
        """
        ...
