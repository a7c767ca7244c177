"""Who hears of models only whether one is there hears each turn once, whatever its replicas do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from serve_app.lifecycle.fleet import SILENT_FOR
from serve_app.lifecycle.milestones import Milestones
from serve_app.models.types import ModelEvent, ModelState, Reason
from tests.unit.lifecycle.world import A, B, World, settled

READY, UNLOADED, LOADING, PARKED = ModelState.READY, ModelState.UNLOADED, ModelState.LOADING, ModelState.PARKED

Turns = list[tuple[str, ModelState, Reason]]


@contextlib.asynccontextmanager
async def followed(world: World) -> AsyncIterator[list[ModelEvent]]:
    """What comes, while it comes."""
    came: list[ModelEvent] = []

    async def follow() -> None:
        async with contextlib.aclosing(Milestones(world.registry, world.clock.utc).follow()) as events:
            async for event in events:
                came.append(event)

    task = asyncio.create_task(follow())
    await settled()
    try:
        yield came
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def turns(came: list[ModelEvent]) -> Turns:
    return [(event.model_id, event.state, event.reason) for event in came]


async def test_model_that_comes_and_goes_is_told_once_each_time() -> None:
    world = World()
    async with followed(world) as came:
        for state in (LOADING, READY, PARKED, LOADING, READY, ModelState.DRAINING):
            await world.report(world.snapshot(A, state))
            await settled()
        await world.report(world.snapshot(A, UNLOADED, Reason.UNLOAD))
        await settled()

    assert turns(came) == [(A, READY, Reason.LOADED), (A, UNLOADED, Reason.UNLOAD)]
    assert {event.replica_id for event in came} == {None}


async def test_second_replica_that_gets_or_frees_a_model_is_no_turn_and_the_last_is_one() -> None:
    world = World()
    async with followed(world) as came:
        for replica in ("r1", "r2"):
            await world.report(world.snapshot(A, READY), replica=replica)
        for replica in ("r1", "r2"):
            await settled()
            heard = turns(came)
            await world.report(world.snapshot(A, UNLOADED, Reason.IDLE), replica=replica)
        await settled()

    assert heard == [(A, READY, Reason.LOADED)]
    assert turns(came) == [*heard, (A, UNLOADED, Reason.IDLE)]


async def test_turns_that_one_report_brings_together_are_all_told() -> None:
    world = World()
    async with followed(world) as came:
        await world.report(world.snapshot(A, READY))
        await settled()
        world.clock.advance(1)
        changes = (world.change(A, UNLOADED, Reason.EVICTED),)
        world.clock.advance(1)
        changes += (world.change(A, LOADING, Reason.REQUEST),)
        await world.report(world.snapshot(A, LOADING, Reason.REQUEST), changes=changes)
        await settled()

    assert turns(came)[1:] == [(A, UNLOADED, Reason.EVICTED)]


async def test_load_that_comes_to_nothing_is_no_turn() -> None:
    world = World()
    async with followed(world) as came:
        for state in (LOADING, ModelState.FAILED, LOADING, UNLOADED):
            await world.report(world.snapshot(A, state))
            await settled()

    assert came == []


async def test_model_whose_weights_were_deleted_is_unloaded() -> None:
    world = World()
    async with followed(world) as came:
        await world.report(world.snapshot(A, READY))
        await settled()
        world.catalogue.remove(A)
        await world.report(world.snapshot(A, UNLOADED, Reason.UNLOAD))
        await settled()

    assert turns(came)[1:] == [(A, UNLOADED, Reason.UNLOAD)]


async def test_what_replicas_had_no_more_when_all_were_heard_after_a_start_is_told_as_unloaded_once() -> None:
    world = World(slice_s=0.001)
    async with followed(world) as came:
        await world.report(world.snapshot(A, READY))
        await settled()
        early = turns(came)
        world.clock.advance(SILENT_FOR.total_seconds())
        async with asyncio.timeout(30), contextlib.aclosing(world.registry.events(after_seq=None)) as slices:
            _ = [event async for event in slices]  # lasts as long as a slice of who follows
            await world.slice_of()
            await settled()

    assert early == [(A, READY, Reason.LOADED)]
    assert turns(came) == [*early, (B, UNLOADED, Reason.NEVER_LOADED)]
