from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from serve_app.errors import CoordinatorUnavailable, StoreUnavailable
from serve_app.jobs.coordinator import Coordinator, Parts
from serve_app.jobs.job import Announcement, Event, Lease, News, Status
from serve_app.jobs.service import SLICE_S
from serve_app.jobs.store import JobStore
from serve_app.settings import WebhookSettings
from serve_app.testing.jobs import InMemoryJobStore
from tests.unit.jobs.coordination import House, ScriptedRunner, Shared, settled
from tests.unit.jobs.examples import NOON

DAMAGED = "The job store is damaged."
READY = Announcement(News.MODEL_READY, "tiny.en", "ready", "loaded", NOON)


def accept(request: httpx.Request) -> httpx.Response:
    return httpx.Response(204)


def coordinator(
    house: House,
    open_store: Callable[[], Awaitable[JobStore]] | None = None,
    receive: Callable[[httpx.Request], httpx.Response] = accept,
    *,
    tells_of_models: bool = False,
    announcements: Callable[[], AsyncGenerator[Announcement, None]] | None = None,
    lookout_s: float = 3600.0,
) -> Coordinator:
    async def at_once() -> JobStore:
        return house.store

    return Coordinator(
        Parts(
            open_store=open_store or at_once,
            media=house.media,
            runner=ScriptedRunner(),
            settings=house.settings,
            webhooks=WebhookSettings(lifecycle_webhooks=tells_of_models),
            webhook_secret=None,
            client=httpx.AsyncClient(transport=httpx.MockTransport(receive)),
            clock=house.clock.utc,
            open_again_s=0.001,
            announcements=announcements or ready_at_once,
            lookout_s=lookout_s,
        )
    )


async def ready_at_once() -> AsyncGenerator[Announcement, None]:
    yield READY


async def told_of_models(house: House, *, tells_of_models: bool) -> list[dict[str, Any]]:
    """What an address hears that was given before a model became ready."""
    came, given = list[dict[str, Any]](), asyncio.Event()

    def receive(request: httpx.Request) -> httpx.Response:
        came.append(json.loads(request.content))
        return httpx.Response(204)

    async def ready_once_given() -> AsyncGenerator[Announcement, None]:
        await given.wait()
        yield READY

    subject = coordinator(house, receive=receive, tells_of_models=tells_of_models, announcements=ready_once_given)
    subject.start()
    await settled()
    await subject.jobs.submit(await house.new_job(webhook_url="https://example.org/hook"))
    given.set()
    await settled()
    await subject.close()
    return came


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


async def test_coordinator_that_was_closed_says_so_and_counts_as_healthy_to_the_end() -> None:
    subject = coordinator(House())
    subject.start()
    await settled()
    await subject.close(for_good=True)

    with pytest.raises(CoordinatorUnavailable, match="The service ends"):
        _ = subject.jobs
    subject.check()
    await subject.close()


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
    async with asyncio.timeout(30):
        while tries < 3:  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0)
    await settled()

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


async def test_address_that_was_given_is_told_of_models() -> None:
    (told,) = await told_of_models(House(), tells_of_models=True)

    assert (told["type"], told["model"], told["at"]) == ("model_ready", "tiny.en", "2026-05-05T12:00:00Z")


async def test_nobody_is_told_of_models_unless_the_settings_say_so() -> None:
    assert await told_of_models(House(), tells_of_models=False) == []


async def test_zero_retention_keeps_no_addresses_and_tells_nobody_of_models() -> None:
    assert await told_of_models(House(zero_retention=True), tells_of_models=True) == []


async def test_announcement_that_the_store_refuses_is_made_later() -> None:
    class Refusing(InMemoryJobStore):
        refusals = 2

        async def announce(self, announcement: Announcement, epoch: int) -> bool:
            self.refusals -= 1
            if self.refusals >= 0:
                raise StoreUnavailable(DAMAGED)
            said.set()
            return await super().announce(announcement, epoch)

    said = asyncio.Event()
    subject = coordinator(House(Shared(Refusing)), tells_of_models=True)
    subject.start()
    async with asyncio.timeout(30):
        await said.wait()

    subject.check()
    await subject.close()


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


async def test_who_follows_a_job_hears_what_another_process_wrote() -> None:
    house = House()
    job_id = await house.submit()
    subject = coordinator(house, lookout_s=0.001)
    subject.start()
    await settled()
    following = asyncio.create_task(last_of(subject.jobs.events(job_id, None, after_seq=0)))
    await settled()

    await house.store.cancel(job_id)

    assert (await asyncio.wait_for(following, SLICE_S / 2)).kind == "cancelled"
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


async def last_of(events: AsyncGenerator[Event, None]) -> Event:
    async with aclosing(events):
        return [event async for event in events][-1]
