"""One job, with what belongs to it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.jobs import machine
from serve_app.jobs.job import Delivery, Job, Owner
from serve_app.jobs.sql import rows
from serve_app.jobs.sql.schema import deliveries, jobs
from serve_app.jobs.sql.statements import checkpoints, load, placed
from serve_app.jobs.sql.uncut import uncut
from serve_app.jobs.sql.verbs import SqlVerbs
from serve_app.jobs.store.job import JobReader, JobRemover
from serve_app.transcript.protocols import StoredMedia
from serve_app.transcript.types import ChunkTranscribed


class SqlJobs(SqlVerbs, JobReader, JobRemover):
    @uncut
    async def get(self, job_id: str, owner: Owner = None) -> Job:
        async with self._database.reading() as tx:
            record = machine.check_visible(await load(tx, job_id), job_id, owner)
            return await placed(tx, record)

    @uncut
    async def chunks(self, job_id: str) -> tuple[ChunkTranscribed, ...]:
        async with self._database.reading() as tx:
            return await checkpoints(tx, job_id)

    @uncut
    async def deliveries(self, job_id: str, owner: Owner = None) -> Sequence[Delivery]:
        wanted = select(deliveries).where(deliveries.c.job_id == job_id)
        async with self._database.reading() as tx:
            machine.check_visible(await load(tx, job_id), job_id, owner)
            return [rows.delivery_of(row) for row in await tx.execute(wanted)]

    @uncut
    async def purge(self, job_id: str, owner: Owner = None) -> StoredMedia | None:
        async with self._database.writing() as tx:
            record = machine.check_visible(await load(tx, job_id, lock=True), job_id, owner)
            await tx.execute(delete(jobs).where(jobs.c.job_id == job_id))
            media = record.source if isinstance(record.source, StoredMedia) else None
            if media and await _is_held(tx, media):
                media = None
        await self._database.empty_log()
        return media

    @uncut
    async def holds(self, media: StoredMedia) -> bool:
        async with self._database.reading() as tx:
            return await _is_held(tx, media)


async def _is_held(tx: AsyncConnection, media: StoredMedia) -> bool:
    return bool(await tx.scalar(select(exists().where(jobs.c.media_path == media.path))))
