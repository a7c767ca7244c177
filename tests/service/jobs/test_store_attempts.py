"""What every job store promises to runners: which steps it keeps, and what it tells of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serve_app.errors import LeaseLost
from serve_app.jobs.job import MediaFetched, RemoteMedia, Status
from serve_app.jobs.rendering import segment_object
from serve_app.jobs.store import JobStore
from serve_app.testing import FakeClock
from serve_app.transcript.protocols import StoredMedia
from tests.service.jobs.stores import BROKEN, END, claim, kinds, new_job
from tests.unit.jobs.examples import chunk


async def test_checkpoints_are_kept_as_they_came(store: JobStore, epoch: int) -> None:
    await store.submit(new_job("a"))
    lease = (await claim(store, epoch)).lease
    steps = [chunk(1, " Zwei Wörter. 你好\x00"), chunk(0, channel=1), chunk(0)]
    for step in steps:
        await store.record(lease, step)

    assert await store.chunks("a") == (steps[2], steps[1], steps[0])


async def test_new_chunk_tells_its_segments_and_its_progress(store: JobStore, epoch: int) -> None:
    await store.submit(new_job("a"))
    lease = (await claim(store, epoch)).lease
    for step in (chunk(0), chunk(1)):
        await store.record(lease, step)
    events = await store.events("a", after_seq=1, limit=9)

    assert [(event.seq, event.kind) for event in events] == [
        (2, "segment"),
        (3, "progress"),
        (4, "segment"),
        (5, "progress"),
    ]
    assert events[2].data == segment_object(1, chunk(1).segments[0], shows_words=False)
    assert [events[1].data, events[3].data] == [{"percent": 16}, {"percent": 33}]
    assert (await store.get("a")).progress == 33
    assert (await store.get("a")).duration_s == 60.0


async def test_events_come_in_slices(store: JobStore, epoch: int) -> None:
    await store.submit(new_job("a"))
    await store.record((await claim(store, epoch)).lease, chunk(0))

    assert [e.seq for e in await store.events("a", after_seq=0, limit=2)] == [1, 2]
    assert [e.seq for e in await store.events("a", after_seq=2, limit=2)] == [3]
    assert [e.seq for e in await store.events("a", after_seq=3, limit=2)] == []
    assert [e.seq for e in await store.events("a", after_seq=2**40, limit=2)] == []


async def test_known_chunk_changes_nothing(store: JobStore, epoch: int) -> None:
    await store.submit(new_job("a"))
    lease = (await claim(store, epoch)).lease
    await store.record(lease, chunk(0, " First."))
    before = await kinds(store, "a")
    await store.record(lease, chunk(0, " Second."))

    assert [c.text for c in await store.chunks("a")] == [" First."]
    assert await kinds(store, "a") == before


async def test_steps_that_are_recorded_together_say_what_they_say_one_by_one(store: JobStore, epoch: int) -> None:
    told = []
    for job_id, together in (("a", True), ("b", False)):
        await store.submit(new_job(job_id))
        lease = (await claim(store, epoch)).lease
        await store.record(lease, chunk(0))
        for steps in [(chunk(0), chunk(2), chunk(1), END)] if together else [(chunk(2),), (chunk(1),), (END,)]:
            await store.record(lease, *steps)
        events = await store.events(job_id, after_seq=0, limit=99)
        told.append(([(event.seq, event.kind, event.data) for event in events], await store.chunks(job_id)))

    assert told[0] == told[1]
    assert (await store.get("a")).end == END


async def test_of_steps_that_are_recorded_together_none_is_kept_without_the_lease(store: JobStore, epoch: int) -> None:
    await store.submit(new_job("a"))
    lease = (await claim(store, epoch)).lease

    with pytest.raises(LeaseLost):
        await store.record(replace(lease, token="forged"), chunk(0), chunk(1), END)

    assert await store.chunks("a") == ()
    assert (await store.get("a")).status is Status.RUNNING


async def test_progress_never_goes_back_and_is_never_whole_before_the_end(store: JobStore, epoch: int) -> None:
    await store.submit(new_job("a"))
    lease = (await claim(store, epoch)).lease
    seen = []
    for step in (chunk(3), chunk(2, channel=1), chunk(90), replace(chunk(4), declared_s=None)):
        await store.record(lease, step)
        seen.append((await store.get("a")).progress)

    assert seen == [66, 66, 99, 99]


async def test_next_attempt_knows_what_the_last_one_did(store: JobStore, epoch: int) -> None:
    await store.submit(new_job("a", source=RemoteMedia("https://example.org/a.mp3")))
    lease = (await claim(store, epoch)).lease
    await store.record(lease, MediaFetched(StoredMedia("fetched"), 11))
    await store.record(lease, chunk(0))
    await store.release(lease, error=BROKEN)
    second = await claim(store, epoch)

    assert (second.attempt, second.known, second.source) == (2, (chunk(0),), StoredMedia("fetched"))
    assert (await store.get("a")).size_bytes == 11


async def test_finished_attempt_ends_the_job(store: JobStore, epoch: int, clock: FakeClock) -> None:
    await store.submit(new_job("a"))
    lease = (await claim(store, epoch)).lease
    clock.advance(1)
    await store.record(lease, END)
    job = await store.get("a")

    assert (job.status, job.progress, job.end, job.error) == (Status.DONE, 100, END, None)
    assert (job.duration_s, job.completed_at) == (61.5, clock.utc())
    assert await kinds(store, "a") == ["queued", "done"]
    with pytest.raises(LeaseLost):
        await store.record(lease, END)


async def test_failed_job_says_why(store: JobStore, epoch: int) -> None:
    await store.submit(new_job("a"))
    await store.fail((await claim(store, epoch)).lease, BROKEN)
    job = await store.get("a")

    assert (job.status, job.error) == (Status.FAILED, BROKEN)
    assert (await store.events("a", after_seq=1, limit=1))[0].data == {
        "code": BROKEN.code,
        "message": BROKEN.message,
    }
