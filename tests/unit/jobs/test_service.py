from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from serve_app.errors import JobNotFound, LeaseLost, MediaUnavailable, StoreUnavailable
from serve_app.jobs.job import Claim, Event, JobQuery, MediaFetched, NewJob, RemoteMedia, Status, Submitted
from serve_app.jobs.lookout import Lookout
from serve_app.jobs.service import SLICE_EVENTS
from serve_app.testing import SENTENCES, InMemoryMediaStore
from serve_app.testing.jobs import InMemoryJobStore
from serve_app.transcript.protocols import StoredMedia
from tests.unit.jobs.coordination import Gate, House, ScriptedRunner, Shared, settled
from tests.unit.jobs.examples import OPTIONS, chunk

TEXT = "".join(SENTENCES)


class CountingStore(InMemoryJobStore):
    """Counts how often events are read."""

    reads = 0

    async def events(self, job_id: str, *, after_seq: int, limit: int) -> Sequence[Event]:
        self.reads += 1
        return await super().events(job_id, after_seq=after_seq, limit=limit)


def text_of(details: object) -> str:
    return "".join(c.text for c in details.chunks)  # type: ignore[attr-defined]


async def test_submitted_job_is_done_in_the_end() -> None:
    house = House()

    async with house.dispatching():
        job_id = await house.submit()
        events = await house.follow(job_id)

    details = await house.service.get(job_id, "")
    assert details.job.status is Status.DONE
    assert text_of(details) == TEXT
    assert [e.kind for e in events if e.kind != "progress"] == ["queued", "segment", "segment", "segment", "done"]
    assert [e.seq for e in events] == list(range(1, len(events) + 1))


async def test_new_coordinator_goes_on_where_the_dead_one_was() -> None:
    gate = Gate(2)
    dead = House(before_chunk=gate)
    job_id = await dead.submit()
    dead_claim = await dead.store.claim(await dead.store.take_over(), lease_s=30)
    assert dead_claim is not None
    orphan = asyncio.create_task(dead.runner.run(dead_claim))  # the runner outlives the Coordinator that claimed for it
    await gate.reached.wait()
    await settled()

    asked: list[int] = []

    async def note(index: int) -> None:
        asked.append(index)

    heir = House(dead.shared, before_chunk=note)
    async with heir.dispatching():
        events = await heir.follow(job_id)
    gate.open()

    with pytest.raises(LeaseLost):
        await orphan
    assert asked == [2, 3]  # the chunk that was in flight, and the end
    assert text_of(await heir.service.get(job_id, None)) == TEXT
    assert [e.kind for e in events].count("done") == 1
    assert [e.data["index"] for e in events if e.kind == "segment"] == [0, 1, 2]


async def test_job_cancelled_in_the_middle_keeps_what_was_done() -> None:
    gate = Gate(2)
    house = House(before_chunk=gate)
    job_id = await house.submit()

    async with house.dispatching():
        await gate.reached.wait()
        await settled()
        cancelled = await house.service.cancel(job_id, None)
        await settled()

        assert house.transcriber.cancelled == 1
    assert cancelled.job.status is Status.CANCELLED
    assert text_of(cancelled) == "".join(SENTENCES[:2])
    assert (await house.follow(job_id))[-1].kind == "cancelled"


async def test_completion_that_comes_after_the_cancel_is_too_late() -> None:
    gate = Gate(len(SENTENCES))
    house = House(before_chunk=gate)
    job_id = await house.submit()

    async with house.dispatching():
        await gate.reached.wait()
        await house.store.cancel(job_id)  # the attempt does not hear of it
        gate.open()
        await settled()

    assert (await house.job(job_id)).status is Status.CANCELLED
    assert [e.kind for e in await house.follow(job_id)][-1] == "cancelled"


async def test_cancel_that_comes_after_completion_changes_nothing() -> None:
    house = House()
    job_id = await house.submit()
    async with house.dispatching():
        before = await house.follow(job_id)

    details = await house.service.cancel(job_id, None)

    assert details.job.status is Status.DONE
    assert await house.follow(job_id) == before


async def test_foreign_job_is_not_found_by_any_verb() -> None:
    house = House()
    job_id = await house.submit(owner="mine")
    service = house.service

    for call in (
        service.get(job_id, "other"),
        service.cancel(job_id, "other"),
        service.purge(job_id, "other"),
        service.deliveries(job_id, "other"),
        service.resend(job_id, "any", "other"),
        anext(service.events(job_id, "other", after_seq=0)),
    ):
        with pytest.raises(JobNotFound):
            await call
    assert (await service.page(JobQuery(), "other")).jobs == ()


async def test_purge_deletes_the_audio_of_a_running_job_and_ends_its_attempt() -> None:
    house, runner = House(), ScriptedRunner()
    job_id = await house.submit()

    async with house.dispatching(runner):
        await settled()
        await house.service.purge(job_id, None)
        await settled()

    assert runner.cancelled == [job_id]
    assert house.media.files == {}
    with pytest.raises(JobNotFound):
        await house.service.get(job_id, None)


async def test_purge_succeeds_although_the_audio_cannot_be_deleted_now() -> None:
    class Away(InMemoryMediaStore):
        async def delete(self, media: StoredMedia) -> None:
            raise MediaUnavailable("The store is away.")

    house = House(Shared(media=Away))
    job_id = await house.submit()

    await house.service.purge(job_id, None)

    with pytest.raises(JobNotFound):
        await house.service.get(job_id, None)


async def fetched(house: House) -> MediaFetched:
    """What an attempt fetched for a job whose audio is remote."""
    return MediaFetched((await house.new_job()).source, 5)  # type: ignore[arg-type]


