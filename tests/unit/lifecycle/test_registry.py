from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from serve_app.errors import ModelLoadFailed, ModelNotReady, PullFailed, RecognizerUnavailable
from serve_app.lifecycle.log import NumberedLog
from serve_app.lifecycle.overview import START_S
from serve_app.models.types import ModelEvent, ModelState, Reason, UnloadOrder
from serve_app.settings.lifecycle import LifecycleSettings
from serve_app.testing import FakeClock
from tests.unit.lifecycle.world import A, B, World, settled

READY, UNLOADED, LOADING = ModelState.READY, ModelState.UNLOADED, ModelState.LOADING


def told(events: list[ModelEvent]) -> list[tuple[str | None, ModelState, Reason]]:
    return [(event.replica_id, event.state, event.reason) for event in events]


# Pins.


async def test_load_holds_the_model_in_slices_until_its_pin_ends() -> None:
    world = World()
    await world.registry.load(A, ttl_s=25)
    await world.report(world.snapshot(A, READY))

    await settled()
    for _ in range(3):
        await world.advance(world.holder.calls[-1].for_s)
        await world.holder.end()

    assert [call.for_s for call in world.holder.calls] == [10, 10, 5]
    assert (await world.registry.overview(A)).pinned_until is None


async def test_pin_ends_its_ttl_after_the_last_use() -> None:
    world = World()
    await world.registry.load(A, ttl_s=25)
    await world.advance(20)
    used_at = world.clock.utc()
    await world.report(world.snapshot(A, READY, last_used_at=used_at))

    pinned = await world.registry.overview(A)

    assert pinned.pinned_until == used_at + timedelta(seconds=25)


async def test_pin_of_no_time_in_particular_lasts_as_long_as_the_rules_say_now() -> None:
    world = World(unload_after_s=300)
    await world.registry.load(A, ttl_s=None)

    world.registry.change_rules(LifecycleSettings(unload_after_s=60))

    assert (await world.registry.overview(A)).pinned_until == world.clock.utc() + timedelta(seconds=60)


async def test_pin_does_not_end_while_the_model_is_on_its_way() -> None:
    world = World()
    await world.registry.load(A, ttl_s=5)
    await world.report(world.snapshot(A, ModelState.WAITING_FOR_GPU, Reason.OUT_OF_MEMORY))
    await world.advance(3600)

    waiting = await world.registry.overview(A)

    assert waiting.pinned_until == world.clock.utc() + timedelta(seconds=5)


async def test_pin_of_a_model_that_always_makes_room_for_others_runs_out() -> None:
    world = World()
    async with world.running():
        await world.registry.load(A, ttl_s=25)
        for _ in range(5):
            await world.report(world.snapshot(A, READY))
            await world.advance(4)
            await world.report(world.snapshot(A, ModelState.LOADING, Reason.LOAD))
            await world.advance(2)

        assert (await world.registry.overview(A)).pinned_until is None
        assert world.holder.cancelled == [A]


async def test_pin_begins_when_the_model_is_there_after_an_order_that_it_overtook() -> None:
    world = World()
    await world.report(world.snapshot(A, READY))
    await world.registry.unload(A)
    await world.registry.load(A, ttl_s=5)
    freed = world.change(A, UNLOADED, Reason.UNLOAD)
    await world.report(world.snapshot(A, UNLOADED, Reason.UNLOAD), changes=[freed])
    world.clock.advance(60)

    assert (await world.registry.overview(A)).pinned_until == world.clock.utc() + timedelta(seconds=5)


async def test_pinned_model_is_held_again_when_its_replica_died() -> None:
    world = World()
    await world.registry.load(A, ttl_s=0)
    await world.holder.end(RecognizerUnavailable("died"))

    await world.advance(1)

    assert [call.model_id for call in world.holder.calls] == [A, A]


async def test_load_that_another_unload_met_is_begun_again() -> None:
    world = World()
    await world.registry.load(A)
    await world.holder.end(ModelNotReady("unloaded"))

    await world.advance(1)

    assert len(world.holder.calls) == 2


async def test_foreign_error_of_a_hold_is_no_end_of_it() -> None:
    world = World()
    await world.registry.load(A)
    await world.holder.end(ZeroDivisionError())

    await world.advance(1)

    assert len(world.holder.calls) == 2


