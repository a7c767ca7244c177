"""The queue, and the leases of those who work on it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, exists, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.jobs import machine
from serve_app.jobs.job import Claim, JobError, Lease, Priority, WaitingFor
from serve_app.jobs.machine import Change, Record
from serve_app.jobs.sql import rows
from serve_app.jobs.sql.leading import check_epoch
from serve_app.jobs.sql.schema import Instant, chunks, jobs, turns
from serve_app.jobs.sql.statements import PLACE, QUEUED, RUNNING, checkpoints, keep, leased
from serve_app.jobs.sql.uncut import uncut
from serve_app.jobs.sql.verbs import SqlVerbs
from serve_app.jobs.store.queue import QueueStore
from serve_app.transcript.types import ChunkTranscribed

logger = logging.getLogger(__name__)


class SqlQueue(SqlVerbs, QueueStore):
    @uncut
    async def claim(self, epoch: int, *, lease_s: float, only: Priority | None = None) -> Claim | None:
        now = self._clock()
        due = next_due(now, only).with_for_update(skip_locked=True)
        async with self._database.writing() as tx:
            await check_epoch(tx, epoch, lock=True)
            while row := (await tx.execute(due)).one_or_none():
                record = rows.record_of(row)
                known = await _checkpoints_of_readable(tx, record)
                if known is None:
                    await _set_aside(tx, record, now)
                    continue
                record = machine.claimed(record, lease_s=lease_s, now=now)
                await keep(tx, Change(record))
                await _serve_turn(tx, record)
                return machine.claim_of(record, known)
        return None

    @uncut
    async def release(
        self,
        lease: Lease,
        *,
        not_before: datetime | None = None,
        waiting_for: WaitingFor | None = None,
        error: JobError | None = None,
        excused: bool = False,
    ) -> None:
        async with self._database.writing() as tx:
            record = await leased(tx, lease, self._clock())
            record = machine.released(
                record, not_before=not_before, waiting_for=waiting_for, error=error, excused=excused
            )
            await keep(tx, Change(record))

    @uncut
    async def fail(self, lease: Lease, error: JobError, *, excused: bool = False) -> None:
        now = self._clock()
        async with self._database.writing() as tx:
            record = await leased(tx, lease, now)
            await keep(tx, machine.failed(record, error, excused=excused, now=now))

    @uncut
    async def was_extended(self, lease: Lease) -> bool:
        held = (jobs.c.job_id == lease.job_id) & (jobs.c.lease_token == lease.token)
        async with self._database.reading() as tx:
            return bool(await tx.scalar(select(exists().where(held, jobs.c.begun))))

    @uncut
    async def requeue_expired(self) -> Sequence[Lease]:
        now = self._clock()
        expired = select(jobs).where(RUNNING, jobs.c.lease_expires_at <= now)
        async with self._database.writing() as tx:
            found = (await tx.execute(expired.with_for_update(skip_locked=True))).all()
            for record in map(rows.record_of, found):
                if record.job.status.ended:
                    await _set_aside(tx, record, now)
                else:
                    await keep(tx, Change(machine.requeued(record)))
        return [Lease(row.job_id, row.lease_token, row.lease_expires_at) for row in found]

    @uncut
    async def next_due_at(self) -> datetime | None:
        now = self._clock()
        async with self._database.reading() as tx:
            waits = await tx.scalar(
                select(func.min(func.coalesce(jobs.c.not_before, literal(now, Instant)))).where(QUEUED)
            )
            expires = await tx.scalar(select(func.min(jobs.c.lease_expires_at)).where(RUNNING))
        return min((at for at in (waits, expires) if at is not None), default=None)


def next_due(now: datetime, only: Priority | None = None) -> Select[Any]:
    """The queued job whose turn it is."""
    due = QUEUED & (jobs.c.not_before.is_(None) | (jobs.c.not_before <= now))
    if only is not None:
        due &= jobs.c.rank == only.rank
    return select(jobs).where(due).order_by(*PLACE).limit(1)


async def _serve_turn(tx: AsyncConnection, record: Record) -> None:
    """Note that the owner's turn came; only one process may at a time, because it holds the epoch's row."""
    rank, owner = record.job.priority.rank, record.job.owner
    own = (turns.c.rank == rank) & (turns.c.owner == owner)
    served = await tx.scalar(select(turns.c.served).where(own))
    if served is None:
        await tx.execute(turns.insert().values(rank=rank, owner=owner, served=record.turn))
    elif served < record.turn:
        await tx.execute(update(turns).where(own).values(served=record.turn))


async def _checkpoints_of_readable(tx: AsyncConnection, record: Record) -> tuple[ChunkTranscribed, ...] | None:
    """The checkpoints of a job that is not at its end; None when these, or the job, cannot be read."""
    if record.job.status.ended or record.source is None:
        return None
    try:
        return await checkpoints(tx, record.job.job_id)
    except ValueError:
        return None


async def _set_aside(tx: AsyncConnection, record: Record, now: datetime) -> None:
    """Fail a job that cannot be read, keeping what can be."""
    job_id = record.job.job_id
    change = machine.failed(record, rows.UNREADABLE, excused=False, now=now)
    await keep(tx, change)
    await tx.execute(update(jobs).where(jobs.c.job_id == job_id).values(rows.job_row(change.record)))
    for chunk in (await tx.execute(select(chunks).where(chunks.c.job_id == job_id))).all():
        if not rows.is_readable(chunk.body):
            same = (chunks.c.channel == chunk.channel) & (chunks.c.chunk_index == chunk.chunk_index)
            await tx.execute(delete(chunks).where(chunks.c.job_id == job_id, same))
    logger.error("job %s cannot be read from the store, and is failed for that", job_id)