async def remote_job(house: House) -> Claim:
    """A running job whose audio is still to be fetched."""
    new = NewJob(str(uuid.uuid4()), "", RemoteMedia("https://example.org/a.wav"), OPTIONS)
    await house.service.submit(new)
    claim = await house.store.claim(await house.store.take_over(), lease_s=30)
    assert claim is not None
    return claim


@pytest.mark.parametrize("verb", ["purge", "cancel"])
async def test_audio_that_was_fetched_for_a_job_that_ended_meanwhile_is_deleted(verb: str) -> None:
    house = House()
    claim = await remote_job(house)
    step = await fetched(house)
    await getattr(house.service, verb)(claim.lease.job_id, None)

    with pytest.raises(LeaseLost):
        await house.service.record(claim.lease, step)

    assert house.media.files == {}


async def test_audio_whose_arrival_was_told_twice_is_kept() -> None:
    house = House()
    claim = await remote_job(house)
    step = await fetched(house)
    await house.service.record(claim.lease, step)
    await house.store.take_over()  # the answer is lost with its process, so the runner says it again

    with pytest.raises(LeaseLost):
        await house.service.record(claim.lease, step)

    assert len(house.media.files) == 1


async def test_events_go_on_after_the_last_one_that_was_seen() -> None:
    house = House()
    job_id = await house.submit()
    async with house.dispatching():
        events = await house.follow(job_id)

    assert await house.follow(job_id, after_seq=3) == events[3:]


@pytest.mark.parametrize("after", [0, 1000])
async def test_last_event_is_given_even_to_one_who_says_to_have_it(after: int) -> None:
    house = House()
    job_id = await house.submit()
    async with house.dispatching():
        events = await house.follow(job_id)

    again = await house.follow(job_id, after_seq=events[-1].seq + after)

    assert again[-1] == events[-1]


async def test_slice_without_news_ends_by_itself() -> None:
    house = House(slice_s=0.02)
    job_id = await house.submit()

    events = await house.follow(job_id)

    assert [e.kind for e in events] == ["queued"]


async def test_event_that_another_process_wrote_is_found() -> None:
    house = House()
    lookout = Lookout(house.store, house.hub)
    job_id = await house.submit()
    following = asyncio.create_task(house.follow(job_id))
    await settled()

    await house.store.cancel(job_id)
    await lookout.look()

    assert [e.kind for e in await asyncio.wait_for(following, 30)] == ["queued", "cancelled"]


async def test_reader_who_has_all_events_reads_again_only_when_there_are_more() -> None:
    house = House(shared=Shared(CountingStore))
    job_id = await house.submit()
    following = asyncio.create_task(house.follow(job_id))
    await settled()
    first = house.store.reads

    await house.service.cancel(job_id, None)
    await asyncio.wait_for(following, 30)

    assert first == 1
    assert house.store.reads == 2


async def test_slow_reader_gets_no_more_than_a_slice_ahead() -> None:
    house = House(sentences=[f" {n}." for n in range(SLICE_EVENTS)])
    job_id = await house.submit()
    async with house.dispatching():
        while not (await house.job(job_id)).status.ended:  # noqa: ASYNC110  # nobody listens, that is the point
            await asyncio.sleep(0)

    first = await house.follow(job_id)
    rest = await house.follow(job_id, after_seq=first[-1].seq)

    assert len(first) == SLICE_EVENTS
    assert rest[-1].kind == "done"


async def test_events_that_were_recorded_before_come_together() -> None:
    house = House()
    job_id = await house.submit()
    async with house.dispatching():
        events = await house.follow(job_id)

    async with aclosing(house.service.event_groups(job_id, None, after_seq=0)) as groups:
        assert [list(group) async for group in groups] == [events]


async def test_reader_who_stops_reading_holds_nothing_up() -> None:
    house = House()
    job_id = await house.submit()
    async with aclosing(house.service.events(job_id, None, after_seq=0)) as events:
        await anext(events)

        async with house.dispatching():
            await house.follow(job_id)

    assert (await house.job(job_id)).status is Status.DONE
    assert not house.hub._bells


async def test_eta_is_told_once_a_job_has_ended() -> None:
    house = House(max_running=1)
    first = await house.submit()
    claim = await house.store.claim(await house.store.take_over(), lease_s=100)
    assert claim is not None
    assert (await house.service.get(first, None)).job.eta_s is None

    await house.service.record(claim.lease, chunk(0))
    house.clock.advance(2)
    await house.service.record(claim.lease, chunk(1))
    eta_s = (await house.service.get(first, None)).job.eta_s

    assert eta_s == 8  # 10 s of audio in 2 s, and 40 s are left


async def test_submitting_the_same_id_twice_makes_one_job() -> None:
    house = House()
    new = await house.new_job()

    first = await house.service.submit(new)
    again = await house.service.submit(new)

    assert (first.created, again.created) == (True, False)
    assert again.job == first.job
    assert (await house.service.stats()).queued == 1


async def test_store_that_takes_no_writes_counts_as_away_until_it_takes_one_or_for_a_while() -> None:
    class Full(InMemoryJobStore):
        full = True

        async def submit(self, new: NewJob) -> Submitted:
            if Full.full:
                raise StoreUnavailable("The disk is full.")
            return await super().submit(new)

    house = House(Shared(Full))
    with pytest.raises(StoreUnavailable):
        await house.submit()
    with pytest.raises(StoreUnavailable, match="The disk is full"):
        await house.service.stats()

    house.clock.advance(30)
    assert (await house.service.stats()).queued == 0
    with pytest.raises(StoreUnavailable):
        await house.submit()
    Full.full = False
    await house.submit()

    assert (await house.service.stats()).queued == 1
