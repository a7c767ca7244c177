from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from serve_app.errors import CoordinatorUnavailable, StoreUnavailable
from serve_app.jobs.coordinator import Coordinator, Parts
from serve_app.jobs.hub import Hub
from serve_app.jobs.job import Status
from serve_app.jobs.protocols import JobStore
from serve_app.settings import JobSettings
from tests.unit.jobs.coordination import House, ScriptedRunner, settled

DAMAGED = "The job store is damaged."


async def deliver_nothing(store: JobStore, hub: Hub, epoch: int) -> None:
    await asyncio.Event().wait()


def coordinator(
    house: House,
    open_store: Callable[[], Awaitable[JobStore]] | None = None,
    deliver: Callable[..., Awaitable[None]] = deliver_nothing,
) -> Coordinator:
    async def at_once() -> JobStore:
        return house.store

    return Coordinator(
        Parts(
            open_store=open_store or at_once,
            media=house.media,
            runner=ScriptedRunner(),
            deliver=deliver,  # type: ignore[arg-type]
            settings=JobSettings(),
            clock=house.clock.utc,
            open_again_s=0.001,
        )
    )


async def test_coordinator_dispatches_from_its_start_to_its_close() -> None:
    house = House()
    job_id = await house.submit()
    subject = coordinator(house)

    subject.start()
    await settled()
    running = (await subject.jobs.get(job_id, None)).job.status
    await subject.close()

    assert running is Status.RUNNING
    assert (await house.job(job_id)).status is Status.QUEUED


async def test_jobs_are_away_until_the_store_is_open() -> None:
    opened = asyncio.Event()
    house = House()

    async def slowly() -> JobStore:
        await opened.wait()
        return house.store

    subject = coordinator(house, slowly)
    subject.start()
    with pytest.raises(CoordinatorUnavailable):
        _ = subject.jobs
    opened.set()
    await settled()

    assert await subject.jobs.stats()
    await subject.close()


async def test_store_that_cannot_be_opened_is_told_and_tried_again() -> None:
    house, tries = House(), 0

    async def at_the_third() -> JobStore:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise StoreUnavailable(DAMAGED)
        return house.store

    subject = coordinator(house, at_the_third)
    subject.start()
    await settled()
    with pytest.raises(StoreUnavailable, match=DAMAGED):
        _ = subject.jobs
    subject.check()
    await asyncio.sleep(0.05)

    assert await subject.jobs.stats()
    await subject.close()


async def test_death_of_what_runs_beside_is_seen_by_the_health_check() -> None:
    async def die(store: JobStore, hub: Hub, epoch: int) -> None:
        raise RuntimeError("a mistake of ours")

    subject = coordinator(House(), deliver=die)
    subject.start()
    await settled()

    with pytest.raises(ExceptionGroup):
        subject.check()
    await subject.close()
