"""What every job store promises: in memory, in SQLite, in PostgreSQL."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from serve_app.errors import (
    DeliveryNotFound,
    IdempotencyMismatch,
    InvalidRequest,
    JobNotFound,
    LeaseLost,
    Superseded,
)
from serve_app.jobs.job import (
    Claim,
    DeliveryStatus,
    Idempotency,
    JobError,
    JobQuery,
    MediaFetched,
    Priority,
    RemoteMedia,
    Status,
    WaitingFor,
)
from serve_app.jobs.rendering import segment_object
from serve_app.jobs.store import JobStore
from serve_app.testing import FakeClock
from serve_app.transcript.protocols import StoredMedia
from serve_app.transcript.types import TranscriptionFinished, TranscriptWarning, WarningCode
from tests.service.jobs.stores import ALICE, BOB, HOOK, Opened, cancelled_at, new_job
from tests.unit.jobs.examples import MEDIA, chunk

LEASE_S = 30.0
END = TranscriptionFinished(61.5, "en", 0.9, (TranscriptWarning(WarningCode.REPETITION, "Again.", 1.0, 2.0),), 60.0, 1)
BROKEN = JobError("invalid_audio", "Not audio.")
AT_ONCE = timedelta(0)


async def claim(store: JobStore, epoch: int, *, only: Priority | None = None) -> Claim:
    claimed = await store.claim(epoch, lease_s=LEASE_S, only=only)
    assert claimed is not None
    return claimed


async def claimed_ids(store: JobStore, epoch: int) -> list[str]:
    ids = []
    while claimed := await store.claim(epoch, lease_s=LEASE_S):
        ids.append(claimed.lease.job_id)
    return ids


async def kinds(store: JobStore, job_id: str) -> list[str]:
    return [event.kind for event in await store.events(job_id, after_seq=0, limit=100)]


class TestSubmit:
    async def test_job_that_was_accepted_can_be_read(self, store: JobStore, clock: FakeClock) -> None:
        new = new_job("a", size_bytes=7, priority=Priority.BATCH, webhook_url=HOOK)
        submitted = await store.submit(new)

        assert submitted.created
        assert submitted.job == await store.get("a")
        assert submitted.job.status is Status.QUEUED
        assert submitted.job.options == new.options
        assert (submitted.job.owner, submitted.job.size_bytes) == (ALICE, 7)
        assert (submitted.job.priority, submitted.job.webhook_url) == (Priority.BATCH, HOOK)
        assert submitted.job.created_at == clock.utc()
        assert submitted.job.queue_position == 1
        assert await kinds(store, "a") == ["queued"]

    async def test_submit_sent_twice_makes_one_job(self, store: JobStore) -> None:
        first = await store.submit(new_job("a"))
        second = await store.submit(new_job("a"))

        assert not second.created
        assert second.job == first.job
        assert await kinds(store, "a") == ["queued"]

    async def test_same_key_with_the_same_fingerprint_is_the_same_job(self, store: JobStore) -> None:
        await store.submit(new_job("a", idempotency=Idempotency("k", "f")))
        second = await store.submit(new_job("b", idempotency=Idempotency("k", "f")))

        assert (second.job.job_id, second.created) == ("a", False)

    async def test_same_key_with_another_fingerprint_is_a_mistake(self, store: JobStore) -> None:
        await store.submit(new_job("a", idempotency=Idempotency("k", "f")))

        with pytest.raises(IdempotencyMismatch):
            await store.submit(new_job("b", idempotency=Idempotency("k", "g")))
        with pytest.raises(JobNotFound):
            await store.get("b")

    async def test_key_is_known_to_its_owner_while_its_job_is_there(self, store: JobStore) -> None:
        await store.submit(new_job("a", idempotency=Idempotency("key", "f1")))
        known = [await store.was_submitted(key, owner) for key, owner in (("key", ALICE), ("key", BOB), ("k", ALICE))]
        await store.purge("a")

        assert known == [True, False, False]
        assert not await store.was_submitted("key", ALICE)

    async def test_keys_of_one_owner_are_invisible_to_another(self, store: JobStore) -> None:
        await store.submit(new_job("a", idempotency=Idempotency("k", "f")))
        other = await store.submit(new_job("b", BOB, idempotency=Idempotency("k", "g")))

        assert other.created

    async def test_key_of_a_purged_job_is_free_again(self, store: JobStore) -> None:
        await store.submit(new_job("a", idempotency=Idempotency("k", "f")))
        await store.purge("a")

        assert (await store.submit(new_job("b", idempotency=Idempotency("k", "g")))).created

    async def test_id_of_another_owners_job_is_refused(self, store: JobStore) -> None:
        await store.submit(new_job("a"))

        with pytest.raises(IdempotencyMismatch):
            await store.submit(new_job("a", BOB))

    async def test_many_at_once_are_all_accepted_and_one_key_makes_one_job(self, store: JobStore) -> None:
        key = Idempotency("k", "f")
        submits = [store.submit(new_job(f"job {n}", idempotency=key if n % 2 else None)) for n in range(20)]
        submitted = await asyncio.gather(*submits)

        assert sum(s.created for s in submitted) == 11
        assert (await store.stats()).queued == 11

    async def test_mistake_among_many_at_once_fails_alone(self, store: JobStore) -> None:
        await store.submit(new_job("a", idempotency=Idempotency("k", "f")))
        mistake = store.submit(new_job("b", idempotency=Idempotency("k", "g")))
        others = [store.submit(new_job(f"job {n}")) for n in range(5)]
        refused, *accepted = await asyncio.gather(mistake, *others, return_exceptions=True)

        assert isinstance(refused, IdempotencyMismatch)
        assert not any(isinstance(s, BaseException) for s in accepted)


class TestReading:
    async def test_job_of_another_owner_is_not_found(self, store: JobStore) -> None:
        await store.submit(new_job("a"))

        assert (await store.get("a", ALICE)).job_id == "a"
        for verb in (store.get, store.cancel, store.purge, store.deliveries):
            with pytest.raises(JobNotFound):
                await verb("a", BOB)
        with pytest.raises(JobNotFound):
            await store.resend("a", "d", BOB)

    async def test_unknown_job_has_no_chunks_and_no_events(self, store: JobStore) -> None:
        assert await store.chunks("a") == ()
        assert list(await store.events("a", after_seq=0, limit=9)) == []

    async def test_pages_go_from_the_newest_to_the_oldest(self, store: JobStore) -> None:
        for n in range(5):
            await store.submit(new_job(f"job {n}"))
        first = await store.page(JobQuery(limit=2))
        second = await store.page(JobQuery(limit=2, cursor=first.next_cursor))
        third = await store.page(JobQuery(limit=2, cursor=second.next_cursor))

        assert [job.job_id for page in (first, second, third) for job in page.jobs] == [
            f"job {n}" for n in (4, 3, 2, 1, 0)
        ]
        assert third.next_cursor is None

    async def test_jobs_that_come_meanwhile_do_not_shift_the_next_page(self, store: JobStore) -> None:
        for n in range(3):
            await store.submit(new_job(f"job {n}"))
        first = await store.page(JobQuery(limit=2))
        await store.submit(new_job("newer"))
        await store.purge("job 1")

        assert [job.job_id for job in (await store.page(JobQuery(cursor=first.next_cursor))).jobs] == ["job 0"]

    async def test_page_shows_the_owners_jobs_of_a_status_only(self, store: JobStore) -> None:
        await store.submit(new_job("a"))
        await store.submit(new_job("b", BOB))
        await store.submit(new_job("c"))
        await store.cancel("c")

        assert [job.job_id for job in (await store.page(JobQuery(), ALICE)).jobs] == ["c", "a"]
        assert [job.job_id for job in (await store.page(JobQuery(status=Status.QUEUED))).jobs] == ["b", "a"]

    @pytest.mark.parametrize("cursor", ["", "nonsense", "-1", "f" * 40, "1_0", "٣"])
    async def test_cursor_that_is_none_of_ours_is_refused(self, store: JobStore, cursor: str) -> None:
        with pytest.raises(InvalidRequest):
            await store.page(JobQuery(cursor=cursor))

    async def test_stats_count_what_waits_and_what_runs(self, store: JobStore, epoch: int, clock: FakeClock) -> None:
        first = clock.utc()
        await store.submit(new_job("a"))
        clock.advance(1)
        await store.submit(new_job("b", BOB))
        await store.submit(new_job("c", BOB))
        await claim(store, epoch)
        waiting = await store.stats()
        await claimed_ids(store, epoch)
        busy = await store.stats()

        assert (waiting.queued, waiting.running, waiting.oldest_queued_at) == (2, 1, first + timedelta(seconds=1))
        assert (busy.queued, busy.running, busy.oldest_queued_at) == (0, 3, None)


class TestTurns:
    async def test_nothing_is_claimed_from_an_empty_queue(self, store: JobStore, epoch: int) -> None:
        assert await store.claim(epoch, lease_s=LEASE_S) is None

    async def test_interactive_comes_before_batch(self, store: JobStore, epoch: int) -> None:
        await store.submit(new_job("batch", priority=Priority.BATCH))
        await store.submit(new_job("interactive"))

        assert (await store.get("batch")).queue_position == 2
        assert await claimed_ids(store, epoch) == ["interactive", "batch"]

    async def test_one_priority_can_be_asked_for(self, store: JobStore, epoch: int) -> None:
        await store.submit(new_job("batch", priority=Priority.BATCH))

        assert await store.claim(epoch, lease_s=LEASE_S, only=Priority.INTERACTIVE) is None
        assert (await claim(store, epoch, only=Priority.BATCH)).lease.job_id == "batch"

    async def test_thousand_files_of_one_do_not_starve_the_one_of_another(self, store: JobStore, epoch: int) -> None:
        for n in range(10):
            await store.submit(new_job(f"alice {n}"))
        await claim(store, epoch)
        await claim(store, epoch)
        await store.submit(new_job("bob", BOB))

        assert (await store.get("bob")).queue_position == 1
        assert (await claim(store, epoch)).lease.job_id == "bob"

    async def test_owners_take_turns(self, store: JobStore, epoch: int) -> None:
        for owner, count in ((ALICE, 3), (BOB, 2)):
            for n in range(count):
                await store.submit(new_job(f"{owner} {n}", owner))

        assert await claimed_ids(store, epoch) == ["alice 0", "bob 0", "alice 1", "bob 1", "alice 2"]

    async def test_who_submits_one_after_the_other_starves_nobody(self, store: JobStore, epoch: int) -> None:
        for n in range(3):
            await store.submit(new_job(f"bob {n}", BOB))
        claimed = []
        for n in range(3):
            await store.submit(new_job(f"alice {n}"))
            claimed += [(await claim(store, epoch)).lease.job_id, (await claim(store, epoch)).lease.job_id]
            await store.purge(f"alice {n}")

        assert claimed == ["bob 0", "alice 0", "bob 1", "alice 1", "bob 2", "alice 2"]

    async def test_who_was_away_gets_no_turns_for_the_time(self, store: JobStore, epoch: int) -> None:
        for n in range(6):
            await store.submit(new_job(f"alice {n}"))
        for _ in range(3):
            await claim(store, epoch)
        for n in range(2):
            await store.submit(new_job(f"bob {n}", BOB))

        assert await claimed_ids(store, epoch) == ["bob 0", "alice 3", "bob 1", "alice 4", "alice 5"]

    async def test_cancelled_jobs_cost_their_owner_no_turns(self, store: JobStore, epoch: int) -> None:
        for n in range(9):
            await store.submit(new_job(f"alice {n}"))
            await store.cancel(f"alice {n}")
        await store.submit(new_job("bob 0", BOB))
        await store.submit(new_job("bob 1", BOB))
        await store.submit(new_job("alice 9"))

        assert await claimed_ids(store, epoch) == ["bob 0", "alice 9", "bob 1"]

    async def test_position_counts_all_that_come_before(self, store: JobStore, epoch: int) -> None:
        for n in range(3):
            await store.submit(new_job(f"alice {n}"))
        await claim(store, epoch)

        assert [(await store.get(f"alice {n}")).queue_position for n in range(3)] == [None, 1, 2]
        assert [job.queue_position for job in (await store.page(JobQuery())).jobs] == [2, 1, None]


class TestLeases:
    async def test_claim_tells_all_that_a_runner_needs(self, store: JobStore, epoch: int, clock: FakeClock) -> None:
        await store.submit(new_job("a", source=RemoteMedia("https://example.org/a.mp3")))
        claimed = await claim(store, epoch)
        job = await store.get("a")

        assert (claimed.attempt, claimed.source, claimed.known) == (1, RemoteMedia("https://example.org/a.mp3"), ())
        assert claimed.options == job.options
        assert claimed.lease.expires_at == clock.utc() + timedelta(seconds=LEASE_S)
        assert (job.status, job.attempts, job.started_at) == (Status.RUNNING, 1, clock.utc())
        assert job.queue_position is None

    async def test_stale_lease_never_writes(self, store: JobStore, epoch: int, clock: FakeClock) -> None:
        await store.submit(new_job("a"))
        stale = (await claim(store, epoch)).lease
        clock.advance(LEASE_S)
        before = await store.get("a")

        for verb in (
            store.record(stale, chunk(0)),
            store.record(stale, END),
            store.record(stale, MediaFetched(MEDIA, 1)),
            store.extend(stale, lease_s=LEASE_S),
            store.release(stale),
            store.fail(stale, BROKEN),
        ):
            with pytest.raises(LeaseLost):
                await verb
        assert await store.get("a") == before
        assert await kinds(store, "a") == ["queued"]

    async def test_forged_token_never_writes(self, store: JobStore, epoch: int) -> None:
        await store.submit(new_job("a"))
        lease = (await claim(store, epoch)).lease

        with pytest.raises(LeaseLost):
            await store.record(replace(lease, token="forged"), chunk(0))

    async def test_stale_runner_cannot_overwrite_the_result(
        self, store: JobStore, epoch: int, clock: FakeClock
    ) -> None:
        await store.submit(new_job("a"))
        stale = (await claim(store, epoch)).lease
        clock.advance(LEASE_S + 1)
        requeued = await store.requeue_expired()
        fresh = await claim(store, epoch)
        await store.record(fresh.lease, END)

        assert list(requeued) == [stale]
        with pytest.raises(LeaseLost):
            await store.fail(stale, BROKEN)
        assert (await store.get("a")).status is Status.DONE

    async def test_extended_lease_lives_on(self, store: JobStore, epoch: int, clock: FakeClock) -> None:
        await store.submit(new_job("a"))
        lease = (await claim(store, epoch)).lease
        clock.advance(LEASE_S - 1)
        assert not await store.was_extended(lease)
        await store.extend(lease, lease_s=LEASE_S)
        clock.advance(LEASE_S - 1)

        assert await store.next_due_at() == clock.utc() + timedelta(seconds=1)
        assert list(await store.requeue_expired()) == []
        assert await store.was_extended(lease)
        await store.record(lease, chunk(0))  # the token counts, not the instant that its holder knows

    async def test_attempts_are_counted_until_a_chunk_comes(
        self, store: JobStore, epoch: int, clock: FakeClock
    ) -> None:
        await store.submit(new_job("a"))
        counted = []
        for n in range(4):
            held = await claim(store, epoch)
            counted.append((held.attempt, held.failures, held.waits))
            if n == 2:
                await store.record(held.lease, chunk(0))
            await store.release(held.lease, not_before=clock.utc(), error=BROKEN)

        assert counted == [(1, 0, 0), (2, 1, 1), (3, 2, 2), (4, 0, 1)]
        assert (await claim(store, epoch)).last_error == BROKEN

    async def test_excused_attempt_does_not_count_but_its_wait_does(
        self, store: JobStore, epoch: int, clock: FakeClock
    ) -> None:
        await store.submit(new_job("a"))
        for _ in range(3):
            await store.release((await claim(store, epoch)).lease, not_before=clock.utc(), excused=True)
        await store.release(
            (await claim(store, epoch)).lease, not_before=clock.utc(), waiting_for=WaitingFor.MODEL, excused=True
        )
        held = await claim(store, epoch)

        assert (held.attempt, held.failures, held.waits) == (1, 0, 3)

    @pytest.mark.parametrize("ends", ["it expires", "another takes over"])
    async def test_lease_that_was_never_extended_is_no_attempt(
        self, store: JobStore, epoch: int, clock: FakeClock, ends: str
    ) -> None:
        for job_id in ("begun", "not begun"):
            await store.submit(new_job(job_id))
        leases = [(await claim(store, epoch)).lease for _ in range(2)]
        await store.extend(leases[0], lease_s=LEASE_S)
        if ends == "it expires":
            clock.advance(LEASE_S + 1)
            await store.requeue_expired()
        else:
            epoch = await store.take_over()
        claims = [await claim(store, epoch) for _ in range(2)]

        assert [(c.lease.job_id, c.attempt, c.failures) for c in claims] == [("begun", 2, 1), ("not begun", 1, 0)]

    async def test_job_that_is_given_up_was_not_tried_once_more(self, store: JobStore, epoch: int) -> None:
        await store.submit(new_job("a"))
        await store.release((await claim(store, epoch)).lease)
        await store.fail((await claim(store, epoch)).lease, BROKEN, excused=True)

        assert (await store.get("a")).attempts == 1

    async def test_running_job_is_not_claimed_twice(self, store: JobStore, epoch: int) -> None:
        await store.submit(new_job("a"))
        claims = await asyncio.gather(*(store.claim(epoch, lease_s=LEASE_S) for _ in range(4)))

        assert sum(c is not None for c in claims) == 1

    async def test_released_job_goes_back_to_its_old_place(self, store: JobStore, epoch: int) -> None:
        for n in range(3):
            await store.submit(new_job(f"job {n}"))
        first = await claim(store, epoch)
        await store.release(first.lease)

        assert (await claim(store, epoch)).lease.job_id == first.lease.job_id

    async def test_released_job_waits_as_long_as_it_should(self, store: JobStore, epoch: int, clock: FakeClock) -> None:
        await store.submit(new_job("a"))
        later = clock.utc() + timedelta(seconds=5)
        lease = (await claim(store, epoch)).lease
        await store.release(lease, not_before=later, waiting_for=WaitingFor.GPU, error=BROKEN)
        job = await store.get("a")

        assert (job.status, job.waiting_for, job.error) == (Status.QUEUED, WaitingFor.GPU, BROKEN)
        assert await store.next_due_at() == later
        assert await store.claim(epoch, lease_s=LEASE_S) is None
        clock.advance(5)
        assert (await claim(store, epoch)).attempt == 2
        assert (await store.get("a")).waiting_for is None

    async def test_next_due_is_now_or_the_end_of_a_lease(self, store: JobStore, epoch: int, clock: FakeClock) -> None:
        assert await store.next_due_at() is None
        await store.submit(new_job("a"))

        assert await store.next_due_at() == clock.utc()
        lease = (await claim(store, epoch)).lease
        assert await store.next_due_at() == lease.expires_at


class TestSteps:
    async def test_checkpoints_are_kept_as_they_came(self, store: JobStore, epoch: int) -> None:
        await store.submit(new_job("a"))
        lease = (await claim(store, epoch)).lease
        steps = [chunk(1, " Zwei Wörter. 你好\x00"), chunk(0, channel=1), chunk(0)]
        for step in steps:
            await store.record(lease, step)

        assert await store.chunks("a") == (steps[2], steps[1], steps[0])

    async def test_new_chunk_tells_its_segments_and_its_progress(self, store: JobStore, epoch: int) -> None:
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

    async def test_events_come_in_slices(self, store: JobStore, epoch: int) -> None:
        await store.submit(new_job("a"))
        await store.record((await claim(store, epoch)).lease, chunk(0))

        assert [e.seq for e in await store.events("a", after_seq=0, limit=2)] == [1, 2]
        assert [e.seq for e in await store.events("a", after_seq=2, limit=2)] == [3]
        assert [e.seq for e in await store.events("a", after_seq=3, limit=2)] == []
        assert [e.seq for e in await store.events("a", after_seq=2**40, limit=2)] == []

    async def test_known_chunk_changes_nothing(self, store: JobStore, epoch: int) -> None:
        await store.submit(new_job("a"))
        lease = (await claim(store, epoch)).lease
        await store.record(lease, chunk(0, " First."))
        before = await kinds(store, "a")
        await store.record(lease, chunk(0, " Second."))

        assert [c.text for c in await store.chunks("a")] == [" First."]
        assert await kinds(store, "a") == before

    async def test_steps_that_are_recorded_together_say_what_they_say_one_by_one(
        self, store: JobStore, epoch: int
    ) -> None:
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

    async def test_of_steps_that_are_recorded_together_none_is_kept_without_the_lease(
        self, store: JobStore, epoch: int
    ) -> None:
        await store.submit(new_job("a"))
        lease = (await claim(store, epoch)).lease

        with pytest.raises(LeaseLost):
            await store.record(replace(lease, token="forged"), chunk(0), chunk(1), END)

        assert await store.chunks("a") == ()
        assert (await store.get("a")).status is Status.RUNNING

    async def test_progress_never_goes_back_and_is_never_whole_before_the_end(
        self, store: JobStore, epoch: int
    ) -> None:
        await store.submit(new_job("a"))
        lease = (await claim(store, epoch)).lease
        seen = []
        for step in (chunk(3), chunk(2, channel=1), chunk(90), replace(chunk(4), declared_s=None)):
            await store.record(lease, step)
            seen.append((await store.get("a")).progress)

        assert seen == [66, 66, 99, 99]

    async def test_next_attempt_knows_what_the_last_one_did(self, store: JobStore, epoch: int) -> None:
        await store.submit(new_job("a", source=RemoteMedia("https://example.org/a.mp3")))
        lease = (await claim(store, epoch)).lease
        await store.record(lease, MediaFetched(StoredMedia("fetched"), 11))
        await store.record(lease, chunk(0))
        await store.release(lease, error=BROKEN)
        second = await claim(store, epoch)

        assert (second.attempt, second.known, second.source) == (2, (chunk(0),), StoredMedia("fetched"))
        assert (await store.get("a")).size_bytes == 11

    async def test_finished_attempt_ends_the_job(self, store: JobStore, epoch: int, clock: FakeClock) -> None:
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

    async def test_failed_job_says_why(self, store: JobStore, epoch: int) -> None:
        await store.submit(new_job("a"))
        await store.fail((await claim(store, epoch)).lease, BROKEN)
        job = await store.get("a")

        assert (job.status, job.error) == (Status.FAILED, BROKEN)
        assert (await store.events("a", after_seq=1, limit=1))[0].data == {
            "code": BROKEN.code,
            "message": BROKEN.message,
        }


class TestCancel:
    async def test_queued_job_is_not_claimed_any_more(self, store: JobStore, epoch: int) -> None:
        await store.submit(new_job("a"))
        cancelled = await store.cancel("a")

        assert cancelled.status is Status.CANCELLED
        assert cancelled == await store.get("a")
        assert await store.claim(epoch, lease_s=LEASE_S) is None

    async def test_running_job_keeps_what_was_done(self, store: JobStore, epoch: int) -> None:
        await store.submit(new_job("a"))
        lease = (await claim(store, epoch)).lease
        await store.record(lease, chunk(0))
        await store.cancel("a")

        with pytest.raises(LeaseLost):
            await store.record(lease, chunk(1))
        assert await store.chunks("a") == (chunk(0),)
        assert (await kinds(store, "a"))[-1] == "cancelled"

    async def test_job_that_ended_stays_as_it_is(self, store: JobStore, epoch: int) -> None:
        await store.submit(new_job("a", webhook_url=HOOK))
        await store.record((await claim(store, epoch)).lease, END)
        before = await store.get("a")

        assert await store.cancel("a") == before
        assert await kinds(store, "a") == ["queued", "done"]
        assert len(await store.deliveries("a")) == 1

    async def test_cancel_and_finish_at_once_end_the_job_once(self, store: JobStore, epoch: int) -> None:
        await store.submit(new_job("a", webhook_url=HOOK))
        lease = (await claim(store, epoch)).lease
        await asyncio.gather(store.cancel("a"), store.record(lease, END), return_exceptions=True)

        assert len(await kinds(store, "a")) == 2
        assert len(await store.deliveries("a")) == 1

    async def test_purged_job_leaves_nothing(self, store: JobStore, epoch: int) -> None:
        await store.submit(new_job("a", webhook_url=HOOK))
        lease = (await claim(store, epoch)).lease
        await store.record(lease, chunk(0))

        assert await store.purge("a") == MEDIA
        with pytest.raises(JobNotFound):
            await store.get("a")
        with pytest.raises(LeaseLost):
            await store.record(lease, chunk(1))
        assert (await store.chunks("a"), list(await store.events("a", after_seq=0, limit=9))) == ((), [])

    async def test_audio_that_another_job_needs_is_not_given_for_deletion(self, store: JobStore) -> None:
        await store.submit(new_job("a"))
        await store.submit(new_job("b"))

        assert await store.purge("a") is None
        assert await store.holds(MEDIA)
        assert await store.purge("b") == MEDIA
        assert not await store.holds(MEDIA)


class TestTakeOver:
    async def test_older_instance_is_superseded(self, opened: Opened) -> None:
        other = await opened.again()
        old = await opened.store.take_over()
        new = await other.take_over()
        await opened.store.submit(new_job("a"))

        assert new > old
        with pytest.raises(Superseded):
            await opened.store.claim(old, lease_s=LEASE_S)
        with pytest.raises(Superseded):
            await opened.store.due_deliveries(old, limit=1)
        assert await other.claim(new, lease_s=LEASE_S)

    async def test_what_ran_is_queued_again_and_its_lease_lost(self, opened: Opened) -> None:
        other = await opened.again()
        await opened.store.submit(new_job("a"))
        lease = (await claim(opened.store, await opened.store.take_over())).lease
        await opened.store.record(lease, chunk(0))
        claimed = await claim(other, await other.take_over())

        assert (claimed.attempt, claimed.known) == (2, (chunk(0),))
        with pytest.raises(LeaseLost):
            await opened.store.record(lease, chunk(1))

    async def test_two_instances_that_claim_at_once_never_share_a_job(self, opened: Opened) -> None:
        other = await opened.again()
        for n in range(12):
            await opened.store.submit(new_job(f"job {n}"))
        epoch = await opened.store.take_over()
        claims = await asyncio.gather(
            *(store.claim(epoch, lease_s=LEASE_S) for store in (opened.store, other) for _ in range(6))
        )

        assert len({c.lease.job_id for c in claims if c}) == sum(c is not None for c in claims)

    async def test_clock_that_jumped_back_makes_nothing_wait(
        self, store: JobStore, epoch: int, clock: FakeClock
    ) -> None:
        for job_id in ("running", "waiting"):
            await store.submit(new_job(job_id, webhook_url=HOOK))
        await store.submit(new_job("ended", webhook_url=HOOK))
        await store.cancel("ended")
        await claim(store, epoch)
        lease = (await claim(store, epoch)).lease
        await store.release(lease, not_before=clock.utc() + timedelta(seconds=30))
        clock.advance(-86_400)
        epoch = await store.take_over()

        assert len(await claimed_ids(store, epoch)) == 2
        assert [d.job_id for d in await store.due_deliveries(epoch, limit=9)] == ["ended"]


class TestRetention:
    async def test_audio_is_spent_some_time_after_the_end(self, store: JobStore, clock: FakeClock) -> None:
        await store.submit(new_job("a"))
        await store.cancel("a")
        clock.advance(10)

        assert list(await store.spent_media(kept=timedelta(seconds=11), limit=9)) == []
        assert list(await store.spent_media(kept=timedelta(seconds=10), limit=9)) == [("a", MEDIA)]
        await store.forget_media("a")
        assert list(await store.spent_media(kept=AT_ONCE, limit=9)) == []
        assert not await store.holds(MEDIA)

    async def test_audio_that_another_job_still_needs_is_not_spent(self, store: JobStore, clock: FakeClock) -> None:
        await store.submit(new_job("a"))
        await store.submit(new_job("b"))
        await store.cancel("a")

        assert list(await store.spent_media(kept=AT_ONCE, limit=9)) == []
        clock.advance(1)
        await store.cancel("b")
        assert list(await store.spent_media(kept=timedelta(seconds=1), limit=9)) == []
        assert [job_id for job_id, _ in await store.spent_media(kept=AT_ONCE, limit=9)] == ["a", "b"]

    async def test_remote_audio_that_was_never_fetched_is_not_spent(self, store: JobStore) -> None:
        await store.submit(new_job("a", source=RemoteMedia("https://example.org/a.mp3")))
        await store.cancel("a")

        assert list(await store.spent_media(kept=AT_ONCE, limit=9)) == []

    async def test_forgotten_text_is_gone_from_chunks_and_events(self, store: JobStore, epoch: int) -> None:
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

    async def test_ended_jobs_are_found_when_their_time_has_come(self, store: JobStore, clock: FakeClock) -> None:
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


class TestDeliveries:
    async def test_end_makes_a_delivery_that_is_due_at_once(
        self, store: JobStore, epoch: int, clock: FakeClock
    ) -> None:
        await store.submit(new_job("a", webhook_url=HOOK))
        assert list(await store.due_deliveries(epoch, limit=9)) == []
        await store.record((await claim(store, epoch)).lease, END)
        (delivery,) = await store.due_deliveries(epoch, limit=9)

        assert (delivery.job_id, delivery.url, delivery.kind) == ("a", HOOK, "job.done")
        assert (delivery.status, delivery.attempts) == (DeliveryStatus.PENDING, 0)
        assert (delivery.created_at, delivery.next_attempt_at) == (clock.utc(), clock.utc())
        assert list(await store.deliveries("a", ALICE)) == [delivery]

    async def test_job_without_an_address_makes_none(self, store: JobStore) -> None:
        await store.submit(new_job("a"))
        await store.cancel("a")

        assert list(await store.deliveries("a")) == []

    async def test_outcome_of_an_attempt_is_kept(self, store: JobStore, epoch: int, clock: FakeClock) -> None:
        await store.submit(new_job("a", webhook_url=HOOK))
        await store.cancel("a")
        (delivery,) = await store.due_deliveries(epoch, limit=9)
        later = replace(delivery, attempts=1, next_attempt_at=clock.utc() + timedelta(seconds=1), response_status=500)
        await store.update_delivery(delivery, later)

        assert list(await store.due_deliveries(epoch, limit=9)) == []
        clock.advance(1)
        assert list(await store.due_deliveries(epoch, limit=9)) == [later]

    async def test_resent_delivery_begins_anew_under_the_same_id(
        self, store: JobStore, epoch: int, clock: FakeClock
    ) -> None:
        await store.submit(new_job("a", webhook_url=HOOK))
        await store.cancel("a")
        (delivery,) = await store.due_deliveries(epoch, limit=9)
        exhausted = replace(delivery, status=DeliveryStatus.EXHAUSTED, attempts=1, next_attempt_at=None, error="no")
        await store.update_delivery(delivery, exhausted)
        assert list(await store.due_deliveries(epoch, limit=9)) == []
        clock.advance(60)
        resent = await store.resend("a", delivery.delivery_id, ALICE)

        assert resent == replace(delivery, next_attempt_at=clock.utc())
        assert list(await store.due_deliveries(epoch, limit=9)) == [resent]

    @pytest.mark.parametrize("attempts", [0, 1])
    async def test_delivery_that_is_resent_during_an_attempt_is_still_to_be_made(
        self, store: JobStore, epoch: int, clock: FakeClock, attempts: int
    ) -> None:
        await store.submit(new_job("a", webhook_url=HOOK))
        await store.cancel("a")
        (delivery,) = await store.due_deliveries(epoch, limit=9)
        tried = replace(delivery, attempts=attempts)
        await store.update_delivery(delivery, tried)
        clock.advance(1)
        resent = await store.resend("a", delivery.delivery_id)
        over = replace(tried, status=DeliveryStatus.EXHAUSTED, attempts=attempts + 1, next_attempt_at=None)
        await store.update_delivery(tried, over)

        assert list(await store.due_deliveries(epoch, limit=9)) == [resent]

    async def test_unknown_delivery_cannot_be_resent(self, store: JobStore) -> None:
        await store.submit(new_job("a"))

        with pytest.raises(DeliveryNotFound):
            await store.resend("a", "unknown")

    async def test_outcome_for_a_purged_job_is_no_error(self, store: JobStore, epoch: int) -> None:
        await store.submit(new_job("a", webhook_url=HOOK))
        await store.cancel("a")
        (delivery,) = await store.due_deliveries(epoch, limit=9)
        await store.purge("a")
        await store.update_delivery(delivery, delivery)

        assert list(await store.due_deliveries(epoch, limit=9)) == []


class TestCancelledCalls:
    @pytest.mark.parametrize("verb", ["submit", "claim", "cancel", "page", "events"])
    async def test_call_that_is_cancelled_at_any_statement_keeps_nobody_waiting(
        self, store: JobStore, epoch: int, verb: str
    ) -> None:
        for n in itertools.count():
            job_id = f"{verb} {n}"
            await store.submit(new_job(job_id))
            calls: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
                "submit": partial(store.submit, new_job(f"another {n}")),
                "claim": partial(store.claim, epoch, lease_s=LEASE_S),
                "cancel": partial(store.cancel, job_id),
                "page": partial(store.page, JobQuery()),
                "events": partial(store.events, job_id, after_seq=0, limit=9),
            }
            if not await cancelled_at(store, n, calls[verb]()):
                return
            async with asyncio.timeout(2):
                await store.cancel(job_id)
