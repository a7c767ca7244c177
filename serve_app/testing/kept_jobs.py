"""Jobs in memory: what is kept, and how it is found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from serve_app.errors import Superseded
from serve_app.jobs import machine, outbox
from serve_app.jobs.job import (
    Delivery,
    DeliveryStatus,
    Event,
    Job,
    Lease,
    NewJob,
    News,
    Owner,
    Priority,
    Status,
)
from serve_app.jobs.leadership import Leadership
from serve_app.jobs.machine import Change, Record
from serve_app.jobs.protocols import Clock
from serve_app.transcript.types import ChunkTranscribed


@dataclass
class Kept:
    """A job with all that belongs to it."""

    record: Record
    chunks: dict[tuple[int, int], ChunkTranscribed] = field(default_factory=dict)  # by channel and index
    events: list[Event] = field(default_factory=list)
    deliveries: dict[str, Delivery] = field(default_factory=dict)

    @property
    def job(self) -> Job:
        return self.record.job

    def apply(self, change: Change) -> None:
        self.record = change.record
        self.events.extend(change.events)
        if change.chunk:
            self.chunks[change.chunk.channel, change.chunk.index] = change.chunk
        if change.delivery:
            self.deliveries[change.delivery.delivery_id] = change.delivery

    def ordered_chunks(self) -> tuple[ChunkTranscribed, ...]:
        return tuple(sorted(self.chunks.values(), key=lambda c: (c.start, c.channel, c.index)))


class KeptJobs:
    """What all verbs of the store in memory share."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._jobs: dict[str, Kept] = {}
        self._submits = 0
        self._leadership = Leadership()
        self._served: dict[tuple[Priority, str], int] = {}  # the last turn, by owner
        self._addresses: dict[tuple[str, str], datetime] = {}  # (owner, URL) → when it was first given
        self._announced: dict[str, News] = {}  # the last, by model
        self._announcements: dict[str, Delivery] = {}

    def _known(self, new: NewJob) -> Kept | None:
        if new.job_id in self._jobs:
            return self._jobs[new.job_id]
        if new.idempotency is None:
            return None
        return next((kept for kept in self._jobs.values() if _same_key(kept.record, new)), None)

    def _next_turn(self, new: NewJob) -> int:
        lane = (new.priority, new.owner)
        queued = (
            kept.record.turn
            for kept in self._jobs.values()
            if kept.job.status is Status.QUEUED and (kept.job.priority, kept.job.owner) == lane
        )
        served = max((turn for (priority, _), turn in self._served.items() if priority is new.priority), default=0)
        return machine.next_turn(served=served, owners_last=max(self._served.get(lane, 0), *queued, 0))

    def _next_due(self, only: Priority | None) -> Kept | None:
        """The first in the queue that may run now."""
        now = self._clock()
        due = [
            kept
            for kept in self._jobs.values()
            if kept.job.status is Status.QUEUED
            and only in (None, kept.job.priority)
            and (kept.record.not_before or now) <= now
        ]
        return min(due, key=lambda kept: _place(kept.record), default=None)

    def _placed(self, record: Record) -> Job:
        """The job with its place in the queue."""
        if record.job.status is not Status.QUEUED:
            return record.job
        queued = (kept.record for kept in self._jobs.values() if kept.job.status is Status.QUEUED)
        return replace(record.job, queue_position=sum(_place(other) <= _place(record) for other in queued))

    def _visible(self, job_id: str, owner: Owner) -> Kept:
        kept = self._jobs.get(job_id)
        machine.check_visible(kept.record if kept else None, job_id, owner)
        return self._jobs[job_id]

    def _leased(self, lease: Lease) -> Kept:
        kept = self._jobs.get(lease.job_id)
        machine.check_lease(kept.record if kept else None, lease, self._clock())
        return self._jobs[lease.job_id]

    def _check_epoch(self, epoch: int) -> None:
        if epoch != self._leadership.epoch:
            raise Superseded("Another Coordinator has taken over.")

    def _ended(self, kept: timedelta) -> list[str]:
        until = self._clock() - kept
        ended = ((k.job.completed_at, job_id) for job_id, k in self._jobs.items() if k.job.completed_at)
        return [job_id for completed_at, job_id in sorted(ended) if completed_at <= until]

    def _pending(self) -> Iterator[Delivery]:
        for deliveries in (self._announcements, *(kept.deliveries for kept in self._jobs.values())):
            for delivery in list(deliveries.values()):
                if delivery.status is DeliveryStatus.PENDING:
                    yield delivery

    def _keep(self, delivery: Delivery) -> None:
        self._deliveries_beside(delivery)[delivery.delivery_id] = delivery

    def _deliveries_beside(self, delivery: Delivery) -> dict[str, Delivery]:
        """Those of the same job, or of announcements."""
        if delivery.job_id is None:
            return self._announcements
        kept = self._jobs.get(delivery.job_id)
        return kept.deliveries if kept else {}

    def _remember_address(self, owner: str, url: str) -> None:
        self._addresses.setdefault((owner, url), self._clock())
        for key in [key for key in self._addresses if key[0] == owner][: -outbox.MOST_ADDRESSES]:
            del self._addresses[key]


def _place(record: Record) -> tuple[int, int, int]:
    """In the queue; lower comes first."""
    return record.job.priority.rank, record.turn, record.number


def _same_key(record: Record, new: NewJob) -> bool:
    known = record.idempotency
    return bool(known and new.idempotency and known.key == new.idempotency.key and record.job.owner == new.owner)
