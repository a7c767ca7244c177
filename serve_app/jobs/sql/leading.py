"""The row that says who leads. `tx` is the transaction that the caller has begun."""

from __future__ import annotations

import json
from dataclasses import asdict

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.errors import Superseded
from serve_app.jobs.leadership import Leadership
from serve_app.jobs.sql.schema import dispatch


async def check_epoch(tx: AsyncConnection, epoch: int, *, lock: bool = False) -> None:
    """
    Raises:
        Superseded: The epoch is another one.
    """
    current = select(dispatch.c.epoch)
    if await tx.scalar(current.with_for_update() if lock else current) != epoch:
        raise Superseded("Another Coordinator has taken over.")


async def lock_leadership(tx: AsyncConnection, epoch: int | None = None) -> Leadership:
    """
    Raises:
        Superseded: As `check_epoch`, where an epoch is given.
    """
    row = (await tx.execute(select(dispatch).with_for_update())).one()
    if epoch not in (None, row.epoch):
        raise Superseded("Another Coordinator has taken over.")
    former = tuple(json.loads(row.former))
    return Leadership(row.epoch, row.cluster, former, row.asked, row.answers, row.wanted, row.vacant)


async def keep_leadership(tx: AsyncConnection, leadership: Leadership) -> Leadership:
    await tx.execute(update(dispatch).values({**asdict(leadership), "former": json.dumps(leadership.former)}))
    return leadership
