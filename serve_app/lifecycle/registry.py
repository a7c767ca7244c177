"""The models of all replicas, as the Coordinator knows them: told by replicas, asked by the HTTP layer."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from serve_app.errors import PASSING, ModelNotFound, ModelNotReady, RayscribeError, Unavailable
from serve_app.lifecycle.events import SLICE_S, ModelEvents
from serve_app.lifecycle.expected import Expected
from serve_app.lifecycle.fleet import Fleet, Told
from serve_app.lifecycle.log import NumberedLog
from serve_app.lifecycle.overview import NOT_BEGUN, Facts, Past, Wish, overview
from serve_app.lifecycle.patience import NOT_SERVING
from serve_app.lifecycle.pins import Pin
from serve_app.lifecycle.protocols import Clock, Holder, Sleep
from serve_app.models.protocols import ModelReporter, Models
from serve_app.models.types import (
    SERVING,
    ClusterModels,
    ModelChange,
    ModelEvent,
    ModelOverview,
    ModelState,
    Reason,
    ReplicaReport,
    UnloadOrder,
)
from serve_app.settings.lifecycle import LifecycleSettings

logger = logging.getLogger(__name__)

HOLD_S = 10.0  # a Coordinator that dies leaves no replica awake for longer
AGAIN_S = 1.0  # after a hold that failed
LOOK_S = 1.0  # how often silent replicas are looked for
BEFORE_ALL = 0  # orders

READY = frozenset({ModelState.READY, ModelState.BUSY})
TOO_EARLY = (ModelNotReady, Unavailable)

Lack = Literal["model", "gpu"]


@dataclass(frozen=True, slots=True)
class _Hold:
    wish: Wish
    task: asyncio.Task[None]


class ModelRegistry(Models, ModelReporter):
    """
    Folds reports into one picture, numbers the changes, hands orders to replicas, and holds what is pinned.

    Nothing of it is kept on a disk: after a start it knows what replicas tell within seconds.

    Args:
        catalogue: Ids of all models; looked at anew each time.
        monotonic_s: Measures for how long replicas are silent.
        slice_s: How long a call of `events` or `orders` lasts.
    """

    def __init__(
        self,
        catalogue: Collection[str],
        holder: Holder,
        settings: LifecycleSettings,
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        slice_s: float = SLICE_S,
    ) -> None:
        self._holder = holder
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._slice_s = slice_s
        self._catalogue = catalogue
        started_at = clock()
        self._past: defaultdict[str, Past] = defaultdict(lambda: Past(started_at))
        self._pins: dict[str, Pin] = {}
        self._holds: dict[str, _Hold] = {}
        self._expected = Expected()
        self._fleet = Fleet(monotonic_s)
        self._orders: NumberedLog[UnloadOrder] = NumberedLog(started_at)
        self._events = ModelEvents(started_at, self._overviews, slice_s=slice_s)

    async def run(self) -> None:
        """Look for replicas that fell silent, until cancelled; then nothing is held any more."""
        try:
            while True:
                await self._sleep(LOOK_S)
                self._tell(self._fleet.forget_silent(self._clock()))
                self._end_holds()
                for model_id in self._expected.over(self._clock()):
                    with self._telling(model_id):
                        self._expected.end(model_id)
                        self._ended(model_id, Reason.IDLE)
        finally:
            holds = [hold.task for hold in self._holds.values()]
            for task in holds:
                task.cancel()
            await asyncio.gather(*holds, return_exceptions=True)

    # For the HTTP layer.

    async def status(self) -> ClusterModels:
        return ClusterModels(self._overviews(), self._fleet.gpus, self._clock())

    async def overview(self, model_id: str) -> ModelOverview:
        self._check(model_id)
        return self._overview(model_id)

    def lacks(self, model_id: str) -> Lack | None:
        """What chunks of a model wait for before they are begun with, if they do."""
        if model_id not in self._catalogue:
            return None
        state = self._overview(model_id).state
        if state is ModelState.WAITING_FOR_GPU:
            return "gpu"
        return "model" if state in NOT_SERVING else None

    async def load(self, model_id: str, *, ttl_s: float | None = None) -> ModelOverview:
        self._check(model_id)
        self._pins[model_id] = Pin(self._clock(), ttl_s)
        self._see_ready(model_id)
        self._hold(model_id, Reason.LOAD)
        return self._overview(model_id)

    async def want(self, model_id: str) -> ModelOverview:
        self._check(model_id)
        if self._overview(model_id).state not in SERVING:
            self._hold(model_id, Reason.REQUEST)
        return self._overview(model_id)

    async def expect(self, model_id: str) -> ModelOverview:
        self._check(model_id)
        if model_id in self._expected or not self._fleet:
            with self._telling(model_id):
                self._expected.renew(model_id, self._clock())
        return self._overview(model_id)

    async def unload(self, model_id: str, *, force: bool = False) -> ModelOverview:
        self._check(model_id)
        with self._telling(model_id):
            self._pins.pop(model_id, None)
            hold = self._holds.pop(model_id, None)
            if hold:
                hold.task.cancel()
            if self._expected.end(model_id) or hold:
                self._ended(model_id, Reason.UNLOAD)
            self._orders.add(lambda number: UnloadOrder(number, model_id, self._clock(), force))
        return self._overview(model_id)

    def events(self, *, after_seq: int | None) -> AsyncGenerator[ModelEvent, None]:
        return self._events.follow(after_seq)

    # For replicas.

    async def report(self, report: ReplicaReport) -> None:
        for model in report.models:
            self._past[model.model_id] = self._past[model.model_id].with_report(model)
            self._expected.end(model.model_id)
        self._tell(self._fleet.fold(report, self._clock()))
        for model in report.models:
            self._see_ready(model.model_id)

    async def orders(self, replica_id: str, *, after: int | None) -> Sequence[UnloadOrder]:
        # To one that has heard none, the old ones tell which chunks come too late. A number that this Coordinator has not
        # reached is of one whose clock was ahead.
        if after is None or after > self._orders.last:
            after = BEFORE_ALL
        return await self._orders.wait_after(after, self._slice_s)

    # What follows.

    def _check(self, model_id: str) -> None:
        if model_id not in self._catalogue:
            known = ", ".join(sorted(self._catalogue))
            raise ModelNotFound(f"There is no model {model_id}; the catalogue has {known}.", param="model")

    def _tell(self, news: Sequence[Told]) -> None:
        for its in news:
            change = its.change
            if change.state is ModelState.UNLOADED:
                past = self._past[change.model_id]
                self._past[change.model_id] = replace(past, since=change.at, reason=change.reason)
            self._events.add(
                change.at, change.model_id, change.state, change.reason, replica_id=its.replica_id, error=change.error
            )
            if change.state is ModelState.UNLOADED and not self._is_kept_by_others(its):
                self._hold_on(change)

    def _hold(self, model_id: str, reason: Reason) -> None:
        if model_id in self._holds:
            return
        with self._telling(model_id):
            self._past[model_id] = replace(self._past[model_id], last_error=None, error_passes=False)
            wish = Wish(self._clock(), reason)
            self._holds[model_id] = _Hold(wish, self._start_to_keep(model_id, wish))

    def _see_ready(self, model_id: str) -> None:
        """The time of a pin begins."""
        pin = self._pins.get(model_id)
        if pin and pin.ready_at is None and self._overview(model_id).state in READY:
            self._pins[model_id] = replace(pin, ready_at=self._clock())

    def _is_kept_by_others(self, freed: Told) -> bool:
        """Whether another replica has the model, which then has the hold, or gets the next."""
        others = (its for its in self._fleet.of(freed.change.model_id) if its.replica_id != freed.replica_id)
        return any(its.model.pinned or its.model.state in SERVING for its in others)

    def _hold_on(self, freed: ModelChange) -> None:
        """A replica has freed a model; perhaps it is held."""
        model_id = freed.model_id
        if (hold := self._holds.get(model_id)) is None:
            return
        if freed.reason is Reason.UNLOAD:  # by an order that the load came after, and overtook on the way
            hold.task.cancel()
            self._holds[model_id] = replace(hold, task=self._start_to_keep(model_id, hold.wish))
            if pin := self._pins.get(model_id):
                self._pins[model_id] = replace(pin, ready_at=None)
        elif freed.reason is Reason.EVICTED and hold.wish.at <= freed.at and model_id not in self._pins:
            # It would be shown as loading to the end of the slice, and who wants it until then would begin no load.
            hold.task.cancel()
            del self._holds[model_id]

    def _start_to_keep(self, model_id: str, wish: Wish) -> asyncio.Task[None]:
        # A context of its own: Serve cancels whatever was started in the context of a call that is cancelled.
        return asyncio.create_task(self._keep(model_id, wish), context=contextvars.Context())

    async def _keep(self, model_id: str, wish: Wish) -> None:
        """Hold a model once, and then as long as it is pinned."""
        try:
            held = False
            while not held or self._pinned_for_s(model_id) > 0:
                held = await self._hold_once(model_id, wish) or held
            self._let_go(model_id, Reason.IDLE)
        except RayscribeError as error:
            logger.warning("model %s cannot be loaded: %s", model_id, error.message)
            self._let_go(model_id, Reason.ERROR, error)

    async def _hold_once(self, model_id: str, wish: Wish) -> bool:
        """Whether it was loaded."""
        for_s = min(HOLD_S, self._pinned_for_s(model_id)) if model_id in self._pins else HOLD_S
        try:
            await self._holder.hold(model_id, for_s, wish)
        except TOO_EARLY as error:
            logger.info("model %s could not be held: %s", model_id, error.message)
        except RayscribeError:
            raise
        except Exception:  # foreign, as of Ray: a pin outlives it, and without a new try its model would not come back
            logger.exception("model %s could not be held", model_id)
        else:
            return True
        await self._sleep(AGAIN_S)
        return False

    def _end_holds(self) -> None:
        """Give up those whose model does not come: they would keep a replica up for as long as others hold its memory."""
        for model_id in [model_id for model_id in self._holds if self._is_over(model_id)]:
            self._holds[model_id].task.cancel()
            self._let_go(model_id, Reason.IDLE)

    def _is_over(self, model_id: str) -> bool:
        if pin := self._pins.get(model_id):
            return pin.ready_at is not None and self._pinned_for_s(model_id) <= 0
        lasts_s = (self._clock() - self._holds[model_id].wish.at).total_seconds()
        return lasts_s > self._settings.cold_start_wait_s and self._overview(model_id).state in NOT_SERVING

    def _pinned_for_s(self, model_id: str) -> float:
        until = self._overview(model_id).pinned_until
        return (until - self._clock()).total_seconds() if until else 0.0

    def _let_go(self, model_id: str, reason: Reason, error: RayscribeError | None = None) -> None:
        """A hold has ended by itself."""
        with self._telling(model_id):
            self._pins.pop(model_id, None)
            self._holds.pop(model_id, None)
            self._ended(model_id, reason, error)

    def _ended(self, model_id: str, reason: Reason, error: RayscribeError | None = None) -> None:
        """If no replica began with what was held, this is how its load ended."""
        if all(its.model.state in NOT_BEGUN for its in self._fleet.of(model_id)):
            self._past[model_id] = replace(
                self._past[model_id],
                since=self._clock(),
                reason=reason,
                last_error=error.message if error else None,
                error_passes=isinstance(error, PASSING),
            )

    @contextlib.contextmanager
    def _telling(self, model_id: str) -> Iterator[None]:
        """Tell subscribers when the model as a whole changes, where no replica does."""
        before = self._overview(model_id).state
        yield
        after = self._overview(model_id)
        if after.state is not before:
            self._events.add(self._clock(), model_id, after.state, after.reason, error=after.last_error)

    def _overviews(self) -> tuple[ModelOverview, ...]:
        return tuple(map(self._overview, self._catalogue))

    def _overview(self, model_id: str) -> ModelOverview:
        hold = self._holds.get(model_id)
        facts = Facts(
            model_id,
            self._fleet.of(model_id),
            bool(self._fleet),
            self._past[model_id],
            hold.wish if hold else self._expected.wish(model_id),
            self._pins.get(model_id),
        )
        return overview(
            facts,
            self._clock(),
            unloads_after_s=self._settings.unloads_after_s,
            gpu_poll_interval_s=self._settings.gpu_poll_interval_s,
        )
