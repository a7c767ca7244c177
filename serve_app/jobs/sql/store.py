"""The job store in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import delete, exists, func, literal, select, update
from sqlalchemy.exc import DBAPIError

from serve_app.errors import DeliveryNotFound, RayscribeError, StoreUnavailable
from serve_app.jobs import cursors, leadership, machine, outbox
from serve_app.jobs.job import (
    Announcement,
    Claim,
    Delivery,
    DeliveryStatus,
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
from serve_app.jobs.machine import Change
from serve_app.jobs.protocols import Clock
from serve_app.jobs.sql import leading, rows, statements
from serve_app.jobs.sql.database import Database
from serve_app.jobs.sql.grouping import Grouped
from serve_app.jobs.sql.schema import Instant, addresses, announced, chunks, deliveries, events, jobs
from serve_app.jobs.sql.uncut import uncut
from serve_app.jobs.store import JobStore
from serve_app.transcript.protocols import StoredMedia
from serve_app.transcript.types import ChunkTranscribed

EMPTY_LOG_MS = 200  # writers wait for so long when somebody reads for long

LARGEST_SEQ = 2**31 - 1  # of PostgreSQL's INTEGER


class SqlJobStore(JobStore):
    """
    Every verb is one transaction, which goes on to its end when the call is cancelled.

    Those that change a job lock its row first, and then ask `machine` what to do.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._submits = Grouped(self._submit_all)

    @uncut
    async def take_over(self, cluster: str = "", *, after: int | None = None) -> int:
        now = self._clock()
        async with self._database.writing() as tx:
            known = leadership.taken_over(await leading.lock_leadership(tx, after), cluster)
            await leading.keep_leadership(tx, known)
            await tx.execute(statements.requeue_running())
            # The clock of another process may be wrong: nothing waits for an instant that it gave.
            await tx.execute(
                update(jobs).where(statements.QUEUED, jobs.c.not_before.is_not(None)).values(not_before=None)
            )
            await tx.execute(
                update(deliveries)
                .where(deliveries.c.status == DeliveryStatus.PENDING, deliveries.c.next_attempt_at > now)
                .values(next_attempt_at=now)
            )
        return known.epoch

    @uncut
    async def ask(self, cluster: str, *, ready: bool) -> Leadership:
        async with self._database.writing() as tx:
            known = leadership.asked(await leading.lock_leadership(tx), cluster, ready=ready)
            return await leading.keep_leadership(tx, known)

    @uncut
    async def answer(self, epoch: int) -> Leadership:
        async with self._database.writing() as tx:
            known = await leading.lock_leadership(tx, epoch)
            if known.asked:  # or else a laptop's disk would never sleep
                known = await leading.keep_leadership(tx, leadership.answered(known))
            return known

    @uncut
    async def resign(self, epoch: int) -> None:
        async with self._database.writing() as tx:
            await leading.keep_leadership(tx, leadership.resigned(await leading.lock_leadership(tx, epoch)))

    async def submit(self, new: NewJob) -> Submitted:
        return await self._submits(new)

    @uncut
    async def was_submitted(self, key: str, owner: str) -> bool:
        same_key = (jobs.c.owner == owner) & (jobs.c.idempotency_key == key)
        async with self._database.reading() as tx:
            return bool(await tx.scalar(select(exists().where(same_key))))

    @uncut
    async def get(self, job_id: str, owner: Owner = None) -> Job:
        async with self._database.reading() as tx:
            record = machine.check_visible(await statements.load(tx, job_id), job_id, owner)
            return await statements.placed(tx, record)

    @uncut
    async def page(self, query: JobQuery, owner: Owner = None) -> JobPage:
        before = cursors.number_before(query.cursor)
        wanted = select(jobs).where(statements.owned_by(owner)).order_by(jobs.c.number.desc()).limit(query.limit + 1)
        if before is not None:
            wanted = wanted.where(jobs.c.number < before)
        if query.status is not None:
            wanted = wanted.where(jobs.c.status == query.status)
        async with self._database.reading() as tx:
            found = [rows.record_of(row) for row in await tx.execute(wanted)]
            shown = found[: query.limit]
            more = len(found) > len(shown) > 0
            placed = [await statements.placed(tx, record) for record in shown]
        return JobPage(tuple(placed), cursors.cursor_after(shown[-1]) if more else None)

    @uncut
    async def chunks(self, job_id: str) -> tuple[ChunkTranscribed, ...]:
        async with self._database.reading() as tx:
            return await statements.checkpoints(tx, job_id)

    @uncut
    async def claim(self, epoch: int, *, lease_s: float, only: Priority | None = None) -> Claim | None:
        now = self._clock()
        due = statements.next_due(now, only).with_for_update(skip_locked=True)
        async with self._database.writing() as tx:
            await leading.check_epoch(tx, epoch, lock=True)
            while row := (await tx.execute(due)).one_or_none():
                record = rows.record_of(row)
                known = await statements.checkpoints_of_readable(tx, record)
                if known is None:
                    await statements.set_aside(tx, record, now)
                    continue
                record = machine.claimed(record, lease_s=lease_s, now=now)
                await statements.keep(tx, Change(record))
                await statements.serve_turn(tx, record)
                return machine.claim_of(record, known)
        return None

    @uncut
    async def extend(self, lease: Lease, *, lease_s: float) -> None:
        now = self._clock()
        async with self._database.writing() as tx:
            record = machine.extended(await statements.leased(tx, lease, now), lease, lease_s=lease_s, now=now)
            await statements.keep(tx, Change(record))

    @uncut
    async def record(self, lease: Lease, *steps: Step) -> None:
        now = self._clock()
        async with self._database.writing() as tx:
            record = await statements.leased(tx, lease, now)
            known = await statements.known_chunks(tx, lease.job_id, steps)
            changes: list[Change] = []
            for step in steps:
                if not (isinstance(step, ChunkTranscribed) and (step.channel, step.index) in known):
                    changes.append(machine.recorded(changes[-1].record if changes else record, step, now=now))
            await statements.keep(tx, *changes)

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
            record = await statements.leased(tx, lease, self._clock())
            record = machine.released(
                record, not_before=not_before, waiting_for=waiting_for, error=error, excused=excused
            )
            await statements.keep(tx, Change(record))

    @uncut
    async def fail(self, lease: Lease, error: JobError, *, excused: bool = False) -> None:
        now = self._clock()
        async with self._database.writing() as tx:
            record = await statements.leased(tx, lease, now)
            await statements.keep(tx, machine.failed(record, error, excused=excused, now=now))

    @uncut
    async def cancel(self, job_id: str, owner: Owner = None) -> Job:
        async with self._database.writing() as tx:
            record = machine.check_visible(await statements.load(tx, job_id, lock=True), job_id, owner)
            if record.job.status.ended:
                return record.job
            change = machine.ended(record, Status.CANCELLED, now=self._clock())
            await statements.keep(tx, change)
        return change.record.job

    @uncut
    async def purge(self, job_id: str, owner: Owner = None) -> StoredMedia | None:
        async with self._database.writing() as tx:
            record = machine.check_visible(await statements.load(tx, job_id, lock=True), job_id, owner)
            await tx.execute(delete(jobs).where(jobs.c.job_id == job_id))
            media = record.source if isinstance(record.source, StoredMedia) else None
            if media and await statements.is_held(tx, media):
                media = None
        await self._empty_log()
        return media

    @uncut
    async def was_extended(self, lease: Lease) -> bool:
        held = (jobs.c.job_id == lease.job_id) & (jobs.c.lease_token == lease.token)
        async with self._database.reading() as tx:
            return bool(await tx.scalar(select(exists().where(held, jobs.c.begun))))

    @uncut
    async def requeue_expired(self) -> Sequence[Lease]:
        now = self._clock()
        expired = select(jobs).where(statements.RUNNING, jobs.c.lease_expires_at <= now)
        async with self._database.writing() as tx:
            found = (await tx.execute(expired.with_for_update(skip_locked=True))).all()
            for record in map(rows.record_of, found):
                if record.job.status.ended:
                    await statements.set_aside(tx, record, now)
                else:
                    await statements.keep(tx, Change(machine.requeued(record)))
        return [Lease(row.job_id, row.lease_token, row.lease_expires_at) for row in found]

    @uncut
    async def next_due_at(self) -> datetime | None:
        now = self._clock()
        async with self._database.reading() as tx:
            waits = await tx.scalar(
                select(func.min(func.coalesce(jobs.c.not_before, literal(now, Instant)))).where(statements.QUEUED)
            )
            expires = await tx.scalar(select(func.min(jobs.c.lease_expires_at)).where(statements.RUNNING))
        return min((at for at in (waits, expires) if at is not None), default=None)

    @uncut
    async def stats(self) -> QueueStats:
        counts = select(func.count(), func.min(jobs.c.created_at))
        async with self._database.reading() as tx:
            queued, oldest = (await tx.execute(counts.where(statements.QUEUED))).one()
            running, _ = (await tx.execute(counts.where(statements.RUNNING))).one()
        return QueueStats(queued, running, oldest)

    @uncut
    async def events(self, job_id: str, *, after_seq: int, limit: int) -> Sequence[Event]:
        wanted = select(events).where(events.c.job_id == job_id, events.c.seq > min(after_seq, LARGEST_SEQ))
        async with self._database.reading() as tx:
            return [rows.event_of(row) for row in await tx.execute(wanted.order_by(events.c.seq).limit(limit))]

    @uncut
    async def spent_media(self, *, kept: timedelta, limit: int) -> Sequence[tuple[str, StoredMedia]]:
        until = self._clock() - kept
        other = jobs.alias()
        needed = exists().where(
            other.c.media_path == jobs.c.media_path, (other.c.completed_at > until) | other.c.completed_at.is_(None)
        )
        spent = (
            select(jobs.c.job_id, jobs.c.media_path)
            .where(jobs.c.completed_at <= until, jobs.c.media_path.is_not(None), ~needed)
            .order_by(jobs.c.completed_at, jobs.c.job_id)
        )
        async with self._database.reading() as tx:
            return [(row.job_id, StoredMedia(row.media_path)) for row in await tx.execute(spent.limit(limit))]

    @uncut
    async def forget_media(self, job_id: str) -> None:
        async with self._database.writing() as tx:
            await tx.execute(update(jobs).where(jobs.c.job_id == job_id).values(media_path=None, source_url=None))

    @uncut
    async def forget_text(self, job_id: str) -> None:
        async with self._database.writing() as tx:
            record = await statements.load(tx, job_id, lock=True)
            if record is None:
                return
            options = record.job.options
            options = replace(options, decoding=replace(options.decoding, prompt="", hotwords=""))
            values = {"forgotten": True, "options": rows.OPTIONS.dump_json(options).decode()}
            await tx.execute(update(jobs).where(jobs.c.job_id == job_id).values(values))
            await tx.execute(delete(chunks).where(chunks.c.job_id == job_id))
            await tx.execute(delete(events).where(events.c.job_id == job_id, events.c.kind == "segment"))
        await self._empty_log()

    async def _empty_log(self) -> None:
        """On SQLite deleted text stays in the log until that is emptied; if others read just now, the next call does it."""
        if self._database.engine.dialect.name != "sqlite":
            return
        with suppress(StoreUnavailable):  # what was asked for is done
            async with self._database.reading() as tx:
                # The driver's own connection, because SQLAlchemy would begin a transaction, and within one it is refused.
                driver = (await tx.get_raw_connection()).driver_connection
                assert driver is not None
                [(patience_ms,)] = await driver.execute_fetchall("PRAGMA busy_timeout")
                await driver.execute_fetchall(f"PRAGMA busy_timeout = {EMPTY_LOG_MS}")
                try:
                    await driver.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
                finally:
                    await driver.execute_fetchall(f"PRAGMA busy_timeout = {patience_ms}")

    @uncut
    async def ended_before(self, kept: timedelta, *, limit: int, forgotten: bool = True) -> Sequence[str]:
        ended = select(jobs.c.job_id).where(jobs.c.completed_at <= self._clock() - kept)
        if not forgotten:
            ended = ended.where(~jobs.c.forgotten)
        async with self._database.reading() as tx:
            return list(await tx.scalars(ended.order_by(jobs.c.completed_at, jobs.c.job_id).limit(limit)))

    @uncut
    async def holds(self, media: StoredMedia) -> bool:
        async with self._database.reading() as tx:
            return await statements.is_held(tx, media)

    @uncut
    async def deliveries(self, job_id: str, owner: Owner = None) -> Sequence[Delivery]:
        wanted = select(deliveries).where(deliveries.c.job_id == job_id)
        async with self._database.reading() as tx:
            machine.check_visible(await statements.load(tx, job_id), job_id, owner)
            return [rows.delivery_of(row) for row in await tx.execute(wanted)]

    @uncut
    async def due_deliveries(self, epoch: int, *, limit: int) -> Sequence[Delivery]:
        due = (
            select(deliveries)
            .where(deliveries.c.status == DeliveryStatus.PENDING, deliveries.c.next_attempt_at <= self._clock())
            .order_by(deliveries.c.next_attempt_at)
            .limit(limit)
        )
        async with self._database.reading() as tx:
            await leading.check_epoch(tx, epoch)
            return [rows.delivery_of(row) for row in await tx.execute(due)]

    @uncut
    async def update_delivery(self, tried: Delivery, outcome: Delivery) -> None:
        async with self._database.writing() as tx:
            await statements.keep_delivery(tx, outcome, statements.awaits(tried))
            if outbox.wants_no_more(outcome):
                await tx.execute(delete(addresses).where(addresses.c.url == outcome.url))

    @uncut
    async def announce(self, announcement: Announcement, epoch: int) -> bool:
        async with self._database.writing() as tx:
            await leading.check_epoch(tx, epoch, lock=True)
            return await statements.announce(tx, announcement, self._clock())

    @uncut
    async def forget_announcements(self, kept: timedelta) -> None:
        old = deliveries.c.created_at <= self._clock() - kept
        async with self._database.writing() as tx:
            await tx.execute(delete(deliveries).where(deliveries.c.job_id.is_(None), old))

    @uncut
    async def forget_addresses(self) -> None:
        async with self._database.writing() as tx:
            await tx.execute(delete(deliveries).where(deliveries.c.job_id.is_(None)))
            await tx.execute(delete(addresses))
            await tx.execute(delete(announced))

    @uncut
    async def resend(self, job_id: str, delivery_id: str, owner: Owner = None) -> Delivery:
        wanted = select(deliveries).where(deliveries.c.job_id == job_id, deliveries.c.delivery_id == delivery_id)
        async with self._database.writing() as tx:
            machine.check_visible(await statements.load(tx, job_id), job_id, owner)
            row = (await tx.execute(wanted)).one_or_none()
            if row is None:
                raise DeliveryNotFound(f"Job {job_id} has no delivery {delivery_id}.", param="delivery_id")
            delivery = outbox.resent(rows.delivery_of(row), self._clock())
            await statements.keep_delivery(tx, delivery)
        return delivery

    async def close(self) -> None:
        await self._database.close()

    async def _submit_all(self, group: Sequence[NewJob]) -> list[Submitted | Exception]:
        try:
            return await self._submit_together(group)
        except DBAPIError:
            # Another process submitted the same in between, or one of them cannot be written: the others shall not suffer.
            return [await self._submit_alone(new) for new in group]

    async def _submit_together(self, group: Sequence[NewJob]) -> list[Submitted | Exception]:
        async with self._database.writing() as tx:
            return [await statements.submit(tx, new, self._clock()) for new in group]

    async def _submit_alone(self, new: NewJob) -> Submitted | Exception:
        try:
            return (await self._submit_together([new]))[0]
        except (RayscribeError, DBAPIError) as error:
            return error
