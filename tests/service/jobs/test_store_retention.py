"""What every job store promises to those who delete what is no longer to be kept."""

from __future__ import annotations

from datetime import timedelta

from serve_app.jobs.job import RemoteMedia, Status
from serve_app.jobs.store import JobStore
from serve_app.testing import FakeClock
from tests.service.jobs.stores import END, claim, new_job
from tests.unit.jobs.examples import MEDIA, chunk

AT_ONCE = timedelta(0)


async def test_audio_is_spent_some_time_after_the_end(store: JobStore, clock: FakeClock) -> None:
    await store.submit(new_job("a"))
    await store.cancel("a")
    clock.advance(10)

    assert list(await store.spent_media(kept=timedelta(seconds=11), limit=9)) == []
    assert list(await store.spent_media(kept=timedelta(seconds=10), limit=9)) == [("a", MEDIA)]
    await store.forget_media("a")
    assert list(await store.spent_media(kept=AT_ONCE, limit=9)) == []
    assert not await store.holds(MEDIA)


async def test_audio_that_another_job_still_needs_is_not_spent(store: JobStore, clock: FakeClock) -> None:
    await store.submit(new_job("a"))
    await store.submit(new_job("b"))
    await store.cancel("a")

    assert list(await store.spent_media(kept=AT_ONCE, limit=9)) == []
    clock.advance(1)
    await store.cancel("b")
    assert list(await store.spent_media(kept=timedelta(seconds=1), limit=9)) == []
    assert [job_id for job_id, _ in await store.spent_media(kept=AT_ONCE, limit=9)] == ["a", "b"]


async def test_remote_audio_that_was_never_fetched_is_not_spent(store: JobStore) -> None:
    await store.submit(new_job("a", source=RemoteMedia("https://example.org/a.mp3")))
    await store.cancel("a")

    assert list(await store.spent_media(kept=AT_ONCE, limit=9)) == []


async def test_forgotten_text_is_gone_from_chunks_and_events(store: JobStore, epoch: int) -> None:
    await store.submit(new_job("a"))
    lease = (await claim(store, epoch)).lease
    await store.record(lease, chunk(0))
    await store.record(lease, END)
    await store.forget_text("a")
    job = await store.get("a")

    assert (job.forgotten, job.status, job.end) == (True, Status.DONE, END)
    assert await store.chunks("a") == ()
    assert [(e.seq, e.kind) for e in await store.events("a", after_seq=0, limit=9)] == [
        (1, "queued"),
        (3, "progress"),
        (4, "done"),
    ]


async def test_ended_jobs_are_found_when_their_time_has_come(store: JobStore, clock: FakeClock) -> None:
    for job_id in ("first", "second", "queued"):
        await store.submit(new_job(job_id))
    await store.cancel("first")
    clock.advance(10)
    await store.cancel("second")
    await store.forget_text("first")

    assert list(await store.ended_before(timedelta(seconds=10), limit=9)) == ["first"]
    assert list(await store.ended_before(AT_ONCE, limit=9)) == ["first", "second"]
    assert list(await store.ended_before(AT_ONCE, limit=1)) == ["first"]
    assert list(await store.ended_before(AT_ONCE, limit=9, forgotten=False)) == ["second"]
