"""Opens a job store: looks whether it is sound, and brings its schema up to date."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from datetime import UTC
from pathlib import Path

from sqlalchemy import URL, make_url

from serve_app.errors import ConfigError
from serve_app.jobs.protocols import Clock
from serve_app.jobs.sql.database import Database, postgres_database, sqlite_database
from serve_app.jobs.sql.failures import DamagedStore, SqliteFailures
from serve_app.jobs.sql.migrate import migrate
from serve_app.jobs.sql.store import SqlJobStore

POSTGRES_SCHEMES = ("postgresql://", "postgres://", "postgresql+asyncpg://")
SIDE_FILES = ("-wal", "-shm")
BUSY_TIMEOUT_S = 10.0


async def open_store(url_or_path: str | Path, clock: Clock, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> SqlJobStore:
    """
    Open a store, making what is missing.

    A damaged SQLite file is set aside under the name `….corrupt-<UTC time>`, never overwritten, and no store is opened until
    somebody has put another file in its place, or has taken the damaged one away: an empty store that took its place by
    itself would forget accepted jobs in silence.

    Args:
        url_or_path: `postgresql://user:password@host/database`, or the path of an SQLite file.
        busy_timeout_s: How long another process may keep the SQLite file locked.

    Raises:
        StoreUnavailable: It cannot be opened now, and what to do.
        ConfigError: The URL is wrong, or the driver of PostgreSQL is not installed.
    """
    if str(url_or_path).startswith(POSTGRES_SCHEMES):
        database = _postgres(make_url(str(url_or_path)))
    else:
        path = Path(url_or_path)
        with SqliteFailures(path).translated():
            await asyncio.to_thread(_check_file, path, clock)
        database = sqlite_database(path, busy_timeout_s=busy_timeout_s)
    try:
        await migrate(database)
    except BaseException:
        await database.close()
        raise
    return SqlJobStore(database, clock)


def _postgres(url: URL) -> Database:
    try:
        return postgres_database(url)
    except ModuleNotFoundError as error:
        raise ConfigError("The driver of PostgreSQL is missing: pip install 'rayscribe[postgres]'.") from error


def _check_file(path: Path, clock: Clock) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not _sound(path):
        _move(path, f"{path}.corrupt-{clock().astimezone(UTC):%Y%m%dT%H%M%S.%fZ}")
    if not path.exists():
        _check_none_set_aside(path)
        # Transcripts are nobody else's business; SQLite gives its side files the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def _sound(path: Path) -> bool:
    # Read-only, because the last writer to close a file moves its journal into it.
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return False
        raise


def _move(path: Path, to: str) -> None:
    for suffix in ("", *SIDE_FILES):
        if os.path.exists(f"{path}{suffix}"):
            os.rename(f"{path}{suffix}", f"{to}{suffix}")


def _check_none_set_aside(path: Path) -> None:
    """
    Raises:
        DamagedStore: The store was set aside, and none has come in its place.
    """
    aside = sorted(p for p in path.parent.glob(f"{path.name}.corrupt-*") if not p.name.endswith(SIDE_FILES))
    if aside:
        _move(path, str(aside[-1]))  # a start that was killed may have left side files, which would spoil a backup
        raise DamagedStore(
            f"The job store was damaged, and lies set aside as {aside[-1]}. Nothing is accepted until you put a backup at "
            f"{path}, or save what can be saved (sqlite3 '{aside[-1]}' .recover | sqlite3 '{path}'), and start the service "
            "again. To begin with an empty store instead, move what was set aside to another directory first."
        )