async def test_model_that_cannot_load_is_not_tried_for_ever() -> None:
    world = World()
    seen = await world.seen()
    await world.registry.load(A, ttl_s=-1)
    await world.holder.end(ModelLoadFailed("no weights"))
    await world.advance(60)

    failed = await world.registry.overview(A)

    assert len(world.holder.calls) == 1
    assert (failed.state, failed.reason, failed.last_error) == (UNLOADED, Reason.ERROR, "no weights")
    assert failed.pinned_until is None
    assert told(await world.slice_of(seen)) == [(None, LOADING, Reason.LOAD), (None, UNLOADED, Reason.ERROR)]


async def test_wanted_model_is_held_for_one_slice() -> None:
    world = World()
    await world.registry.want(A)
    await world.report(world.snapshot(A, READY))
    await world.holder.end()
    await world.advance(60)

    assert [(call.model_id, call.for_s) for call in world.holder.calls] == [(A, 10)]
    assert (await world.registry.overview(A)).state is READY


async def test_wanted_model_that_made_room_is_unloaded_and_can_be_wanted_again() -> None:
    world = World()
    await world.registry.want(A)
    await settled()
    await world.report(world.snapshot(A, READY))
    await world.report(world.snapshot(A, ModelState.UNLOADED, Reason.EVICTED))
    evicted = await world.registry.overview(A)
    await world.registry.want(A)
    await settled()

    assert (evicted.state, evicted.reason) == (ModelState.UNLOADED, Reason.EVICTED)
    assert world.holder.cancelled == [A]
    assert [call.model_id for call in world.holder.calls] == [A, A]


async def test_pinned_model_that_made_room_stays_pinned() -> None:
    world = World()
    await world.registry.load(A, ttl_s=-1)
    await settled()
    await world.report(world.snapshot(A, READY))
    await world.report(world.snapshot(A, ModelState.UNLOADED, Reason.EVICTED))

    assert (await world.registry.overview(A)).pinned_until
    assert world.holder.cancelled == []


async def test_wanted_model_that_waits_for_memory_keeps_no_replica_up_for_longer_than_a_request() -> None:
    world = World(cold_start_wait_s=30)
    async with world.running():
        await world.registry.want(A)
        await world.report(world.snapshot(A, ModelState.WAITING_FOR_GPU, Reason.OUT_OF_MEMORY))
        await world.advance(30)
        held = list(world.holder.cancelled)
        await world.advance(1)

        assert (held, world.holder.cancelled) == ([], [A])


async def test_pinned_model_that_waits_for_memory_is_held_for_as_long_as_it_takes() -> None:
    world = World(cold_start_wait_s=30)
    async with world.running():
        await world.registry.load(A, ttl_s=0)
        await world.report(world.snapshot(A, ModelState.WAITING_FOR_GPU, Reason.OUT_OF_MEMORY))
        for _ in range(10):
            await world.advance(15)
            await world.report(world.snapshot(A, ModelState.WAITING_FOR_GPU, Reason.OUT_OF_MEMORY))

        assert world.holder.cancelled == []


async def test_wanted_model_that_is_ready_is_not_held() -> None:
    world = World()
    await world.report(world.snapshot(A, ModelState.PARKED))

    await world.registry.want(A)
    await settled()

    assert world.holder.calls == []


async def test_load_pins_what_was_wanted_before() -> None:
    world = World()
    await world.registry.want(A)
    await world.registry.load(A, ttl_s=-1)
    await world.report(world.snapshot(A, READY))
    await world.holder.end()

    assert len(world.holder.calls) == 2


async def test_unload_ends_the_hold_and_orders_it_of_every_replica() -> None:
    world = World()
    await world.report(replica="r1")
    await world.report(replica="r2")
    await world.registry.load(A)
    await settled()

    await world.registry.unload(A, force=True)
    await settled()

    assert world.holder.cancelled == [A]
    for replica in ("r1", "r2"):
        orders = await world.registry.orders(replica, after=None)
        assert [(order.model_id, order.force) for order in orders] == [(A, True)]


