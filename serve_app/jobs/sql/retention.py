"""What is no longer to be kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import delete, exists, select, update

from serve_app.jobs.sql import rows
from serve_app.jobs.sql.job import SqlJobs
from serve_app.jobs.sql.schema import addresses, announced, chunks, deliveries, events, jobs
from serve_app.jobs.sql.statements import load
from serve_app.jobs.sql.uncut import uncut
from serve_app.jobs.store.retention import RetentionStore
from serve_app.transcript.protocols import StoredMedia


class SqlRetention(SqlJobs, RetentionStore):
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
            record = await load(tx, job_id, lock=True)
            if record is None:
                return
            options = record.job.options
            options = replace(options, decoding=replace(options.decoding, prompt="", hotwords=""))
            values = {"forgotten": True, "options": rows.OPTIONS.dump_json(options).decode()}
            await tx.execute(update(jobs).where(jobs.c.job_id == job_id).values(values))
            await tx.execute(delete(chunks).where(chunks.c.job_id == job_id))
            await tx.execute(delete(events).where(events.c.job_id == job_id, events.c.kind == "segment"))
        await self._database.empty_log()

    @uncut
    async def ended_before(self, kept: timedelta, *, limit: int, forgotten: bool = True) -> Sequence[str]:
        ended = select(jobs.c.job_id).where(jobs.c.completed_at <= self._clock() - kept)
        if not forgotten:
            ended = ended.where(~jobs.c.forgotten)
        async with self._database.reading() as tx:
            return list(await tx.scalars(ended.order_by(jobs.c.completed_at, jobs.c.job_id).limit(limit)))

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
