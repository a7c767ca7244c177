"""What clients and runners ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.errors import DeliveryNotFound
from serve_app.jobs import cursors, machine, outbox
from serve_app.jobs.job import (
    Delivery,
    Event,
    Job,
    JobPage,
    JobQuery,
    Lease,
    NewJob,
    Owner,
    QueueStats,
    Status,
    Step,
    Submitted,
)
from serve_app.jobs.machine import Change
from serve_app.jobs.protocols import Clock
from serve_app.jobs.sql import rows
from serve_app.jobs.sql.database import Database
from serve_app.jobs.sql.deliveries import keep_delivery
from serve_app.jobs.sql.job import SqlJobs
from serve_app.jobs.sql.schema import chunks, deliveries, events, jobs
from serve_app.jobs.sql.statements import QUEUED, RUNNING, keep, leased, load, placed
from serve_app.jobs.sql.submitting import Submits
from serve_app.jobs.sql.uncut import uncut
from serve_app.jobs.store.lookout import LookoutStore
from serve_app.jobs.store.service import ServiceStore
from serve_app.transcript.types import ChunkTranscribed

LARGEST_SEQ = 2**31 - 1  # of PostgreSQL's INTEGER
MOST_PARAMETERS = 10_000  # of a statement; both databases take 32,766


class SqlService(SqlJobs, ServiceStore, LookoutStore):
    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database, clock)
        self._submits = Submits(database, clock)

    async def submit(self, new: NewJob) -> Submitted:
        return await self._submits(new)

    @uncut
    async def was_submitted(self, key: str, owner: str) -> bool:
        same_key = (jobs.c.owner == owner) & (jobs.c.idempotency_key == key)
        async with self._database.reading() as tx:
            return bool(await tx.scalar(select(exists().where(same_key))))

    @uncut
    async def page(self, query: JobQuery, owner: Owner = None) -> JobPage:
        before = cursors.number_before(query.cursor)
        wanted = select(jobs).order_by(jobs.c.number.desc()).limit(query.limit + 1)
        if owner is not None:
            wanted = wanted.where(jobs.c.owner == owner)
        if before is not None:
            wanted = wanted.where(jobs.c.number < before)
        if query.status is not None:
            wanted = wanted.where(jobs.c.status == query.status)
        async with self._database.reading() as tx:
            found = [rows.record_of(row) for row in await tx.execute(wanted)]
            shown = found[: query.limit]
            more = len(found) > len(shown) > 0
            listed = [await placed(tx, record) for record in shown]
        return JobPage(tuple(listed), cursors.cursor_after(shown[-1]) if more else None)

    @uncut
    async def events(self, job_id: str, *, after_seq: int, limit: int) -> Sequence[Event]:
        wanted = select(events).where(events.c.job_id == job_id, events.c.seq > min(after_seq, LARGEST_SEQ))
        async with self._database.reading() as tx:
            return [rows.event_of(row) for row in await tx.execute(wanted.order_by(events.c.seq).limit(limit))]

    @uncut
    async def last_seqs(self, job_ids: Sequence[str]) -> Mapping[str, int]:
        last: dict[str, int] = {}
        async with self._database.reading() as tx:
            for start in range(0, len(job_ids), MOST_PARAMETERS):
                some = jobs.c.job_id.in_(job_ids[start : start + MOST_PARAMETERS])
                last.update(
                    (row.job_id, row.events)
                    for row in await tx.execute(select(jobs.c.job_id, jobs.c.events).where(some))
                )
        return last

    @uncut
    async def cancel(self, job_id: str, owner: Owner = None) -> Job:
        async with self._database.writing() as tx:
            record = machine.check_visible(await load(tx, job_id, lock=True), job_id, owner)
            if record.job.status.ended:
                return record.job
            change = machine.ended(record, Status.CANCELLED, now=self._clock())
            await keep(tx, change)
        return change.record.job

    @uncut
    async def resend(self, job_id: str, delivery_id: str, owner: Owner = None) -> Delivery:
        wanted = select(deliveries).where(deliveries.c.job_id == job_id, deliveries.c.delivery_id == delivery_id)
        async with self._database.writing() as tx:
            machine.check_visible(await load(tx, job_id), job_id, owner)
            row = (await tx.execute(wanted)).one_or_none()
            if row is None:
                raise DeliveryNotFound(f"Job {job_id} has no delivery {delivery_id}.", param="delivery_id")
            delivery = outbox.resent(rows.delivery_of(row), self._clock())
            await keep_delivery(tx, delivery)
        return delivery

    @uncut
    async def stats(self) -> QueueStats:
        counts = select(func.count(), func.min(jobs.c.created_at))
        async with self._database.reading() as tx:
            queued, oldest = (await tx.execute(counts.where(QUEUED))).one()
            running, _ = (await tx.execute(counts.where(RUNNING))).one()
        return QueueStats(queued, running, oldest)

    @uncut
    async def extend(self, lease: Lease, *, lease_s: float) -> None:
        now = self._clock()
        async with self._database.writing() as tx:
            record = machine.extended(await leased(tx, lease, now), lease, lease_s=lease_s, now=now)
            await keep(tx, Change(record))

    @uncut
    async def record(self, lease: Lease, *steps: Step) -> None:
        now = self._clock()
        async with self._database.writing() as tx:
            record = await leased(tx, lease, now)
            known = await _known_chunks(tx, lease.job_id, steps)
            changes: list[Change] = []
            for step in steps:
                if not (isinstance(step, ChunkTranscribed) and (step.channel, step.index) in known):
                    changes.append(machine.recorded(changes[-1].record if changes else record, step, now=now))
            await keep(tx, *changes)


async def _known_chunks(tx: AsyncConnection, job_id: str, steps: Sequence[Step]) -> set[tuple[int, int]]:
    """Channel and index of those among the steps that are chunks, and were recorded before."""
    indices = [step.index for step in steps if isinstance(step, ChunkTranscribed)]
    if not indices:
        return set()
    same = select(chunks.c.channel, chunks.c.chunk_index).where(
        chunks.c.job_id == job_id, chunks.c.chunk_index.in_(indices)
    )
    return {(row.channel, row.chunk_index) for row in await tx.execute(same)}
