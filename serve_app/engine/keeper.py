"""Models in memory, kept by the rules of `Residents`: whoever wants one waits for it, and what nobody wants goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from serve_app.engine.alarm import Alarm
from serve_app.engine.caller import Caller
from serve_app.engine.meter import Meter
from serve_app.engine.models import LoadedModel, Loader, is_device_fault
from serve_app.engine.porter import Porter
from serve_app.engine.reports import Reports
from serve_app.engine.resident import Action, Grant, Refuse, Ticket
from serve_app.engine.residents import Residents
from serve_app.engine.weights import Weights
from serve_app.errors import (
    InsufficientMemory,
    OutOfMemory,
    RecognizerLeaving,
    RecognizerUnavailable,
)
from serve_app.models.protocols import Gpu
from serve_app.models.types import GpuMemory, ModelSnapshot, Reason, ReplicaReport, UnloadOrder
from serve_app.settings.lifecycle import LifecycleSettings
from serve_app.settings.niceness import give_way
from serve_app.telemetry.tally import Tally

T = TypeVar("T")

MOST_TRIES = 3
"""Of a chunk that runs out of memory alone in its batch: after these it will not help to load its model once more."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ModelKeeper:
    """
    The models of one replica. To be used from one event loop.

    Args:
        loader: Where models come from.
        settings: The rules.
        gpu: The device, if its memory can be asked.
        on_gpu: Whether models run on a GPU; None: if there is `gpu`.
        replica_id: In reports.
        executor: Where loads and all else that blocks is done; None makes one, and another for questions to the GPU.
        now: A clock in seconds.
        utc: A clock of instants, the cluster's: reports ask it once, and orders are compared by it.
        sleep: Waits for seconds of that clock.
        tally: Where loads are counted.
    """

    def __init__(
        self,
        loader: Loader,
        settings: LifecycleSettings | None = None,
        *,
        gpu: Gpu | None = None,
        on_gpu: bool | None = None,
        replica_id: str = "",
        executor: Executor | None = None,
        now: Callable[[], float] = time.monotonic,
        utc: Callable[[], datetime] = _utc_now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        tally: Tally | None = None,
    ) -> None:
        settings = settings or LifecycleSettings()
        self._on_gpu = gpu is not None if on_gpu is None else on_gpu
        self._residents = Residents(settings, on_gpu=self._on_gpu)
        self._weights = Weights(loader, gpu)
        self._reports = Reports(replica_id, utc(), now())
        meter = Meter(gpu, executor) if gpu is not None else None
        # Eight, because a load may be a download, and must not keep others from being freed. A model's own threads, which do
        # its work, are as nice as the one that loads it.
        executor = executor or ThreadPoolExecutor(8, thread_name_prefix="models", initializer=give_way)
        self._porter = Porter(
            self._residents,
            self._weights,
            executor,
            meter=meter,
            on_gpu=self._on_gpu,
            residue_bytes=settings.unload_residue_bytes,
            now=now,
            ended=self._turn,
            tally=tally or Tally(),
        )
        self._now = now
        self._utc = utc
        self._callers: dict[Ticket, Caller] = {}
        self._alarm = Alarm(self._turn, now, sleep)
        self._is_closed = False

    @property
    def must_recycle(self) -> bool:
        """Memory that was freed did not come back, or the GPU has failed, so the process is to be replaced."""
        return self._porter.must_recycle

    @property
    def changed(self) -> asyncio.Event:
        """Set while there are changes that no taken report told."""
        return self._reports.changed

    @property
    def stirred(self) -> asyncio.Event:
        """Set while something may be otherwise than in the last report, such as what is in flight."""
        return self._reports.stirred

    @asynccontextmanager
    async def lease(self, model_id: str, began_at: datetime | None = None) -> AsyncIterator[LoadedModel]:
        """
        Use a model, loaded first if need be, for as long as the context is open. Cancelling a wait cancels no load.

        Args:
            began_at: When the whole began that this is a part of: when the model is to be unloaded, what began before goes on.
                None: now.

        Raises:
            ModelLoadFailed, PullFailed: It cannot be loaded here. Where others hold the GPU's memory it is waited for.
            ModelNotReady: It was unloaded by force, also while the context is open.
            RecognizerUnavailable: The keeper is closed, or the GPU has failed.
        """
        async with self._asking(model_id, Reason.REQUEST, began_at) as caller:
            yield await caller.model

    async def use(
        self, model_id: str, work: Callable[[LoadedModel], Awaitable[T]], *, began_at: datetime | None = None
    ) -> T:
        """
        Work with a model; when the GPU's memory runs out, again as soon as the model could be loaded again.

        Raises:
            ModelLoadFailed, PullFailed, ModelNotReady, RecognizerUnavailable: As `lease`.
            InsufficientMemory: The device's memory ran out each time.
            Exception: Whatever else `work` raises.
        """
        tries = 0
        while True:
            async with self._asking(model_id, Reason.REQUEST, began_at) as caller:
                model = await caller.model
                try:
                    return await work(model)
                except OutOfMemory as error:
                    tries += 1
                    if tries == MOST_TRIES:
                        raise _too_large(model_id, error) from error
                    if self._on_gpu and not self._residents[model_id].on_cpu:
                        self._residents.ran_out_of_memory(caller.ticket, error.message, self._now())

    @contextmanager
    def at_work(self, model_id: str) -> Iterator[None]:
        """
        Keep the weights for a batch, which runs to its end also when all who asked for it have gone.

        Raises:
            RecognizerUnavailable: The GPU failed in it; another process may do it.
        """
        self._residents.begin_work(model_id)
        try:
            yield
        except RuntimeError as error:
            if not is_device_fault(error):
                raise
            self._porter.give_up(str(error))
            raise RecognizerUnavailable(f"The GPU failed while it worked on this audio: {error}") from error
        finally:
            self._residents.end_work(model_id, self._now())
            self._turn()

    @asynccontextmanager
    async def hold(
        self, model_id: str, cause: Reason = Reason.LOAD, asked_at: datetime | None = None
    ) -> AsyncIterator[None]:
        """
        Load a model, and keep idleness away from it for as long as the context is open.

        Args:
            asked_at: When this was wished for; None: now.

        Raises:
            ModelLoadFailed, PullFailed, RecognizerUnavailable: As `lease`.
            ModelNotReady: It was unloaded before it was loaded, or was ordered to be after this was wished for.
        """
        async with self._asking(model_id, cause, asked_at, holds=True) as caller:
            await caller.model
            yield

    async def preload(self, model_ids: Sequence[str]) -> None:
        """
        Load models before they are needed, side by side.

        Raises:
            ModelLoadFailed, PullFailed, RecognizerUnavailable: As `lease`.
        """
        await asyncio.gather(*(_enter(self.hold(model_id, Reason.PRELOAD)) for model_id in model_ids))

    def unload(self, order: UnloadOrder) -> None:
        """Free a model as soon as nobody uses it; by force, take it from all who do and from all who wait for it."""
        # Where the clock of the Coordinator's machine is ahead, the order must not be about what is yet to come.
        self._residents.unload(replace(order, at=min(order.at, self._utc())), self._now())
        self._turn()

    def change_rules(self, settings: LifecycleSettings) -> None:
        """Have other times from now on; what has been idle for longer goes at once."""
        self._residents.change_rules(settings)
        self._turn()

    def snapshot(self) -> tuple[ModelSnapshot, ...]:
        """All models that there ever were, as they are now."""
        return self._reports.snapshot(self._residents)

    async def report(self, number: int, *, stopping: bool = False) -> ReplicaReport:
        """What there is to tell, with the changes since the last report that was `taken`."""
        gpu = None if self._is_closed else await self._porter.memory_if_known()
        return self._reports.report(number, self._residents, gpu, stopping=stopping)

    def taken(self, number: int) -> None:
        """A report has arrived."""
        self._reports.taken(number)

    async def close(self) -> None:
        """Send away all who wait, and free the models; what loads still is dropped when it has ended."""
        if self._is_closed:
            return
        self._alarm.stop()
        self._residents.stop(self._now())
        self._turn()
        self._is_closed = True
        self._porter.close()
        await asyncio.to_thread(self._weights.clear)

    @asynccontextmanager
    async def _asking(
        self, model_id: str, cause: Reason, began_at: datetime | None, *, holds: bool = False
    ) -> AsyncIterator[Caller]:
        if self._is_closed or self.must_recycle:
            raise RecognizerLeaving("This process of the recogniser is stopping, or is to be replaced.")
        ticket = self._residents.ask(model_id, self._now(), began_at or self._utc(), cause=cause, holds=holds)
        caller = self._callers[ticket] = Caller(ticket)
        self._turn()
        try:
            with caller.told_why():
                yield caller
        finally:
            del self._callers[ticket]
            self._residents.leave(ticket, self._now())
            self._turn()

    def _turn(self, memory: GpuMemory | None = None) -> None:
        """Do what there is to do now."""
        if self._is_closed:
            return
        now = self._now()
        for action in self._residents.decide(now, memory):
            self._carry_out(action)
        self._reports.add(self._residents.take_changes())
        self._reports.stirred.set()
        self._alarm.set(self._residents.due(now))  # by the same reading: an instant in between two would be nobody's

    def _carry_out(self, action: Action) -> None:
        match action:
            case Grant(ticket):
                self._callers[ticket].give(self._weights[ticket.model_id])
            case Refuse(ticket, error):
                self._callers[ticket].refuse(error)
            case _:
                self._porter.start(action)


def _too_large(model_id: str, error: OutOfMemory) -> InsufficientMemory:
    return InsufficientMemory(
        f"{model_id} ran out of memory with one chunk, {MOST_TRIES} times: ask for a smaller beam_size, or for a smaller model."
        f" ({error.message})"
    )


async def _enter(context: AbstractAsyncContextManager[None]) -> None:
    async with context:
        pass
