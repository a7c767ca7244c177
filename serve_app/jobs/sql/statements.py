"""What several verbs of the store are made of. `tx` is the transaction that the caller has begun."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.jobs import machine
from serve_app.jobs.job import Job, Lease, Status
from serve_app.jobs.machine import Change, Record
from serve_app.jobs.sql import rows
from serve_app.jobs.sql.schema import chunks, deliveries, events, jobs
from serve_app.transcript.types import ChunkTranscribed

QUEUED = jobs.c.status == Status.QUEUED
RUNNING = jobs.c.status == Status.RUNNING
PLACE = (jobs.c.rank, jobs.c.turn, jobs.c.number)


async def load(tx: AsyncConnection, job_id: str, *, lock: bool = False) -> Record | None:
    wanted = select(jobs).where(jobs.c.job_id == job_id)
    row = (await tx.execute(wanted.with_for_update() if lock else wanted)).one_or_none()
    return rows.record_of(row) if row else None


async def leased(tx: AsyncConnection, lease: Lease, now: datetime) -> Record:
    return machine.check_lease(await load(tx, lease.job_id, lock=True), lease, now)


async def placed(tx: AsyncConnection, record: Record) -> Job:
    """The job with its place in the queue."""
    if record.job.status is not Status.QUEUED:
        return record.job
    place = (record.job.priority.rank, record.turn, record.number)
    ahead = await tx.scalar(select(func.count()).select_from(jobs).where(QUEUED, tuple_(*PLACE) <= place))
    return replace(record.job, queue_position=ahead)


async def checkpoints(tx: AsyncConnection, job_id: str) -> tuple[ChunkTranscribed, ...]:
    bodies = await tx.scalars(select(chunks.c.body).where(chunks.c.job_id == job_id))
    return tuple(sorted(map(rows.chunk_of, bodies), key=lambda chunk: (chunk.start, chunk.channel, chunk.index)))


async def keep(tx: AsyncConnection, *changes: Change) -> None:
    """What became of one job, in this order."""
    if not changes:
        return
    record = changes[-1].record
    job_id = record.job.job_id
    await tx.execute(update(jobs).where(jobs.c.job_id == job_id).values(rows.changing_columns(record)))
    made = (
        (chunks, [rows.chunk_row(job_id, change.chunk) for change in changes if change.chunk]),
        (events, [rows.event_row(event) for change in changes for event in change.events]),
        (deliveries, [rows.delivery_row(change.delivery) for change in changes if change.delivery]),
    )
    for table, new in made:
        if new:
            await tx.execute(table.insert(), new)
