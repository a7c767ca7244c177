"""Who leads, as a row. `tx` is the transaction that the caller has begun."""

from __future__ import annotations

import json
from dataclasses import asdict

from sqlalchemy import Update, case, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.errors import Superseded
from serve_app.jobs import leadership
from serve_app.jobs.job import DeliveryStatus, Status
from serve_app.jobs.leadership import Leadership
from serve_app.jobs.sql.schema import deliveries, dispatch, jobs
from serve_app.jobs.sql.statements import QUEUED, RUNNING
from serve_app.jobs.sql.uncut import uncut
from serve_app.jobs.sql.verbs import SqlVerbs
from serve_app.jobs.store.leading import LeadershipStore


class SqlLeadership(SqlVerbs, LeadershipStore):
    @uncut
    async def take_over(self, cluster: str = "", *, after: int | None = None) -> int:
        now = self._clock()
        async with self._database.writing() as tx:
            known = leadership.taken_over(await _lock_leadership(tx, after), cluster)
            await keep_leadership(tx, known)
            await tx.execute(_requeue_running())
            # The clock of another process may be wrong: nothing waits for an instant that it gave.
            await tx.execute(update(jobs).where(QUEUED, jobs.c.not_before.is_not(None)).values(not_before=None))
            await tx.execute(
                update(deliveries)
                .where(deliveries.c.status == DeliveryStatus.PENDING, deliveries.c.next_attempt_at > now)
                .values(next_attempt_at=now)
            )
        return known.epoch

    @uncut
    async def ask(self, cluster: str, *, ready: bool) -> Leadership:
        async with self._database.writing() as tx:
            known = leadership.asked(await _lock_leadership(tx), cluster, ready=ready)
            return await keep_leadership(tx, known)

    @uncut
    async def answer(self, epoch: int) -> Leadership:
        async with self._database.writing() as tx:
            known = await _lock_leadership(tx, epoch)
            if known.asked:  # or else a laptop's disk would never sleep
                known = await keep_leadership(tx, leadership.answered(known))
            return known

    @uncut
    async def resign(self, epoch: int, *, for_good: bool = False) -> None:
        async with self._database.writing() as tx:
            known = await _lock_leadership(tx, epoch)
            await keep_leadership(tx, leadership.resigned(known, for_good=for_good))


async def check_epoch(tx: AsyncConnection, epoch: int, *, lock: bool = False) -> None:
    """
    Raises:
        Superseded: The epoch is another one.
    """
    current = select(dispatch.c.epoch)
    if await tx.scalar(current.with_for_update() if lock else current) != epoch:
        raise Superseded("Another Coordinator has taken over.")


async def _lock_leadership(tx: AsyncConnection, epoch: int | None = None) -> Leadership:
    """
    Raises:
        Superseded: As `check_epoch`, where an epoch is given.
    """
    row = (await tx.execute(select(dispatch).with_for_update())).one()
    if epoch not in (None, row.epoch):
        raise Superseded("Another Coordinator has taken over.")
    former = tuple(json.loads(row.former))
    return Leadership(row.epoch, row.cluster, former, row.asked, row.answers, row.wanted, row.vacant)


async def keep_leadership(tx: AsyncConnection, known: Leadership) -> Leadership:
    await tx.execute(update(dispatch).values({**asdict(known), "former": json.dumps(known.former)}))
    return known


def _requeue_running() -> Update:
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
