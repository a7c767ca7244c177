"""A replica's side: it tells the Coordinator of its models, and hears what it is to free."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from serve_app.errors import RayscribeError
from serve_app.lifecycle.events import SLICE_S
from serve_app.lifecycle.overview import Wish
from serve_app.models.protocols import ModelReporter, Models
from serve_app.models.types import SERVING, ModelOverview, ModelSnapshot, ModelState, Reason, ReplicaReport, UnloadOrder

logger = logging.getLogger(__name__)

HAS = SERVING | {ModelState.LOADING}
LINGER_S = 2.0  # longer than the way back to the Coordinator and here again


@dataclass(frozen=True, slots=True)
class Pace:
    """
    All in seconds.

    Attributes:
        sign_s: A report that nothing has changed, as a sign of life.
        rest_s: Between two reports that tell only of uses.
        gather_s: Changes that come so soon after one another are told together.
        again_s: After a call that failed.
        answer_s: How long a report may take.
        orders_s: How long a question for orders may take; the Coordinator answers each within `SLICE_S`.
    """

    sign_s: float = 5.0
    rest_s: float = 0.5
    gather_s: float = 0.05
    again_s: float = 1.0
    answer_s: float = 10.0
    orders_s: float = 2 * SLICE_S


class KeptModels(Protocol):
    """The models of this replica."""

    @property
    def changed(self) -> asyncio.Event:
        """Set while there are changes that no taken report told."""
        ...

    @property
    def stirred(self) -> asyncio.Event:
        """Set while something may be otherwise than in the last report, such as what is in flight; set with `changed` too."""
        ...

    @property
    def must_recycle(self) -> bool:
        """The process takes nothing more, and is to be replaced."""
        ...

    async def report(self, number: int, *, stopping: bool = False) -> ReplicaReport: ...

    def taken(self, number: int) -> None:
        """The report has arrived."""
        ...

    def hold(self, model_id: str, cause: Reason, asked_at: datetime | None = None) -> AbstractAsyncContextManager[None]:
        """
        Load a model, and keep idleness away from it while the context is open.

        Args:
            asked_at: An order to unload it that was given later goes before; None: now.
        """
        ...

    def unload(self, order: UnloadOrder) -> None: ...


class ReplicaLink:
    """
    Pushes reports and listens for orders, from `start` to `close`.

    A Coordinator that is away disturbs nothing: its reports are tried again, and the first that a new one gets tells all.

    Args:
        replica_id: As in the reports.
        advertise: Tells who sends chunks which models are here.
    """

    def __init__(
        self,
        replica_id: str,
        models: KeptModels,
        coordinator: ModelReporter,
        advertise: Callable[[frozenset[str]], Awaitable[None]],
        pace: Pace | None = None,
    ) -> None:
        self._replica_id = replica_id
        self._models = models
        self._coordinator = coordinator
        self._advertise = advertise
        self._pace = pace or Pace()
        self._advertised: frozenset[str] = frozenset()
        self._number = 0
        self._is_away = False
        self._met = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        # A context of its own: Serve cancels whatever was started in the context of a call that is cancelled.
        self._tasks = [
            asyncio.create_task(work, context=contextvars.Context()) for work in (self._tell(), self._listen())
        ]

    async def close(self) -> None:
        """Say goodbye."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._report(stopping=True)

    async def _tell(self) -> None:
        while True:
            if await self._report():
                self._met.set()
                await self._until_there_is_news()
                await asyncio.sleep(self._pace.gather_s)
            else:
                await asyncio.sleep(self._pace.again_s)

    async def _until_there_is_news(self) -> None:
        """A change of state is news at once, a use not right after another one."""
        if not await _within(self._pace.rest_s, self._models.changed):
            await _within(self._pace.sign_s, self._models.stirred)

    async def _report(self, *, stopping: bool = False) -> bool:
        """Whether it arrived."""
        self._number += 1
        try:
            report = await self._models.report(self._number, stopping=stopping)
            await self._advertise_what_is_new(report)
            async with asyncio.timeout(self._pace.answer_s):
                await self._coordinator.report(report)
        except Exception as error:
            self._failed(error)
            return False
        self._models.taken(report.number)
        self._is_away = False
        return True

    def _failed(self, error: Exception) -> None:
        if not self._is_away:
            logger.warning("the states of models cannot be reported, and are tried again: %r", error)
        self._is_away = True

    async def _advertise_what_is_new(self, report: ReplicaReport) -> None:
        usable = () if self._models.must_recycle else report.models
        here = frozenset(model.model_id for model in usable if _is_used_here(model))
        if here != self._advertised and not report.stopping:
            await self._advertise(here)
            self._advertised = here

    async def _listen(self) -> None:
        # Orders begin with the first report: earlier ones were for others.
        await self._met.wait()
        after = None
        while True:
            try:
                async with asyncio.timeout(self._pace.orders_s):  # a machine without power refuses nothing
                    orders = await self._coordinator.orders(self._replica_id, after=after)
                for order in orders:
                    self._models.unload(order)
                    after = order.number
            except Exception as error:
                logger.debug("orders cannot be had, and are asked for again: %r", error)
                await asyncio.sleep(self._pace.again_s)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Whether it was set in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False


def _is_used_here(model: ModelSnapshot) -> bool:
    # Transcriptions that go on until an unload takes effect would, elsewhere, load what was to be unloaded.
    return model.state in HAS or (model.state is ModelState.DRAINING and model.reason is Reason.UNLOAD)


async def load_what_others_use(models: Models, kept: KeptModels) -> None:
    """
    Load, in a replica that starts, the models that others have work for.

    It was added because they have too much of it, and none of it would come here: chunks go where their model is.
    """
    try:
        status = await models.status()
        used = [model.model_id for model in status.models if _is_used(model)]
        await asyncio.gather(*(_load(kept, model_id, status.at) for model_id in used))
    except RayscribeError as error:
        logger.info("what other replicas use is not loaded ahead: %s", error.message)


def _is_used(model: ModelOverview) -> bool:
    # What ends soon, because the model is to be unloaded, is not worth a load.
    return bool(model.in_flight or model.queued) and model.state is not ModelState.DRAINING


async def _load(kept: KeptModels, model_id: str, asked_at: datetime | None) -> None:
    async with kept.hold(model_id, Reason.REQUEST, asked_at):
        pass


class Holds:
    """
    Holds for a while, that last a little longer than their callers know: idleness must not free a model between a call and the
    next.
    """

    def __init__(self, models: KeptModels, *, linger_s: float = LINGER_S) -> None:
        self._models = models
        self._linger_s = linger_s
        self._lingering: set[asyncio.Task[None]] = set()  # asyncio itself keeps no task alive

    async def hold(self, model_id: str, for_s: float, wish: Wish) -> None:
        """
        Load a model, and keep idleness away from it for so many seconds from then on.

        Raises:
            Exception: As the models' `hold`.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._models.hold(model_id, wish.reason, wish.at))
            await asyncio.sleep(for_s)
            lingering = asyncio.create_task(self._linger(stack.pop_all()), context=contextvars.Context())
        self._lingering.add(lingering)
        lingering.add_done_callback(self._lingering.discard)

    async def _linger(self, hold: AsyncExitStack) -> None:
        async with hold:
            await asyncio.sleep(self._linger_s)
