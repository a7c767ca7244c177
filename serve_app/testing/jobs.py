"""A job store in memory: its verbs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from serve_app.errors import DeliveryNotFound
from serve_app.jobs import cursors, leadership, machine, outbox
from serve_app.jobs.job import (
    Announcement,
    Claim,
    Delivery,
    Event,
    Job,
    JobError,
    JobPage,
    JobQuery,
    Lease,
    NewJob,
    Owner,
    Priority,
    QueueStats,
    Status,
    Step,
    Submitted,
    WaitingFor,
)
from serve_app.jobs.leadership import Leadership
from serve_app.jobs.store import JobStore
from serve_app.testing.kept_jobs import Kept, KeptJobs
from serve_app.transcript.protocols import StoredMedia
from serve_app.transcript.types import ChunkTranscribed


class InMemoryJobStore(KeptJobs, JobStore):
    """Keeps jobs as long as the process lives. No verb awaits anything, so each is one transaction."""

    async def take_over(self, cluster: str = "", *, after: int | None = None) -> int:
        if after is not None:
            self._check_epoch(after)
        for kept in self._jobs.values():
            if not kept.job.status.ended:
                kept.record = machine.requeued(kept.record)
        now = self._clock()
        for delivery in self._pending():
            self._keep(replace(delivery, next_attempt_at=min(now, delivery.next_attempt_at or now)))
        self._leadership = leadership.taken_over(self._leadership, cluster)
        return self._leadership.epoch

    async def ask(self, cluster: str, *, ready: bool) -> Leadership:
        self._leadership = leadership.asked(self._leadership, cluster, ready=ready)
        return self._leadership

    async def answer(self, epoch: int) -> Leadership:
        self._check_epoch(epoch)
        self._leadership = leadership.answered(self._leadership)
        return self._leadership

    async def resign(self, epoch: int, *, for_good: bool = False) -> None:
        self._check_epoch(epoch)
        self._leadership = leadership.resigned(self._leadership, for_good=for_good)

    async def submit(self, new: NewJob) -> Submitted:
        if known := self._known(new):
            machine.check_repeated(new, known.record)
            return Submitted(self._placed(known.record), created=False)
        self._submits += 1
        change = machine.submitted(new, number=self._submits, turn=self._next_turn(new), now=self._clock())
        kept = self._jobs[new.job_id] = Kept(change.record)
        kept.apply(change)
        if new.tells_of_models and new.webhook_url:
            self._remember_address(new.owner, new.webhook_url)
        return Submitted(self._placed(kept.record), created=True)

    async def was_submitted(self, key: str, owner: str) -> bool:
        keys = (kept.record.idempotency for kept in self._jobs.values() if kept.job.owner == owner)
        return any(known.key == key for known in keys if known)

    async def get(self, job_id: str, owner: Owner = None) -> Job:
        return self._placed(self._visible(job_id, owner).record)

    async def page(self, query: JobQuery, owner: Owner = None) -> JobPage:
        before = cursors.number_before(query.cursor)
        found = [
            kept.record
            for kept in reversed(self._jobs.values())
            if owner in (None, kept.job.owner)
            and query.status in (None, kept.job.status)
            and (before is None or kept.record.number < before)
        ]
        shown = found[: query.limit]
        more = len(found) > len(shown) > 0
        return JobPage(tuple(map(self._placed, shown)), cursors.cursor_after(shown[-1]) if more else None)

    async def chunks(self, job_id: str) -> tuple[ChunkTranscribed, ...]:
        kept = self._jobs.get(job_id)
        return kept.ordered_chunks() if kept else ()

    async def claim(self, epoch: int, *, lease_s: float, only: Priority | None = None) -> Claim | None:
        self._check_epoch(epoch)
        kept = self._next_due(only)
        if kept is None:
            return None
        kept.record = machine.claimed(kept.record, lease_s=lease_s, now=self._clock())
        lane = (kept.job.priority, kept.job.owner)
        self._served[lane] = max(kept.record.turn, self._served.get(lane, 0))
        return machine.claim_of(kept.record, kept.ordered_chunks())

    async def extend(self, lease: Lease, *, lease_s: float) -> None:
        kept = self._leased(lease)
        kept.record = machine.extended(kept.record, lease, lease_s=lease_s, now=self._clock())

    async def record(self, lease: Lease, *steps: Step) -> None:
        kept = self._leased(lease)
        for step in steps:
            if not (isinstance(step, ChunkTranscribed) and (step.channel, step.index) in kept.chunks):
                kept.apply(machine.recorded(kept.record, step, now=self._clock()))

    async def release(
        self,
        lease: Lease,
        *,
        not_before: datetime | None = None,
        waiting_for: WaitingFor | None = None,
        error: JobError | None = None,
        excused: bool = False,
    ) -> None:
        kept = self._leased(lease)
        kept.record = machine.released(
            kept.record, not_before=not_before, waiting_for=waiting_for, error=error, excused=excused
        )

    async def fail(self, lease: Lease, error: JobError, *, excused: bool = False) -> None:
        kept = self._leased(lease)
        kept.apply(machine.failed(kept.record, error, excused=excused, now=self._clock()))

    async def cancel(self, job_id: str, owner: Owner = None) -> Job:
        kept = self._visible(job_id, owner)
        if not kept.job.status.ended:
            kept.apply(machine.ended(kept.record, Status.CANCELLED, now=self._clock()))
        return kept.job

    async def purge(self, job_id: str, owner: Owner = None) -> StoredMedia | None:
        self._visible(job_id, owner)
        source = self._jobs.pop(job_id).record.source
        if not isinstance(source, StoredMedia) or await self.holds(source):
            return None
        return source

    async def was_extended(self, lease: Lease) -> bool:
        kept = self._jobs.get(lease.job_id)
        held = kept.record.lease if kept else None
        return bool(kept and held and held.token == lease.token and kept.record.begun)

    async def requeue_expired(self) -> Sequence[Lease]:
        now = self._clock()
        expired = [lease for kept in self._jobs.values() if (lease := kept.record.lease) and lease.expires_at <= now]
        for lease in expired:
            kept = self._jobs[lease.job_id]
            kept.record = machine.requeued(kept.record)
        return expired

    async def next_due_at(self) -> datetime | None:
        now = self._clock()
        queued = (k.record.not_before or now for k in self._jobs.values() if k.job.status is Status.QUEUED)
        leased = (k.record.lease.expires_at for k in self._jobs.values() if k.record.lease)
        return min((*queued, *leased), default=None)

    async def stats(self) -> QueueStats:
        jobs = [kept.job for kept in self._jobs.values()]
        queued = [job.created_at for job in jobs if job.status is Status.QUEUED]
        running = sum(job.status is Status.RUNNING for job in jobs)
        return QueueStats(len(queued), running, min(queued, default=None))

    async def events(self, job_id: str, *, after_seq: int, limit: int) -> Sequence[Event]:
        kept = self._jobs.get(job_id)
        return [event for event in kept.events if event.seq > after_seq][:limit] if kept else []

    async def last_seqs(self, job_ids: Sequence[str]) -> Mapping[str, int]:
        return {job_id: self._jobs[job_id].events[-1].seq for job_id in job_ids if job_id in self._jobs}

    async def spent_media(self, *, kept: timedelta, limit: int) -> Sequence[tuple[str, StoredMedia]]:
        ended = self._ended(kept)
        needed = {job.record.source for job_id, job in self._jobs.items() if job_id not in ended}
        spent = [(job_id, self._jobs[job_id].record.source) for job_id in ended]
        return [(job_id, m) for job_id, m in spent if isinstance(m, StoredMedia) and m not in needed][:limit]

    async def forget_media(self, job_id: str) -> None:
        if kept := self._jobs.get(job_id):
            kept.record = replace(kept.record, source=None)

    async def forget_text(self, job_id: str) -> None:
        if kept := self._jobs.get(job_id):
            decoding = replace(kept.job.options.decoding, prompt="", hotwords="")
            options = replace(kept.job.options, decoding=decoding)
            kept.record = replace(kept.record, job=replace(kept.job, forgotten=True, options=options))
            kept.chunks.clear()
            kept.events = [event for event in kept.events if event.kind != "segment"]

    async def ended_before(self, kept: timedelta, *, limit: int, forgotten: bool = True) -> Sequence[str]:
        return [job_id for job_id in self._ended(kept) if forgotten or not self._jobs[job_id].job.forgotten][:limit]

    async def holds(self, media: StoredMedia) -> bool:
        return any(kept.record.source == media for kept in self._jobs.values())

    async def deliveries(self, job_id: str, owner: Owner = None) -> Sequence[Delivery]:
        return list(self._visible(job_id, owner).deliveries.values())

    async def due_deliveries(self, epoch: int, *, limit: int) -> Sequence[Delivery]:
        self._check_epoch(epoch)
        now = self._clock()
        due = [delivery for delivery in self._pending() if (delivery.next_attempt_at or now) <= now]
        return sorted(due, key=lambda d: d.next_attempt_at or now)[:limit]

    async def update_delivery(self, tried: Delivery, outcome: Delivery) -> None:
        known = self._deliveries_beside(tried).get(tried.delivery_id)
        if known and outbox.awaits(known, tried):
            self._keep(outcome)
        if outbox.wants_no_more(outcome):
            self._addresses = {key: at for key, at in self._addresses.items() if key[1] != outcome.url}

    async def announce(self, announcement: Announcement, epoch: int) -> bool:
        self._check_epoch(epoch)
        if not outbox.is_news(announcement, self._announced.get(announcement.model_id)):
            return False
        self._announced[announcement.model_id] = announcement.news
        for url in {url for _, url in self._addresses}:
            self._keep(outbox.announced(announcement, url, self._clock()))
        return True

    async def forget_announcements(self, kept: timedelta) -> None:
        until = self._clock() - kept
        self._announcements = {its_id: d for its_id, d in self._announcements.items() if d.created_at > until}

    async def forget_addresses(self) -> None:
        for forgotten in (self._announcements, self._addresses, self._announced):
            forgotten.clear()

    async def resend(self, job_id: str, delivery_id: str, owner: Owner = None) -> Delivery:
        kept = self._visible(job_id, owner)
        if delivery_id not in kept.deliveries:
            raise DeliveryNotFound(f"Job {job_id} has no delivery {delivery_id}.", param="delivery_id")
        self._keep(outbox.resent(kept.deliveries[delivery_id], self._clock()))
        return kept.deliveries[delivery_id]

    async def close(self) -> None:
        """There is nothing to close."""
