"""What every job store promises to those who give out work: in memory, in SQLite, in PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from serve_app.errors import LeaseLost, Superseded
from serve_app.jobs.job import JobQuery, MediaFetched, Priority, RemoteMedia, Status, WaitingFor
from serve_app.jobs.store import JobStore
from serve_app.testing import FakeClock
from tests.service.jobs.stores import ALICE, BOB, BROKEN, END, HOOK, LEASE_S, Opened, claim, claimed_ids, kinds, new_job
from tests.unit.jobs.examples import MEDIA, chunk


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
