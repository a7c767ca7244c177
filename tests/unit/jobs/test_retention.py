from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from serve_app.errors import JobNotFound, MediaUnavailable
from serve_app.jobs.job import Announcement, DeliveryStatus, News
from serve_app.jobs.retention import AT_ONCE, GRACE_S, ORPHAN_S, Retention
from serve_app.testing import FakeClock, InMemoryJobStore, InMemoryMediaStore
from serve_app.transcript.protocols import StoredMedia
from tests.unit.jobs.coordination import House, Shared, settled
from tests.unit.jobs.examples import NOON

DAY_S = 86_400.0
STUCK = "memory/1"


async def blocks_of(*blocks: bytes) -> AsyncGenerator[bytes, None]:
    for block in blocks:
        yield block


class Aged(InMemoryMediaStore):
    """Knows by the clock of the test how long ago each came."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.came_s: dict[StoredMedia, float] = {}

    async def save(self, blocks: AsyncIterable[bytes]) -> StoredMedia:
        media = await super().save(blocks)
        self.came_s[media] = self.clock()
        return media

    async def older_than(self, age_s: float) -> Sequence[StoredMedia]:
        return [media for media in await super().older_than(age_s) if self.clock() - self.came_s[media] > age_s]


class Stubborn(Aged):
    """Deletes all but the first."""

    async def delete(self, media: StoredMedia) -> None:
        if media.path == STUCK:
            raise MediaUnavailable("It cannot be deleted.")
        await super().delete(media)


def aged(media: type[Aged] = Aged, **settings: Any) -> House:
    shared = Shared()
    shared.media = media(shared.clock)
    return House(shared, **settings)


async def done_job(house: House, **more: object) -> str:
    job_id = await house.submit(**more)
    async with house.dispatching():
        await house.follow(job_id)
    return job_id


async def test_audio_goes_when_the_job_ends() -> None:
    house = House()
    sweeping = asyncio.create_task(house.retention.run())
    await settled()

    await done_job(house)
    await settled()
    sweeping.cancel()

    assert house.media.files == {}


async def test_audio_of_unfinished_jobs_stays() -> None:
    house = House()
    await house.submit()
    house.clock.advance(100 * DAY_S)

    await house.retention.sweep()

    assert len(house.media.files) == 1


async def test_audio_is_kept_as_long_as_asked() -> None:
    house = House(keep_audio_s=60)
    await done_job(house)

    house.clock.advance(59)
    await house.retention.sweep()
    before = len(house.media.files)
    house.clock.advance(1)
    await house.retention.sweep()

    assert (before, len(house.media.files)) == (1, 0)


async def test_audio_that_could_not_be_deleted_is_deleted_later() -> None:
    class Away(InMemoryMediaStore):
        away = True

        async def delete(self, media: StoredMedia) -> None:
            if self.away:
                raise MediaUnavailable("The store is away.")
            await super().delete(media)

    house = House(Shared(media=Away))
    await done_job(house)

    await house.retention.sweep()
    before = len(house.media.files)
    Away.away = False
    await house.retention.sweep()

    assert (before, len(house.media.files)) == (1, 0)


async def test_audio_that_cannot_be_deleted_does_not_keep_that_of_other_jobs() -> None:
    house = aged(Stubborn)
    for _ in range(AT_ONCE + 1):
        await house.store.cancel(await house.submit())

    await house.retention.sweep()

    assert list(house.media.files) == [STUCK]


async def test_audio_that_cannot_be_deleted_keeps_no_old_job() -> None:
    house = aged(Stubborn, keep_jobs_s=DAY_S, keep_audio_s=7 * DAY_S)
    jobs = [await house.submit() for _ in range(2)]
    for job_id in jobs:
        await house.store.cancel(job_id)
    house.clock.advance(DAY_S)

    await house.retention.sweep()

    assert list(house.media.files) == [STUCK]
    for job_id in jobs:
        with pytest.raises(JobNotFound):
            await house.store.get(job_id)


async def test_an_orphan_that_cannot_be_deleted_does_not_keep_the_others() -> None:
    house = aged(Stubborn)
    for _ in range(2):
        await house.media.save(_blocks())
    house.clock.advance(DAY_S)

    await house.retention.delete_orphans()

    assert list(house.media.files) == [STUCK]


async def test_old_jobs_go_with_all_that_belongs_to_them() -> None:
    house = House(keep_jobs_s=7 * DAY_S, keep_audio_s=30 * DAY_S)
    job_id = await done_job(house)

    house.clock.advance(7 * DAY_S)
    await house.retention.sweep()

    assert house.media.files == {}
    with pytest.raises(JobNotFound):
        await house.store.get(job_id)


async def announced(house: House) -> int:
    """An announcement to one address; how many deliveries of it there are after tidying."""
    epoch = await house.store.take_over()
    await house.store.submit(await house.new_job(webhook_url="https://example.org/", tells_of_models=True))
    await house.store.announce(Announcement(News.MODEL_READY, "tiny.en", "ready", "loaded", NOON), epoch)
    await house.retention.forget_announcements()
    return len(await house.store.due_deliveries(epoch, limit=9))


async def test_announcements_are_kept_as_long_as_jobs() -> None:
    house = House(keep_jobs_s=60)
    at_first = await announced(house)
    house.clock.advance(60)
    await house.retention.forget_announcements()

    assert (at_first, await house.store.due_deliveries(1, limit=9)) == (1, [])


async def test_zero_retention_forgets_who_was_to_be_told_of_models() -> None:
    assert await announced(House(zero_retention=True)) == 0


async def test_result_stays_readable_without_zero_retention() -> None:
    house = House()
    job_id = await done_job(house)
    await house.service.get(job_id, None)
    house.clock.advance(DAY_S)

    await house.retention.sweep()

    assert (await house.service.get(job_id, None)).chunks


async def test_zero_retention_forgets_a_result_soon_after_it_was_fetched() -> None:
    house = House(zero_retention=True)
    job_id = await done_job(house)

    first = await house.service.get(job_id, None)
    await house.retention.sweep()
    again = await house.service.get(job_id, None)  # the reader's connection may have broken
    house.clock.advance(GRACE_S)
    await house.retention.sweep()
    late = await house.service.get(job_id, None)

    assert first.chunks == again.chunks != ()
    assert (late.chunks, late.job.forgotten) == ((), True)


async def test_zero_retention_forgets_a_result_that_nobody_fetched_in_time() -> None:
    house = House(zero_retention=True, zero_retention_s=600)
    job_id = await done_job(house)

    house.clock.advance(599)
    await house.retention.sweep()
    before = (await house.job(job_id)).forgotten
    house.clock.advance(1)
    await house.retention.sweep()

    assert not before
    assert (await house.job(job_id)).forgotten
    assert await house.store.chunks(job_id) == ()


async def test_zero_retention_forgets_a_result_that_a_webhook_delivered() -> None:
    house = House(zero_retention=True)
    job_id = await done_job(house, webhook_url="https://example.org/hook")
    (delivery,) = await house.store.deliveries(job_id)

    await house.retention.sweep()
    before = (await house.job(job_id)).forgotten
    await house.store.update_delivery(delivery, replace(delivery, status=DeliveryStatus.DELIVERED))
    house.hub.delivered(job_id)
    await house.retention.sweep()

    assert not before
    assert (await house.job(job_id)).forgotten


async def test_zero_retention_keeps_a_result_that_was_fetched_while_a_webhook_still_needs_it() -> None:
    house = House(zero_retention=True)
    job_id = await done_job(house, webhook_url="https://example.org/hook")
    (delivery,) = await house.store.deliveries(job_id)

    await house.service.get(job_id, None)
    house.clock.advance(GRACE_S)
    await house.retention.sweep()
    before = await house.store.chunks(job_id)
    await house.store.update_delivery(delivery, replace(delivery, status=DeliveryStatus.EXHAUSTED))
    await house.retention.sweep()

    assert before != ()
    assert await house.store.chunks(job_id) == ()


async def test_zero_retention_finds_what_was_delivered_before_the_process_began_behind_any_number_of_others() -> None:
    house = House(zero_retention=True)
    for _ in range(AT_ONCE):
        await house.store.cancel(await house.submit())
    house.clock.advance(1)
    job_id = await done_job(house, webhook_url="https://example.org/hook")
    (delivery,) = await house.store.deliveries(job_id)
    await house.store.update_delivery(delivery, replace(delivery, status=DeliveryStatus.DELIVERED))

    await House(house.shared, zero_retention=True).retention.sweep()

    assert (await house.job(job_id)).forgotten


async def test_zero_retention_keeps_no_audio_whatever_else_is_set() -> None:
    house = House(zero_retention=True, keep_audio_s=DAY_S)
    await done_job(house)

    await house.retention.sweep()

    assert house.media.files == {}


async def test_orphaned_audio_goes_and_that_of_jobs_stays() -> None:
    house = aged()
    job_id = await house.submit()
    await house.media.save(_blocks())
    house.clock.advance(DAY_S)

    await house.retention.delete_orphans()

    assert len(house.media.files) == 1
    async with house.dispatching():
        assert (await house.follow(job_id))[-1].kind == "done"


async def test_audio_that_was_there_before_an_empty_store_is_not_taken_for_orphans() -> None:
    house = aged()
    media = await house.media.save(_blocks())
    house.clock.advance(DAY_S)
    house.shared.store = InMemoryJobStore(house.clock.utc)
    house = House(house.shared)
    house.clock.advance(DAY_S)

    await house.retention.delete_orphans()

    assert list(house.media.files) == [media.path]


async def test_orphans_of_an_earlier_process_go_when_the_store_knows_an_older_job() -> None:
    house = aged(keep_jobs_s=7 * DAY_S)
    await done_job(house)
    await house.retention.sweep()
    house.clock.advance(1)
    await house.media.save(_blocks())
    house.clock.advance(DAY_S)
    house = House(house.shared)
    house.clock.advance(ORPHAN_S)

    await house.retention.delete_orphans()

    assert house.media.files == {}


async def test_no_orphans_go_soon_after_a_start_because_the_store_may_be_a_backup() -> None:
    house = aged(keep_jobs_s=7 * DAY_S)
    await done_job(house)
    await house.retention.sweep()
    backup = copy.deepcopy(house.store._jobs)
    later = await house.submit()
    house.clock.advance(DAY_S)
    store, house.store._jobs = house.store._jobs, backup

    await House(house.shared).retention.delete_orphans()
    house.store._jobs = store

    async with house.dispatching():
        assert (await house.follow(later))[-1].kind == "done"


async def test_audio_of_requests_goes_by_its_age_also_where_there_never_was_a_job() -> None:
    house = House()
    requests = Aged(house.clock)
    retention = Retention(house.store, house.media, house.hub, house.settings, house.clock.utc, requests=requests)
    await requests.save(blocks_of(b"old"))
    house.clock.advance(ORPHAN_S)
    young = await requests.save(blocks_of(b"young"))
    house.clock.advance(1)

    await retention.delete_left_by_requests()

    assert list(requests.files) == [young.path]


async def test_only_audio_older_than_an_hour_is_an_orphan() -> None:
    asked: list[float] = []

    class Noting(InMemoryMediaStore):
        async def older_than(self, age_s: float) -> Sequence[StoredMedia]:
            asked.append(age_s)
            return []

    house = House(Shared(media=Noting))
    house.clock.advance(ORPHAN_S)

    await house.retention.delete_orphans()

    assert timedelta(seconds=asked[0]) >= timedelta(hours=1)


async def _blocks() -> AsyncGenerator[bytes, None]:
    yield b"audio"
