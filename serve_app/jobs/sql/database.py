"""Transactions: how SQLite and PostgreSQL are connected to, and what each needs to be durable and fair."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from serve_app.errors import StoreUnavailable
from serve_app.jobs.sql.failures import PostgresFailures, SqliteFailures

CONNECT_S = 10
STATEMENT_S = 60
POSTGRES_CONNECTIONS = 8
READERS = 4
EMPTY_LOG_MS = 200  # writers wait for so long when somebody reads for long
MIGRATION_LOCK = 0x7261_7973  # any number, the same for all who share the database


class Database:
    """
    Where transactions come from.

    On SQLite writers queue here and not in the database, whose waiting is polling. On PostgreSQL they lock rows.
    """

    def __init__(
        self, engine: AsyncEngine, failures: SqliteFailures | PostgresFailures, *, one_writer: bool = False
    ) -> None:
        self.engine = engine
        self._failures = failures
        self._writes = engine.execution_options(writes=True)
        self._writer = asyncio.Lock() if one_writer else None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """
        A transaction that changes nothing.

        Raises:
            StoreUnavailable: The database cannot be read, and what to do.
        """
        with self._failures.translated():
            async with self.engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """
        A transaction that is on disk when the block has ended, and undone when it raises.

        Raises:
            StoreUnavailable: Nothing was written, and what to do.
        """
        async with AsyncExitStack() as stack:
            if self._writer:
                await stack.enter_async_context(self._writer)
            with self._failures.translated():
                async with self._writes.begin() as connection:
                    yield connection

    async def lock_for_migration(self, connection: AsyncConnection) -> None:
        """Wait until no other process migrates; until the transaction ends, none begins to."""
        if connection.dialect.name == "postgresql":  # on SQLite a transaction that writes is alone anyway
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))

    async def empty_log(self) -> None:
        """On SQLite deleted text stays in the log until that is emptied; if others read just now, the next call does it."""
        if self.engine.dialect.name != "sqlite":
            return
        with suppress(StoreUnavailable):  # what was asked for is done
            async with self.reading() as tx:
                # The driver's own connection, because SQLAlchemy would begin a transaction, and within one it is refused.
                driver = (await tx.get_raw_connection()).driver_connection
                assert driver is not None
                [(patience_ms,)] = await driver.execute_fetchall("PRAGMA busy_timeout")
                await driver.execute_fetchall(f"PRAGMA busy_timeout = {EMPTY_LOG_MS}")
                try:
                    await driver.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
                finally:
                    await driver.execute_fetchall(f"PRAGMA busy_timeout = {patience_ms}")

    async def close(self) -> None:
        await self.engine.dispose()


def sqlite_database(path: Path, *, busy_timeout_s: float) -> Database:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        connect_args={"timeout": busy_timeout_s},
        pool_size=READERS + 1,
        max_overflow=0,
        hide_parameters=True,  # they hold transcripts, and failures are logged
    )
    event.listen(engine.sync_engine, "connect", _prepare)
    event.listen(engine.sync_engine, "begin", _begin)
    return Database(engine, SqliteFailures(path), one_writer=True)


def postgres_database(url: URL) -> Database:
    """
    Args:
        url: As for libpq, its `sslmode` too.
    """
    settings = {"lock_timeout": f"{STATEMENT_S}s", "statement_timeout": f"{STATEMENT_S}s", "synchronous_commit": "on"}
    arguments: dict[str, Any] = {"timeout": CONNECT_S, "server_settings": settings}
    if sslmode := url.query.get("sslmode"):
        arguments["ssl"] = sslmode
    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg").difference_update_query(["sslmode"]),
        connect_args=arguments,
        pool_size=POSTGRES_CONNECTIONS,
        max_overflow=0,
        hide_parameters=True,
        pool_pre_ping=True,  # a database that was started again is noticed before a transaction, not by its failure
    )
    return Database(engine, PostgresFailures(url))


def _prepare(connection: DBAPIConnection, _: object) -> None:
    # The driver's own transactions begin too late, and not before DDL; `_begin` begins them.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            cursor.execute(f"PRAGMA {pragma}")
    finally:
        cursor.close()


def _begin(connection: Any) -> None:
    # A transaction that reads before it writes would fail at its first write when another one came between.
    immediate = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
