"""A registry, and hands in place of the replicas that it talks with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from serve_app.lifecycle.overview import Wish
from serve_app.lifecycle.pin_file import PinFile
from serve_app.lifecycle.protocols import Holder
from serve_app.lifecycle.registry import ModelRegistry
from serve_app.models.types import ModelChange, ModelEvent, ModelSnapshot, ModelState, Reason, ReplicaReport
from serve_app.settings.lifecycle import LifecycleSettings
from serve_app.testing import FakeClock

A, B = "tiny.en", "base"


@dataclass(eq=False)
class Hold:
    """A call that waits for the test to end it."""

    model_id: str
    for_s: float
    wish: Wish
    ended: asyncio.Future[None]


class HandHolder(Holder):
    """
    Attributes:
        calls: All that ever began.
        cancelled: Models whose hold was ended from outside.
    """

    def __init__(self) -> None:
        self.calls: list[Hold] = []
        self.cancelled: list[str] = []

    async def hold(self, model_id: str, for_s: float, wish: Wish) -> None:
        call = Hold(model_id, for_s, wish, asyncio.get_running_loop().create_future())
        self.calls.append(call)
        try:
            await call.ended
        except asyncio.CancelledError:
            self.cancelled.append(model_id)
            raise

    async def end(self, error: Exception | None = None) -> None:
        """The last call ends."""
        await settled()
        if error:
            self.calls[-1].ended.set_exception(error)
        else:
            self.calls[-1].ended.set_result(None)
        await settled()


class World:
    """
    Attributes:
        registry: Knows the models `A` and `B`, and others that a test adds to its `catalogue`.
    """

    def __init__(
        self,
        clock: FakeClock | None = None,
        *,
        slice_s: float = 0.05,
        pin_file: PinFile | None = None,
        **settings: Any,
    ) -> None:
        self.clock = clock or FakeClock()
        self.holder = HandHolder()
        self.catalogue = [A, B]
        self.registry = ModelRegistry(
            self.catalogue,
            self.holder,
            LifecycleSettings(**settings),
            self.clock.utc,
            self._sleep,
            pin_file=pin_file,
            monotonic_s=self.clock,
            slice_s=slice_s,
        )
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._numbers = iter(range(1, 10**6))

    async def report(
        self,
        *models: ModelSnapshot,
        replica: str = "r1",
        number: int | None = None,
        changes: Sequence[ModelChange] = (),
        stopping: bool = False,
    ) -> None:
        """A report, by default a later one than those before."""
        its = next(self._numbers) if number is None else number
        await self.registry.report(ReplicaReport(replica, its, models, tuple(changes), stopping=stopping))

    def snapshot(self, model_id: str, state: ModelState, reason: Reason = Reason.LOADED, **more: Any) -> ModelSnapshot:
        return ModelSnapshot(model_id, state, more.pop("since", self.clock.utc()), reason, **more)

    def change(self, model_id: str, state: ModelState, reason: Reason = Reason.LOADED) -> ModelChange:
        return ModelChange(model_id, state, reason, self.clock.utc())

    async def advance(self, seconds: float) -> None:
        """Time goes on, for sleepers too."""
        self.clock.advance(seconds)
        due = [sleeper for sleeper in self._sleepers if sleeper[0] <= self.clock()]
        for sleeper in due:
            self._sleepers.remove(sleeper)
            if not sleeper[1].done():
                sleeper[1].set_result(None)
        await settled()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.registry.run())
        await settled()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def slice_of(self, after_seq: int | None = None) -> list[ModelEvent]:
        async with contextlib.aclosing(self.registry.events(after_seq=after_seq)) as events:
            return [event async for event in events]

    async def seen(self) -> int:
        """The number of the last event."""
        return (await self.slice_of())[-1].seq

    async def _sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.clock() + seconds, woken))
        await woken


async def settled() -> None:
    """All that can go on without time has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)
