"""The models of all replicas, as the Coordinator steers them: told by replicas, asked by the HTTP layer."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import replace
from typing import Literal

from serve_app.errors import ModelNotReady, RayscribeError, Unavailable
from serve_app.lifecycle.events import SLICE_S
from serve_app.lifecycle.fleet import Told
from serve_app.lifecycle.log import NumberedLog
from serve_app.lifecycle.overview import Wish
from serve_app.lifecycle.patience import NOT_SERVING
from serve_app.lifecycle.picture import Picture
from serve_app.lifecycle.pin_file import KeptPin, PinFile
from serve_app.lifecycle.pins import Pin
from serve_app.lifecycle.protocols import Clock, Holder, Sleep
from serve_app.models.protocols import ModelReporter, Models
from serve_app.models.types import (
    SERVING,
    ClusterModels,
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

TOO_EARLY = (ModelNotReady, Unavailable)

Lack = Literal["model", "gpu"]


class ModelRegistry(Models, ModelReporter):
    """
    Folds reports into one picture, hands orders to replicas, and holds what is wished for and what is pinned.

    After a start it knows what replicas tell within seconds, and what was pinned.

    Args:
        catalogue: Ids of all models; looked at anew each time.
        pin_file: Where pins are kept for the next one; None: nowhere.
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
        pin_file: PinFile | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        slice_s: float = SLICE_S,
    ) -> None:
        self._catalogue = catalogue
        self._holder = holder
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._pin_file = pin_file
        self._kept_pins: dict[str, KeptPin] | None = None  # until what the last one kept was pinned again
        self._writing = asyncio.Lock()
        self._slice_s = slice_s
        self._picture = Picture(catalogue, settings, clock, monotonic_s=monotonic_s, slice_s=slice_s)
        self._holds: dict[str, asyncio.Task[None]] = {}  # of what the picture has as a wish
        self._orders: NumberedLog[UnloadOrder] = NumberedLog(clock())

    async def run(self) -> None:
        """Pin what was pinned, and look for replicas that fell silent, until cancelled; then nothing is held any more."""
        try:
            await self._pin_again()
            while True:
                await self._sleep(LOOK_S)
                self._heed(self._picture.forget_silent())
                self._end_holds()
                await self._keep_pins()
        finally:
            holds = list(self._holds.values())
            for task in holds:
                task.cancel()
            await asyncio.gather(*holds, return_exceptions=True)

    def change_rules(self, settings: LifecycleSettings) -> None:
        """Have other times from now on."""
        self._settings = settings
        self._picture.change_rules(settings)

    # For the HTTP layer.

    async def status(self) -> ClusterModels:
        return self._picture.status()

    async def overview(self, model_id: str) -> ModelOverview:
        self._picture.check(model_id)
        return self._picture.overview(model_id)

    def lacks(self, model_id: str) -> Lack | None:
        """What chunks of a model wait for before they are begun with, if they do."""
        if model_id not in self._catalogue:
            return None
        state = self._picture.overview(model_id).state
        if state is ModelState.WAITING_FOR_GPU:
            return "gpu"
        return "model" if state in NOT_SERVING else None

    async def load(self, model_id: str, *, ttl_s: float | None = None) -> ModelOverview:
        self._picture.check(model_id)
        self._picture.pins[model_id] = Pin(self._clock(), ttl_s)
        self._picture.see_ready(model_id)
        self._hold(model_id, Reason.LOAD)
        await self._keep_pins()
        return self._picture.overview(model_id)

    async def want(self, model_id: str) -> ModelOverview:
        self._picture.check(model_id)
        if self._picture.overview(model_id).state not in SERVING:
            self._hold(model_id, Reason.REQUEST)
        return self._picture.overview(model_id)

    async def expect(self, model_id: str) -> ModelOverview:
        self._picture.check(model_id)
        self._picture.expect(model_id)
        return self._picture.overview(model_id)

    async def unload(self, model_id: str, *, force: bool = False) -> ModelOverview:
        self._picture.check(model_id)
        with self._picture.telling(model_id):
            if hold := self._forget_hold(model_id):
                hold.cancel()
                self._picture.ended(model_id, Reason.UNLOAD)
            self._picture.expects_no_more(model_id, Reason.UNLOAD)
            self._orders.add(lambda number: UnloadOrder(number, model_id, self._clock(), force))
        await self._keep_pins()
        return self._picture.overview(model_id)

    def events(self, *, after_seq: int | None) -> AsyncGenerator[ModelEvent, None]:
        return self._picture.events(after_seq)

    # For replicas.

    async def report(self, report: ReplicaReport) -> None:
        self._heed(self._picture.fold(report))
        for model in report.models:
            self._picture.see_ready(model.model_id)

    async def orders(self, replica_id: str, *, after: int | None) -> Sequence[UnloadOrder]:
        # To one that has heard none, the old ones tell which chunks come too late. A number that this Coordinator has not
        # reached is of one whose clock was ahead.
        if after is None or after > self._orders.last:
            after = BEFORE_ALL
        return await self._orders.wait_after(after, self._slice_s)

    # What follows.

    async def _pin_again(self) -> None:
        if self._pin_file is None:
            return
        kept = await asyncio.to_thread(self._pin_file.read)
        for model_id, pin in kept.items():
            if pin.until > self._clock() and model_id in self._catalogue and model_id not in self._picture.pins:
                await self.load(model_id, ttl_s=pin.ttl_s)
        self._kept_pins = kept

    async def _keep_pins(self) -> None:
        async with self._writing:
            pins = self._picture.kept_pins()
            if self._pin_file is not None and self._kept_pins not in (None, pins):
                self._kept_pins = pins
                await asyncio.to_thread(self._pin_file.write, pins)

    def _hold(self, model_id: str, reason: Reason) -> None:
        if model_id in self._holds:
            return
        self._picture.wish(model_id, Wish(self._clock(), reason))
        self._start_to_keep(model_id)

    def _heed(self, news: Sequence[Told]) -> None:
        for its in news:
            freed = its.change.state is ModelState.UNLOADED and its.change.model_id in self._holds
            if freed and not self._picture.is_with_others(its):
                self._hold_on(its)

    def _hold_on(self, freed: Told) -> None:
        """A replica has freed a model that is held."""
        model_id, reason = freed.change.model_id, freed.change.reason
        pin, wish = self._picture.pins.get(model_id), self._picture.wishes[model_id]
        if reason is Reason.UNLOAD:  # by an order that the load came after, and overtook on the way
            self._holds[model_id].cancel()
            self._start_to_keep(model_id)
            if pin:
                self._picture.pins[model_id] = replace(pin, ready_at=None)
        elif reason is Reason.EVICTED and wish.at <= freed.change.at and pin is None:
            # It would be shown as loading to the end of the slice, and who wants it until then would begin no load.
            self._holds[model_id].cancel()
            self._forget_hold(model_id)

    def _start_to_keep(self, model_id: str) -> None:
        keeping = self._keep(model_id, self._picture.wishes[model_id])
        # A context of its own: Serve cancels whatever was started in the context of a call that is cancelled.
        self._holds[model_id] = asyncio.create_task(keeping, context=contextvars.Context())

    async def _keep(self, model_id: str, wish: Wish) -> None:
        """Hold a model once, and then as long as it is pinned."""
        try:
            held = False
            while not held or self._picture.pinned_for_s(model_id) > 0:
                held = await self._hold_once(model_id, wish) or held
            self._let_go(model_id, Reason.IDLE)
        except RayscribeError as error:
            logger.warning("model %s cannot be loaded: %s", model_id, error.message)
            self._let_go(model_id, Reason.ERROR, error)

    async def _hold_once(self, model_id: str, wish: Wish) -> bool:
        """Whether it was loaded."""
        is_pinned = model_id in self._picture.pins
        for_s = min(HOLD_S, self._picture.pinned_for_s(model_id)) if is_pinned else HOLD_S
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
            self._holds[model_id].cancel()
            self._let_go(model_id, Reason.IDLE)

    def _is_over(self, model_id: str) -> bool:
        if pin := self._picture.pins.get(model_id):
            return pin.ready_at is not None and self._picture.pinned_for_s(model_id) <= 0
        lasts_s = (self._clock() - self._picture.wishes[model_id].at).total_seconds()
        return lasts_s > self._settings.cold_start_wait_s and self._picture.overview(model_id).state in NOT_SERVING

    def _let_go(self, model_id: str, reason: Reason, error: RayscribeError | None = None) -> None:
        """A hold has ended by itself."""
        with self._picture.telling(model_id):
            self._forget_hold(model_id)
            self._picture.ended(model_id, reason, error)

    def _forget_hold(self, model_id: str) -> asyncio.Task[None] | None:
        """The pin too; gives what held it."""
        self._picture.pins.pop(model_id, None)
        self._picture.wishes.pop(model_id, None)
        return self._holds.pop(model_id, None)
