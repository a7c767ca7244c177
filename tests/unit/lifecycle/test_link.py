from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime

import pytest

from serve_app.errors import CoordinatorUnavailable, ModelNotReady
from serve_app.lifecycle.link import Holds, Pace, ReplicaLink, load_what_others_use
from serve_app.lifecycle.overview import Wish
from serve_app.models.protocols import ModelReporter
from serve_app.models.types import ModelSnapshot, ModelState, Reason, ReplicaReport, UnloadOrder
from serve_app.testing import FakeClock, FakeModels
from tests.unit.lifecycle.world import A, B, settled

QUICK = Pace(sign_s=0.01, rest_s=0.0, gather_s=0.0, again_s=0.0, answer_s=5.0)
WISH = Wish(FakeClock().utc(), Reason.REQUEST)
SLOW = Pace(sign_s=3600, gather_s=0.0, again_s=0.0, answer_s=5.0)


class ScriptedModels:
    def __init__(self) -> None:
        self.states: dict[str, tuple[ModelState, Reason]] = {}
        self.took: list[int] = []
        self.unloads: list[str] = []
        self.held: list[str] = []
        self.ever_held: list[tuple[str, Reason, datetime | None]] = []
        self.changed = asyncio.Event()
        self.stirred = asyncio.Event()
        self.must_recycle = False

    def become(self, model_id: str, state: ModelState, reason: Reason = Reason.REQUEST) -> None:
        self.states[model_id] = (state, reason)
        self.changed.set()
        self.stirred.set()

    async def report(self, number: int, *, stopping: bool = False) -> ReplicaReport:
        self.stirred.clear()
        since = FakeClock().utc()
        models = tuple(ModelSnapshot(m, s, since, why) for m, (s, why) in self.states.items())
        return ReplicaReport("r1", number, models, stopping=stopping)

    def taken(self, number: int) -> None:
        self.took.append(number)
        self.changed.clear()

    @contextlib.asynccontextmanager
    async def hold(self, model_id: str, cause: Reason, asked_at: datetime | None = None) -> AsyncIterator[None]:
        if model_id == B:
            raise ModelNotReady("unloaded")
        self.held.append(model_id)
        self.ever_held.append((model_id, cause, asked_at))
        try:
            yield
        finally:
            self.held.remove(model_id)

    def unload(self, order: UnloadOrder) -> None:
        self.unloads.append(order.model_id)


class ScriptedCoordinator(ModelReporter):
    """Is away for the first so many calls."""

    def __init__(self, *, away_for: int = 0) -> None:
        self.away_for = away_for
        self.reports: asyncio.Queue[ReplicaReport] = asyncio.Queue()
        self.to_do: asyncio.Queue[UnloadOrder | Exception] = asyncio.Queue()
        self.asked_after: list[int | None] = []

    async def report(self, report: ReplicaReport) -> None:
        if self.away_for:
            self.away_for -= 1
            raise CoordinatorUnavailable("away")
        self.reports.put_nowait(report)

    async def orders(self, replica_id: str, *, after: int | None) -> Sequence[UnloadOrder]:
        self.asked_after.append(after)
        order = await self.to_do.get()
        if isinstance(order, Exception):
            raise order
        return [order]


class Linked:
    def __init__(self, pace: Pace, *, away_for: int = 0) -> None:
        self.models = ScriptedModels()
        self.coordinator = ScriptedCoordinator(away_for=away_for)
        self.advertised: list[frozenset[str]] = []
        self.link = ReplicaLink("r1", self.models, self.coordinator, self._advertise, pace)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self.link.start()
        try:
            yield
        finally:
            await self.link.close()

    async def _advertise(self, model_ids: frozenset[str]) -> None:
        self.advertised.append(model_ids)


async def test_change_is_reported_at_once() -> None:
    linked = Linked(SLOW)
    async with linked.open():
        first = await linked.coordinator.reports.get()
        linked.models.become(A, ModelState.LOADING)
        second = await linked.coordinator.reports.get()

    assert first.models == ()
    assert [(model.model_id, model.state) for model in second.models] == [(A, ModelState.LOADING)]
    assert second.number > first.number


async def test_use_is_reported_soon() -> None:
    linked = Linked(Pace(sign_s=3600, rest_s=0.001, gather_s=0.0))
    async with linked.open():
        await linked.coordinator.reports.get()
        for _ in range(3):
            linked.models.stirred.set()
            await linked.coordinator.reports.get()


async def test_use_right_after_another_is_not_reported_before_the_rest_is_over() -> None:
    linked = Linked(Pace(sign_s=0.0, rest_s=3600, gather_s=0.0))
    async with linked.open():
        await linked.coordinator.reports.get()
        linked.models.stirred.set()
        await settled()
        unheard = linked.coordinator.reports.empty()
        linked.models.become(A, ModelState.READY)
        told = await linked.coordinator.reports.get()

    assert unheard
    assert [model.model_id for model in told.models] == [A]


async def test_replica_that_is_to_be_replaced_is_sent_nothing_more() -> None:
    linked = Linked(QUICK)
    linked.models.become(A, ModelState.READY)
    async with linked.open():
        await linked.coordinator.reports.get()
        linked.models.must_recycle = True
        while len(linked.advertised) < 2:
            await linked.coordinator.reports.get()

    assert linked.advertised == [{A}, set()]


