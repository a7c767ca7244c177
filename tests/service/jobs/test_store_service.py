"""What every job store promises to clients."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from serve_app.errors import IdempotencyMismatch, InvalidRequest, JobNotFound, LeaseLost
from serve_app.jobs.job import Idempotency, JobQuery, Priority, Status
from serve_app.jobs.store import JobStore
from serve_app.testing import FakeClock
from tests.service.jobs.stores import ALICE, BOB, END, HOOK, LEASE_S, claim, claimed_ids, kinds, new_job
from tests.unit.jobs.examples import MEDIA, chunk


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

    async def test_last_events_of_jobs_are_told_together(
        self, store: JobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("serve_app.jobs.sql.service.MOST_PARAMETERS", 2)
        for job_id in "abcd":
            await store.submit(new_job(job_id))
        await store.cancel("b")

        last = await store.last_seqs(["a", "b", "c", "unknown"])

        assert last == {job_id: (await store.events(job_id, after_seq=0, limit=9))[-1].seq for job_id in "abc"}
        assert last["b"] > last["a"]
        assert await store.last_seqs([]) == {}

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