async def test_load_that_overtook_the_order_to_unload_is_begun_again() -> None:
    world = World()
    await world.report(world.snapshot(A, READY))
    await world.registry.unload(A)
    await world.registry.load(A, ttl_s=-1)
    await settled()
    world.clock.advance(1)

    freed = world.change(A, UNLOADED, Reason.UNLOAD)
    await world.report(world.snapshot(A, UNLOADED, Reason.UNLOAD), changes=[freed])
    await settled()

    assert world.holder.cancelled == [A]
    assert len(world.holder.calls) == 2
    assert (await world.registry.overview(A)).state is LOADING


@pytest.mark.parametrize("there", [{"state": READY}, {"state": ModelState.LOADING, "pinned": True}])
async def test_hold_stays_where_it_is_when_another_replica_frees_the_model(there: dict[str, Any]) -> None:
    world = World()
    await world.report(world.snapshot(A, ModelState.DRAINING, Reason.UNLOAD), replica="r2")
    await world.registry.unload(A)
    await world.registry.load(A, ttl_s=-1)
    await world.report(world.snapshot(A, **there))
    await settled()

    freed = world.change(A, UNLOADED, Reason.UNLOAD)
    await world.report(world.snapshot(A, UNLOADED, Reason.UNLOAD), changes=[freed], replica="r2")
    await settled()

    assert world.holder.cancelled == []
    assert len(world.holder.calls) == 1


async def test_nothing_is_held_after_the_end() -> None:
    world = World()
    async with world.running():
        await world.registry.load(A)
        await settled()

    assert world.holder.cancelled == [A]


# Orders.


async def test_order_is_given_to_a_replica_that_waits_for_one() -> None:
    world = World()
    await world.report()
    waiting = asyncio.create_task(world.registry.orders("r1", after=None))
    await settled()

    await world.registry.unload(A)

    assert [order.model_id for order in await waiting] == [A]


async def test_order_between_two_calls_is_not_lost() -> None:
    world = World()
    await world.report()
    assert await world.registry.orders("r1", after=None) == []

    await world.registry.unload(A)

    assert [order.model_id for order in await world.registry.orders("r1", after=None)] == [A]


async def test_order_is_not_given_twice() -> None:
    world = World()
    await world.report()
    await world.registry.unload(A)
    [order] = await world.registry.orders("r1", after=None)

    assert await world.registry.orders("r1", after=order.number) == []


async def test_replica_that_comes_later_learns_what_was_ordered_when() -> None:
    """Chunks of before that come to it now must not leave a copy."""
    world = World()
    ordered_at = world.clock.utc()
    await world.registry.unload(A)
    world.clock.advance(5)
    await world.report()

    assert [(order.model_id, order.at) for order in await world.registry.orders("r1", after=None)] == [(A, ordered_at)]


async def test_hold_says_since_when_it_is_wished_for_and_why() -> None:
    world = World()
    loaded_at = world.clock.utc()
    await world.registry.load(A, ttl_s=-1)
    await world.registry.want(B)
    await settled()
    await world.advance(10)
    world.holder.calls[0].ended.set_result(None)
    await settled()

    wishes = [(call.model_id, call.wish.at, call.wish.reason) for call in world.holder.calls]
    assert wishes == [(A, loaded_at, Reason.LOAD), (B, loaded_at, Reason.REQUEST), (A, loaded_at, Reason.LOAD)]


async def test_orders_of_a_new_coordinator_are_above_those_of_the_last_one() -> None:
    world = World()
    await world.report()
    await world.registry.unload(A)
    [old] = await world.registry.orders("r1", after=None)
    world.clock.advance(1)
    later = World(world.clock)
    await later.report()

    await later.registry.unload(B)

    assert [order.model_id for order in await later.registry.orders("r1", after=old.number)] == [B]


async def test_replica_whose_last_order_is_of_the_future_gets_new_ones() -> None:
    world = World()
    await world.report()

    await world.registry.unload(A)

    assert [order.model_id for order in await world.registry.orders("r1", after=10**15)] == [A]


# Events.


async def test_changes_of_a_replica_are_told_with_their_reason() -> None:
    world = World()
    seen = await world.seen()
    changes = [world.change(A, LOADING, Reason.REQUEST)]
    world.clock.advance(1)
    changes += [world.change(A, READY)]

    await world.report(world.snapshot(A, READY), changes=changes)

    assert told(await world.slice_of(seen)) == [("r1", LOADING, Reason.REQUEST), ("r1", READY, Reason.LOADED)]


