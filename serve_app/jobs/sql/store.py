"""The job store in SQLite or PostgreSQL."""

from __future__ import annotations

from serve_app.jobs.sql.deliveries import SqlDeliveries
from serve_app.jobs.sql.leading import SqlLeadership
from serve_app.jobs.sql.queue import SqlQueue
from serve_app.jobs.sql.retention import SqlRetention
from serve_app.jobs.sql.service import SqlService
from serve_app.jobs.store import JobStore


class SqlJobStore(SqlService, SqlQueue, SqlDeliveries, SqlRetention, SqlLeadership, JobStore):
    async def close(self) -> None:
        await self._database.close()
