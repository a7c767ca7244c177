from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest

from serve_app.errors import CoordinatorUnavailable, StoreUnavailable, Superseded
from serve_app.jobs.coordinator import Coordinator, Parts
from serve_app.jobs.job import Lease, Status
from serve_app.jobs.protocols import JobStore
from serve_app.settings import WebhookSettings
from serve_app.testing.jobs import InMemoryJobStore
from tests.unit.jobs.coordination import House, ScriptedRunner, Shared, settled

DAMAGED = "The job store is damaged."


def accept(request: httpx.Request) -> httpx.Response:
    return httpx.Response(204)


def coordinator(
    house: House,
    open_store: Callable[[], Awaitable[JobStore]] | None = None,
    receive: Callable[[httpx.Request], httpx.Response] = accept,
) -> Coordinator:
    async def at_once() -> JobStore:
        return house.store

    return Coordinator(
        Parts(
            open_store=open_store or at_once,
            media=house.media,
            runner=ScriptedRunner(),
            settings=house.settings,
            webhooks=WebhookSettings(),
            webhook_secret=None,
            client=httpx.AsyncClient(transport=httpx.MockTransport(receive)),
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


async def test_end_of_a_job_is_delivered_as_the_job_object() -> None:
    house, came = House(), list[dict[str, Any]]()

    def receive(request: httpx.Request) -> httpx.Response:
        came.append(json.loads(request.content))
        return httpx.Response(204)

    subject = coordinator(house, receive=receive)
    subject.start()
    await settled()
    new = await house.new_job(webhook_url="https://example.org/hook")
    await subject.jobs.submit(new)
    await subject.jobs.cancel(new.job_id, None)
    await settled()
    await subject.close()

    assert [(job["id"], job["status"]) for job in came] == [(new.job_id, "cancelled")]


async def test_coordinator_that_was_superseded_still_answers_and_counts_as_healthy() -> None:
    house = House()
    subject = coordinator(house)
    subject.start()
    await settled()

    await house.store.take_over()
    job_id = (await subject.jobs.submit(await house.new_job())).job.job_id
    await settled()

    subject.check()
    assert (await subject.jobs.get(job_id, None)).job.status is Status.QUEUED
    await subject.close()


async def test_coordinator_that_was_superseded_long_ago_asks_to_be_replaced() -> None:
    house = House()
    subject = coordinator(house)
    subject.start()
    await settled()

    await house.store.take_over()
    await subject.jobs.submit(await house.new_job())
    await settled()
    house.clock.advance(61)

    with pytest.raises(Superseded):
        subject.check()
    await subject.close()


async def test_death_of_what_runs_beside_is_seen_by_the_health_check() -> None:
    class Wrong(InMemoryJobStore):
        async def requeue_expired(self) -> Sequence[Lease]:
            raise RuntimeError("a mistake of ours")

    subject = coordinator(House(Shared(Wrong)))
    subject.start()
    await settled()

    with pytest.raises(ExceptionGroup):
        subject.check()
    await subject.close()