async def test_new_coordinator_tells_what_replicas_have_already() -> None:
    world = World()
    seen = await world.seen()

    await world.report(world.snapshot(A, READY))

    assert told(await world.slice_of(seen)) == [("r1", READY, Reason.LOADED)]


async def test_replica_that_stops_takes_its_models_along() -> None:
    world = World()
    await world.report(world.snapshot(A, READY), world.snapshot(B, UNLOADED, Reason.IDLE))
    seen = await world.seen()

    await world.report(world.snapshot(A, READY), world.snapshot(B, UNLOADED, Reason.IDLE), stopping=True)

    assert told(await world.slice_of(seen)) == [("r1", UNLOADED, Reason.STOPPED)]
    gone = await world.registry.overview(A)
    assert (gone.state, gone.reason, gone.replicas) == (UNLOADED, Reason.STOPPED, ())


async def test_replica_that_falls_silent_is_given_up() -> None:
    world = World()
    await world.report(world.snapshot(A, READY))
    await world.report(world.snapshot(A, READY), replica="r2")
    seen = await world.seen()

    async with world.running():
        for _ in range(20):
            await world.advance(1)
            await world.report(world.snapshot(A, READY, since=world.clock.utc()), replica="r2")
        alive = await world.registry.overview(A)
        await world.advance(1)
        left = await world.registry.overview(A)

    assert [its.replica_id for its in alive.replicas] == ["r1", "r2"]
    assert [its.replica_id for its in left.replicas] == ["r2"]
    assert told(await world.slice_of(seen)) == [("r1", UNLOADED, Reason.DIED)]


async def test_replica_that_was_only_slow_is_taken_back() -> None:
    world = World()
    await world.report(world.snapshot(A, READY))
    async with world.running():
        await world.advance(21)
    seen = await world.seen()

    await world.report(world.snapshot(A, READY))

    assert told(await world.slice_of(seen)) == [("r1", READY, Reason.LOADED)]


async def test_last_words_of_a_replica_are_remembered() -> None:
    world = World()
    used_at = world.clock.utc()
    await world.report(world.snapshot(A, READY, last_used_at=used_at, load_s=42.0), stopping=True)

    gone = await world.registry.overview(A)

    assert gone.last_used_at == used_at
    assert gone.retry_after_s > 42


# The picture.


@pytest.mark.parametrize(
    ("states", "best"),
    [
        ((LOADING, READY), READY),
        ((ModelState.BUSY, READY), READY),
        ((ModelState.FAILED, ModelState.WAITING_FOR_GPU), ModelState.WAITING_FOR_GPU),
        ((UNLOADED, ModelState.FAILED), ModelState.FAILED),
    ],
)
async def test_state_is_that_of_the_replica_nearest_to_an_answer(
    states: tuple[ModelState, ...], best: ModelState
) -> None:
    world = World()
    for number, state in enumerate(states):
        await world.report(world.snapshot(A, state, in_flight=1, queued=2), replica=f"r{number}")

    model = await world.registry.overview(A)

    assert model.state is best
    assert (model.in_flight, model.queued) == (len(states), 2 * len(states))


async def test_failed_model_that_is_tried_again_is_loading() -> None:
    world = World()
    await world.report(world.snapshot(A, ModelState.FAILED, Reason.ERROR, last_error="no weights"))

    assert (await world.registry.load(A)).state is LOADING


async def test_failure_that_may_pass_is_known_as_such_also_when_no_replica_began() -> None:
    world = World()
    await world.registry.load(A)
    await world.registry.load(B)
    await settled()
    world.holder.calls[0].ended.set_exception(PullFailed("The hub is away."))
    world.holder.calls[1].ended.set_exception(ModelLoadFailed("damaged"))
    await settled()
    hub_away, damaged = await world.registry.overview(A), await world.registry.overview(B)
    await world.report(world.snapshot(A, ModelState.FAILED, Reason.ERROR, last_error="away", error_passes=True))

    assert (hub_away.last_error, hub_away.error_passes) == ("The hub is away.", True)
    assert (damaged.last_error, damaged.error_passes) == ("damaged", False)
    assert (await world.registry.overview(A)).error_passes


