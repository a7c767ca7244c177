"""Webhooks that are to be sent, and the addresses that hear of models."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, exists, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.jobs import outbox
from serve_app.jobs.job import Announcement, Delivery, DeliveryStatus, News
from serve_app.jobs.sql import rows
from serve_app.jobs.sql.leading import check_epoch
from serve_app.jobs.sql.schema import addresses, announced, deliveries
from serve_app.jobs.sql.uncut import uncut
from serve_app.jobs.sql.verbs import SqlVerbs
from serve_app.jobs.store.deliveries import AnnouncementStore, DeliveryStore


class SqlDeliveries(SqlVerbs, DeliveryStore, AnnouncementStore):
    @uncut
    async def due_deliveries(self, epoch: int, *, limit: int) -> Sequence[Delivery]:
        due = (
            select(deliveries)
            .where(deliveries.c.status == DeliveryStatus.PENDING, deliveries.c.next_attempt_at <= self._clock())
            .order_by(deliveries.c.next_attempt_at)
            .limit(limit)
        )
        async with self._database.reading() as tx:
            await check_epoch(tx, epoch)
            return [rows.delivery_of(row) for row in await tx.execute(due)]

    @uncut
    async def update_delivery(self, tried: Delivery, outcome: Delivery) -> None:
        async with self._database.writing() as tx:
            await keep_delivery(tx, outcome, _awaits(tried))
            if outbox.wants_no_more(outcome):
                await tx.execute(delete(addresses).where(addresses.c.url == outcome.url))

    @uncut
    async def announce(self, announcement: Announcement, epoch: int) -> bool:
        now = self._clock()
        async with self._database.writing() as tx:
            await check_epoch(tx, epoch, lock=True)
            if not await _is_news(tx, announcement):
                return False
            urls = await tx.scalars(select(addresses.c.url).distinct())
            if made := [rows.delivery_row(outbox.announced(announcement, url, now)) for url in urls]:
                await tx.execute(deliveries.insert(), made)
        return True


async def remember_address(tx: AsyncConnection, owner: str, url: str, now: datetime) -> None:
    key = rows.address_key(owner, url)
    own = addresses.c.owner == owner
    if await tx.scalar(select(exists().where(own, addresses.c.digest == key["digest"]))):
        return
    await tx.execute(addresses.insert().values(**key, url=url, given_at=now))
    newest_first = select(addresses.c.digest).where(own).order_by(addresses.c.given_at.desc(), addresses.c.digest)
    await tx.execute(delete(addresses).where(own, addresses.c.digest.in_(newest_first.offset(outbox.MOST_ADDRESSES))))


def _awaits(tried: Delivery) -> ColumnElement[bool]:
    """See `outbox.awaits`."""
    return (
        (deliveries.c.status == DeliveryStatus.PENDING)
        & (deliveries.c.attempts == tried.attempts)
        & (deliveries.c.next_attempt_at == tried.next_attempt_at)
    )


async def keep_delivery(tx: AsyncConnection, delivery: Delivery, only: ColumnElement[bool] | None = None) -> None:
    same = (deliveries.c.delivery_id == delivery.delivery_id) & (true() if only is None else only)
    await tx.execute(update(deliveries).where(same).values(rows.delivery_row(delivery)))


async def _is_news(tx: AsyncConnection, announcement: Announcement) -> bool:
    """As `outbox.is_news`; what is news is noted as the last of its model."""
    of_model = announced.c.model_id == announcement.model_id
    last = await tx.scalar(select(announced.c.news).where(of_model))
    if not outbox.is_news(announcement, News(last) if last else None):
        return False
    if last is None:
        await tx.execute(announced.insert().values(model_id=announcement.model_id, news=announcement.news))
    else:
        await tx.execute(update(announced).where(of_model).values(news=announcement.news))
    return True
