"""What a verb of the store is made of. `tx` is the transaction that the caller has begun."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Update, case, delete, exists, func, select, true, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.errors import IdempotencyMismatch
from serve_app.jobs import machine, outbox
from serve_app.jobs.job import (
    Announcement,
    Delivery,
    DeliveryStatus,
    Job,
    Lease,
    NewJob,
    News,
    Owner,
    Priority,
    Status,
    Step,
    Submitted,
)
from serve_app.jobs.machine import Change, Record
from serve_app.jobs.sql import rows
from serve_app.jobs.sql.schema import addresses, announced, chunks, deliveries, events, jobs, turns
from serve_app.transcript.protocols import StoredMedia
from serve_app.transcript.types import ChunkTranscribed

logger = logging.getLogger(__name__)

QUEUED = jobs.c.status == Status.QUEUED
RUNNING = jobs.c.status == Status.RUNNING
PLACE = (jobs.c.rank, jobs.c.turn, jobs.c.number)


def next_due(now: datetime, only: Priority | None = None) -> Select[Any]:
    """The queued job whose turn it is."""
    due = QUEUED & (jobs.c.not_before.is_(None) | (jobs.c.not_before <= now))
    if only is not None:
        due &= jobs.c.rank == only.rank
    return select(jobs).where(due).order_by(*PLACE).limit(1)


def requeue_running() -> Update:
    """Queue again all that runs, as `machine.requeued` does with one."""
    uncounted = case((jobs.c.begun, 0), else_=1)
    return (
        update(jobs)
        .where(RUNNING)
        .values(
            status=Status.QUEUED,
            lease_token=None,
            lease_expires_at=None,
            begun=False,
            attempts=jobs.c.attempts - uncounted,
            failures=jobs.c.failures - uncounted,
        )
    )


def owned_by(owner: Owner) -> ColumnElement[bool]:
    return true() if owner is None else jobs.c.owner == owner


async def submit(tx: AsyncConnection, new: NewJob, now: datetime) -> Submitted | IdempotencyMismatch:
    if known := await submitted_before(tx, new):
        try:
            machine.check_repeated(new, known)
        except IdempotencyMismatch as error:
            return error  # not raised, because that would undo what the others of its group wrote
        return Submitted(await placed(tx, known), created=False)
    change = machine.submitted(new, number=0, turn=await next_turn(tx, new), now=now)
    number = await tx.scalar(jobs.insert().values(rows.job_row(change.record)).returning(jobs.c.number))
    assert number is not None
    await tx.execute(events.insert(), [rows.event_row(event) for event in change.events])
    if new.tells_of_models and new.webhook_url:
        await remember_address(tx, new.owner, new.webhook_url, now)
    return Submitted(await placed(tx, replace(change.record, number=number)), created=True)


async def remember_address(tx: AsyncConnection, owner: str, url: str, now: datetime) -> None:
    key = rows.address_key(owner, url)
    own = addresses.c.owner == owner
    if await tx.scalar(select(exists().where(own, addresses.c.digest == key["digest"]))):
        return
    await tx.execute(addresses.insert().values(**key, url=url, given_at=now))
    newest_first = select(addresses.c.digest).where(own).order_by(addresses.c.given_at.desc(), addresses.c.digest)
    await tx.execute(delete(addresses).where(own, addresses.c.digest.in_(newest_first.offset(outbox.MOST_ADDRESSES))))


async def announce(tx: AsyncConnection, announcement: Announcement, now: datetime) -> bool:
    of_model = announced.c.model_id == announcement.model_id
    last = await tx.scalar(select(announced.c.news).where(of_model))
    if not outbox.is_news(announcement, News(last) if last else None):
        return False
    if last is None:
        await tx.execute(announced.insert().values(model_id=announcement.model_id, news=announcement.news))
    else:
        await tx.execute(update(announced).where(of_model).values(news=announcement.news))
    urls = await tx.scalars(select(addresses.c.url).distinct())
    if made := [rows.delivery_row(outbox.announced(announcement, url, now)) for url in urls]:
        await tx.execute(deliveries.insert(), made)
    return True


async def load(tx: AsyncConnection, job_id: str, *, lock: bool = False) -> Record | None:
    wanted = select(jobs).where(jobs.c.job_id == job_id)
    row = (await tx.execute(wanted.with_for_update() if lock else wanted)).one_or_none()
    return rows.record_of(row) if row else None


async def leased(tx: AsyncConnection, lease: Lease, now: datetime) -> Record:
    return machine.check_lease(await load(tx, lease.job_id, lock=True), lease, now)


async def submitted_before(tx: AsyncConnection, new: NewJob) -> Record | None:
    """The job that was submitted before under this id or this key."""
    wanted = select(jobs).where(jobs.c.job_id == new.job_id)
    row = (await tx.execute(wanted)).one_or_none()
    if row is None and new.idempotency:
        same_key = (jobs.c.owner == new.owner) & (jobs.c.idempotency_key == new.idempotency.key)
        row = (await tx.execute(select(jobs).where(same_key))).one_or_none()
    return rows.record_of(row) if row else None


async def next_turn(tx: AsyncConnection, new: NewJob) -> int:
    of_rank, rank = turns.c.rank == new.priority.rank, jobs.c.rank == new.priority.rank
    served = select(func.max(turns.c.served)).where(of_rank)
    own_served = select(turns.c.served).where(of_rank, turns.c.owner == new.owner)
    own_queued = select(func.max(jobs.c.turn)).where(jobs.c.owner == new.owner, QUEUED, rank)
    row = (await tx.execute(select(*(query.scalar_subquery() for query in (served, own_served, own_queued))))).one()
    return machine.next_turn(served=row[0] or 0, owners_last=max(row[1] or 0, row[2] or 0))


async def serve_turn(tx: AsyncConnection, record: Record) -> None:
    """Note that the owner's turn came; only one process may at a time, because it holds the epoch's row."""
    rank, owner = record.job.priority.rank, record.job.owner
    own = (turns.c.rank == rank) & (turns.c.owner == owner)
    served = await tx.scalar(select(turns.c.served).where(own))
    if served is None:
        await tx.execute(turns.insert().values(rank=rank, owner=owner, served=record.turn))
    elif served < record.turn:
        await tx.execute(update(turns).where(own).values(served=record.turn))


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


async def checkpoints_of_readable(tx: AsyncConnection, record: Record) -> tuple[ChunkTranscribed, ...] | None:
    """The checkpoints of a job that is not at its end; None when these, or the job, cannot be read."""
    if record.job.status.ended or record.source is None:
        return None
    try:
        return await checkpoints(tx, record.job.job_id)
    except ValueError:
        return None


async def set_aside(tx: AsyncConnection, record: Record, now: datetime) -> None:
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


async def known_chunks(tx: AsyncConnection, job_id: str, steps: Sequence[Step]) -> set[tuple[int, int]]:
    """Channel and index of those among the steps that are chunks, and were recorded before."""
    indices = [step.index for step in steps if isinstance(step, ChunkTranscribed)]
    if not indices:
        return set()
    same = select(chunks.c.channel, chunks.c.chunk_index).where(
        chunks.c.job_id == job_id, chunks.c.chunk_index.in_(indices)
    )
    return {(row.channel, row.chunk_index) for row in await tx.execute(same)}


async def is_held(tx: AsyncConnection, media: StoredMedia) -> bool:
    return bool(await tx.scalar(select(exists().where(jobs.c.media_path == media.path))))


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


def awaits(tried: Delivery) -> ColumnElement[bool]:
    """See `outbox.awaits`."""
    return (
        (deliveries.c.status == DeliveryStatus.PENDING)
        & (deliveries.c.attempts == tried.attempts)
        & (deliveries.c.next_attempt_at == tried.next_attempt_at)
    )


async def keep_delivery(tx: AsyncConnection, delivery: Delivery, only: ColumnElement[bool] | None = None) -> None:
    same = (deliveries.c.delivery_id == delivery.delivery_id) & (true() if only is None else only)
    await tx.execute(update(deliveries).where(same).values(rows.delivery_row(delivery)))