async def test_wait_counts_the_start_of_a_replica_only_where_there_is_none() -> None:
    world = World()
    from_zero = (await world.registry.overview(A)).retry_after_s

    await world.report(world.snapshot(B, READY))

    assert (await world.registry.overview(A)).retry_after_s == from_zero - START_S


# Models that work waits for.


async def test_model_that_work_waits_for_is_loading_while_a_replica_starts() -> None:
    world = World()
    seen = await world.seen()
    async with world.running():
        for _ in range(3):
            expected = await world.registry.expect(A)
            await world.advance(10)
        await world.report(replica="r1")
        between = await world.registry.overview(A)
        await world.report(world.snapshot(A, LOADING, Reason.REQUEST))
        await world.report(world.snapshot(A, UNLOADED, Reason.IDLE))

        assert (expected.state, expected.reason, between.state) == (LOADING, Reason.REQUEST, LOADING)
        assert (await world.registry.overview(A)).state is UNLOADED
    assert told(await world.slice_of(seen))[0] == (None, LOADING, Reason.REQUEST)
    assert world.holder.calls == []


async def test_model_that_nobody_waits_for_any_more_is_unloaded_again() -> None:
    world = World()
    async with world.running():
        await world.registry.expect(A)
        seen = await world.seen()
        await world.advance(15)

        assert told(await world.slice_of(seen)) == [(None, UNLOADED, Reason.IDLE)]


async def test_unload_while_a_request_waits_for_a_replica_says_that_nothing_is_loaded() -> None:
    world = World()
    await world.registry.expect(A)

    unloaded = await world.registry.unload(A)

    assert (unloaded.state, unloaded.reason) == (UNLOADED, Reason.UNLOAD)


async def test_model_that_work_waits_for_is_what_its_replica_says_where_there_is_one() -> None:
    world = World()
    await world.report(world.snapshot(A, ModelState.FAILED, Reason.ERROR))

    assert (await world.registry.expect(A)).state is ModelState.FAILED
    assert (await world.registry.expect(B)).state is UNLOADED


async def test_wait_shrinks_while_the_model_loads() -> None:
    world = World()
    began = await world.registry.load(A)
    world.clock.advance(5)

    later = await world.registry.overview(A)

    assert later.retry_after_s == began.retry_after_s - 5


async def test_wait_for_memory_is_as_long_as_between_two_looks() -> None:
    world = World(gpu_poll_interval_s=17)
    await world.report(world.snapshot(A, ModelState.WAITING_FOR_GPU, Reason.OUT_OF_MEMORY))

    assert (await world.registry.overview(A)).retry_after_s == 17


@pytest.mark.parametrize(
    ("state", "lack"),
    [
        (UNLOADED, "model"),
        (LOADING, "model"),
        (ModelState.WAITING_FOR_GPU, "gpu"),
        (READY, None),
        (ModelState.BUSY, None),
        (ModelState.DRAINING, None),
    ],
)
async def test_what_jobs_wait_for_follows_from_the_state(state: ModelState, lack: str | None) -> None:
    world = World()
    await world.report(world.snapshot(A, state))

    assert world.registry.lacks(A) == lack


async def test_model_of_no_catalogue_lacks_nothing_that_could_come() -> None:
    assert World().registry.lacks("huge") is None


async def test_model_that_is_pulled_later_can_be_loaded() -> None:
    world = World()
    world.catalogue.append("pulled")

    assert (await world.registry.load("pulled")).state is LOADING
    assert [model.model_id for model in (await world.registry.status()).models] == [A, B, "pulled"]


# The log.


async def test_log_forgets_the_oldest_and_knows_it() -> None:
    log: NumberedLog[UnloadOrder] = NumberedLog(FakeClock().utc(), kept=2)
    at = FakeClock().utc()
    numbers = [log.add(lambda number: UnloadOrder(number, A, at)).number for _ in range(3)]

    assert [order.number for order in log.after(numbers[0])] == numbers[1:]
    assert log.reaches(numbers[0])
    assert not log.reaches(numbers[0] - 1)
