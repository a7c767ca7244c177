"""How jobs are accepted, several in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.errors import IdempotencyMismatch, RayscribeError
from serve_app.jobs import machine
from serve_app.jobs.job import NewJob, Submitted
from serve_app.jobs.machine import Record
from serve_app.jobs.protocols import Clock
from serve_app.jobs.sql import rows
from serve_app.jobs.sql.database import Database
from serve_app.jobs.sql.deliveries import remember_address
from serve_app.jobs.sql.grouping import Grouped
from serve_app.jobs.sql.schema import events, jobs, turns
from serve_app.jobs.sql.statements import QUEUED, placed


class Submits:
    """Accepts jobs, those together that come together."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._grouped = Grouped(self._all)

    async def __call__(self, new: NewJob) -> Submitted:
        """Raises as `ServiceStore.submit`."""
        return await self._grouped(new)

    async def _all(self, group: Sequence[NewJob]) -> list[Submitted | Exception]:
        try:
            return await self._together(group)
        except DBAPIError:
            # Another process submitted the same in between, or one of them cannot be written: the others shall not suffer.
            return [await self._alone(new) for new in group]

    async def _together(self, group: Sequence[NewJob]) -> list[Submitted | Exception]:
        async with self._database.writing() as tx:
            return [await _submit(tx, new, self._clock()) for new in group]

    async def _alone(self, new: NewJob) -> Submitted | Exception:
        try:
            return (await self._together([new]))[0]
        except (RayscribeError, DBAPIError) as error:
            return error


async def _submit(tx: AsyncConnection, new: NewJob, now: datetime) -> Submitted | IdempotencyMismatch:
    if known := await _submitted_before(tx, new):
        try:
            machine.check_repeated(new, known)
        except IdempotencyMismatch as error:
            return error  # not raised, because that would undo what the others of its group wrote
        return Submitted(await placed(tx, known), created=False)
    change = machine.submitted(new, number=0, turn=await _next_turn(tx, new), now=now)
    number = await tx.scalar(jobs.insert().values(rows.job_row(change.record)).returning(jobs.c.number))
    assert number is not None
    await tx.execute(events.insert(), [rows.event_row(event) for event in change.events])
    if new.tells_of_models and new.webhook_url:
        await remember_address(tx, new.owner, new.webhook_url, now)
    return Submitted(await placed(tx, replace(change.record, number=number)), created=True)


async def _submitted_before(tx: AsyncConnection, new: NewJob) -> Record | None:
    """The job that was submitted before under this id or this key."""
    wanted = select(jobs).where(jobs.c.job_id == new.job_id)
    row = (await tx.execute(wanted)).one_or_none()
    if row is None and new.idempotency:
        same_key = (jobs.c.owner == new.owner) & (jobs.c.idempotency_key == new.idempotency.key)
        row = (await tx.execute(select(jobs).where(same_key))).one_or_none()
    return rows.record_of(row) if row else None


async def _next_turn(tx: AsyncConnection, new: NewJob) -> int:
    of_rank, rank = turns.c.rank == new.priority.rank, jobs.c.rank == new.priority.rank
    served = select(func.max(turns.c.served)).where(of_rank)
    own_served = select(turns.c.served).where(of_rank, turns.c.owner == new.owner)
    own_queued = select(func.max(jobs.c.turn)).where(jobs.c.owner == new.owner, QUEUED, rank)
    row = (await tx.execute(select(*(query.scalar_subquery() for query in (served, own_served, own_queued))))).one()
    return machine.next_turn(served=row[0] or 0, owners_last=max(row[1] or 0, row[2] or 0))