async def test_replica_where_nothing_changes_gives_signs_of_life() -> None:
    linked = Linked(QUICK)

    async with linked.open():
        numbers = [(await linked.coordinator.reports.get()).number for _ in range(3)]

    assert numbers == sorted(set(numbers))


async def test_report_that_did_not_arrive_is_not_taken_and_is_tried_again() -> None:
    linked = Linked(SLOW, away_for=2)

    async with linked.open():
        arrived = await linked.coordinator.reports.get()
        await settled()
        took = list(linked.models.took)

    assert took == [arrived.number]


async def test_last_report_says_that_the_replica_goes() -> None:
    linked = Linked(SLOW)

    async with linked.open():
        await linked.coordinator.reports.get()

    assert (await linked.coordinator.reports.get()).stopping


async def test_coordinator_that_is_away_does_not_hold_up_the_end() -> None:
    linked = Linked(SLOW, away_for=10**6)

    async with linked.open():
        await settled()

    assert linked.coordinator.reports.empty()


async def test_orders_are_carried_out_and_not_asked_for_again() -> None:
    linked = Linked(SLOW)
    at = FakeClock().utc()
    for order in (UnloadOrder(7, A, at), CoordinatorUnavailable("away"), UnloadOrder(8, B, at)):
        linked.coordinator.to_do.put_nowait(order)

    async with linked.open():
        await linked.coordinator.reports.get()
        while len(linked.coordinator.asked_after) < 4:
            await settled()

    assert linked.models.unloads == [A, B]
    assert linked.coordinator.asked_after == [None, 7, 7, 8]


async def test_coordinator_that_never_answers_is_asked_for_orders_again() -> None:
    linked = Linked(replace(SLOW, orders_s=0.01))
    async with linked.open():
        await linked.coordinator.reports.get()
        while len(linked.coordinator.asked_after) < 2:
            await settled()

    assert linked.coordinator.asked_after[:2] == [None, None]


async def test_models_that_are_here_are_advertised_when_they_change() -> None:
    linked = Linked(QUICK)
    linked.models.become(A, ModelState.LOADING)
    async with linked.open():
        for _ in range(3):
            await linked.coordinator.reports.get()
        linked.models.become(A, ModelState.READY)
        linked.models.become(B, ModelState.PARKED)
        await linked.coordinator.reports.get()
        while len(linked.advertised) < 2:
            await linked.coordinator.reports.get()
        linked.models.become(A, ModelState.UNLOADED)
        while len(linked.advertised) < 3:
            await linked.coordinator.reports.get()

    assert linked.advertised == [{A}, {A, B}, {B}]


@pytest.mark.parametrize(("reason", "advertised"), [(Reason.UNLOAD, {A}), (Reason.EVICTED, set())])
async def test_model_that_drains_is_advertised_only_to_the_transcriptions_that_an_unload_lets_end(
    reason: Reason, advertised: set[str]
) -> None:
    linked = Linked(QUICK)
    linked.models.become(A, ModelState.READY)
    async with linked.open():
        await linked.coordinator.reports.get()
        linked.models.become(A, ModelState.DRAINING, reason)
        linked.models.become(B, ModelState.READY)
        while B not in linked.advertised[-1]:
            await linked.coordinator.reports.get()

    assert linked.advertised[-1] == {B, *advertised}


async def test_new_replica_loads_what_others_have_work_for() -> None:
    cluster, models = FakeModels((A, "quiet", "leaving")), ScriptedModels()
    cluster.become(A, ModelState.BUSY, in_flight=3)
    cluster.become("quiet", ModelState.READY)
    cluster.become("leaving", ModelState.DRAINING, in_flight=1)

    await load_what_others_use(cluster, models)

    assert models.ever_held == [(A, Reason.REQUEST, (await cluster.status()).at)]
    assert models.held == []


async def test_new_replica_serves_although_what_others_use_cannot_be_loaded() -> None:
    cluster, models = FakeModels((B,)), ScriptedModels()
    cluster.become(B, ModelState.BUSY, queued=1)

    await load_what_others_use(cluster, models)

    assert models.ever_held == []


async def test_hold_lasts_longer_than_its_caller_knows() -> None:
    models = ScriptedModels()

    await Holds(models, linger_s=3600).hold(A, 0.0, WISH)

    assert models.held == [A]
    assert models.ever_held == [(A, WISH.reason, WISH.at)]


async def test_hold_ends_by_itself() -> None:
    models = ScriptedModels()

    await Holds(models, linger_s=0.0).hold(A, 0.0, WISH)
    await settled()

    assert models.held == []


async def test_hold_whose_caller_goes_ends_at_once() -> None:
    models = ScriptedModels()
    call = asyncio.create_task(Holds(models).hold(A, 3600, WISH))
    await settled()
    assert models.held == [A]

    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    assert models.held == []


async def test_hold_of_what_cannot_be_had_tells_why() -> None:
    with pytest.raises(ModelNotReady):
        await Holds(ScriptedModels()).hold(B, 0.0, WISH)
