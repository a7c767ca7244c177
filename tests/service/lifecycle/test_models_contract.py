"""What every `Models` does, the registry and its stand-in."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest

from serve_app.errors import ModelNotFound
from serve_app.models.protocols import Models
from serve_app.models.types import FOREVER, ModelEvent, ModelState, Reason
from tests.service.lifecycle.houses import House

A, B = "tiny.en", "base"


async def slice_of(models: Models, after_seq: int | None = None) -> list[ModelEvent]:
    async with contextlib.aclosing(models.events(after_seq=after_seq)) as events:
        return [event async for event in events]


async def test_every_model_of_the_catalogue_begins_unloaded(house: House) -> None:
    status = await house.models.status()

    assert [model.model_id for model in status.models] == [A, B]
    assert {model.state for model in status.models} == {ModelState.UNLOADED}
    assert {model.reason for model in status.models} == {Reason.NEVER_LOADED}


async def test_model_that_nobody_knows_is_refused(house: House) -> None:
    models = house.models
    for ask in (models.overview, models.load, models.want, models.unload):
        with pytest.raises(ModelNotFound):
            await ask("huge")


async def test_load_begins_although_no_replica_is_there(house: House) -> None:
    loading = await house.models.load(A)

    assert loading.state is ModelState.LOADING
    assert loading.reason is Reason.LOAD
    assert loading.retry_after_s > 0


async def test_load_of_a_ready_model_changes_nothing_but_its_pin(house: House) -> None:
    await house.models.load(A, ttl_s=10)
    await house.becomes_ready(A)
    seen = (await slice_of(house.models))[-1].seq

    ready = await house.models.load(A, ttl_s=60)

    assert ready.state is ModelState.READY
    assert ready.retry_after_s == 0
    assert await slice_of(house.models, seen) == []


async def test_many_loads_are_one(house: House) -> None:
    for _ in range(5):
        await house.models.load(A)

    await house.becomes_ready(A)

    assert house.loads_begun(A) == 1


@pytest.mark.parametrize("ttl_s", [0.0, 90.0])
async def test_load_is_pinned_for_its_ttl(house: House, ttl_s: float) -> None:
    loading = await house.models.load(A, ttl_s=ttl_s)

    assert loading.pinned_until == house.clock.utc() + timedelta(seconds=ttl_s)


async def test_load_without_a_ttl_is_pinned_as_long_as_idleness_waits(house: House) -> None:
    loading = await house.models.load(A)

    assert loading.pinned_until == house.clock.utc() + timedelta(seconds=300)


async def test_load_with_a_negative_ttl_is_pinned_for_ever(house: House) -> None:
    assert (await house.models.load(A, ttl_s=-1)).pinned_until == FOREVER


async def test_request_that_is_turned_away_begins_a_load_without_a_pin(house: House) -> None:
    wanted = await house.models.want(A)

    assert wanted.state is ModelState.LOADING
    assert wanted.reason is Reason.REQUEST
    assert wanted.pinned_until is None


async def test_unload_takes_the_pin_back(house: House) -> None:
    await house.models.load(A, ttl_s=-1)
    await house.becomes_ready(A)

    await house.models.unload(A)

    assert (await house.models.overview(A)).pinned_until is None


async def test_unload_while_no_replica_is_there_yet_ends_the_load(house: House) -> None:
    await house.models.load(A)

    unloaded = await house.models.unload(A)

    assert unloaded.state is ModelState.UNLOADED
    assert unloaded.reason is Reason.UNLOAD


async def test_unload_of_what_is_not_loaded_is_no_change(house: House) -> None:
    seen = (await slice_of(house.models))[-1].seq

    unloaded = await house.models.unload(A)

    assert unloaded.state is ModelState.UNLOADED
    assert await slice_of(house.models, seen) == []


async def test_subscriber_first_gets_the_state_of_each_model(house: House) -> None:
    await house.models.load(B)

    events = await slice_of(house.models)

    assert [(event.model_id, event.state) for event in events] == [(A, ModelState.UNLOADED), (B, ModelState.LOADING)]


async def test_subscriber_goes_on_from_the_last_event_that_it_saw(house: House) -> None:
    seen = (await slice_of(house.models))[-1].seq
    await house.models.load(A)
    await house.becomes_ready(A)

    events = await slice_of(house.models, seen)

    assert [event.model_id for event in events] == [A] * len(events)
    assert events[0].state is ModelState.LOADING
    assert events[-1].state is ModelState.READY
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    assert events[0].seq > seen
    assert await slice_of(house.models, events[0].seq) == events[1:]


async def test_two_subscribers_get_the_same(house: House) -> None:
    await house.models.load(A)

    assert await slice_of(house.models) == await slice_of(house.models)


async def test_subscriber_who_saw_only_some_states_gets_all_of_them_again(house: House) -> None:
    first, *_ = events = await slice_of(house.models)

    assert await slice_of(house.models, first.seq) == events


@pytest.mark.parametrize("after_seq", [1, 10**15], ids=["long past", "of the future"])
async def test_subscriber_who_was_elsewhere_too_long_begins_anew(house: House, after_seq: int) -> None:
    assert await slice_of(house.models, after_seq) == await slice_of(house.models)
