"""What databases complain of, as `StoreUnavailable` with a sentence that says what to do."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from serve_app.errors import StoreUnavailable

RETRY_AFTER_S = 10.0

SAFE = "What was accepted is safe."

SQLITE_CODES = {
    errno.EACCES: sqlite3.SQLITE_PERM,
    errno.EPERM: sqlite3.SQLITE_PERM,
    errno.EROFS: sqlite3.SQLITE_READONLY,
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EDQUOT: sqlite3.SQLITE_FULL,
}


class DamagedStore(StoreUnavailable):
    """The data are damaged; waiting does not help."""


class SqliteFailures:
    """
    Translates the errors of one SQLite file.

    After the first sign of damage every verb fails: what is written to a damaged file is not durable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._damaged = False

    @contextmanager
    def translated(self) -> Iterator[None]:
        """
        Raises:
            StoreUnavailable: Instead of the database's own error.
        """
        if self._damaged:
            raise damaged(self._path)
        try:
            yield
        except (IntegrityError, DataError):
            raise
        except (DBAPIError, sqlite3.Error, OSError, PoolTimeoutError) as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> StoreUnavailable:
        code = _sqlite_code(error)
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            self._damaged = True
            return damaged(self._path)
        return StoreUnavailable(self._sentence(code), retry_after_s=RETRY_AFTER_S)

    def _sentence(self, code: int | None) -> str:
        folder = self._path.parent
        if code == sqlite3.SQLITE_FULL:
            return f"The disk with the job store is full: free some space in {folder}. {SAFE}"
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return (
                f"The job store cannot be written: give the service the right to write {folder} and all in it. {SAFE}"
            )
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return f"Another process keeps {self._path} locked: end it, for example an open sqlite3 shell. {SAFE}"
        return f"The disk with the job store does not work: look for free space and for errors of {folder}. {SAFE}"


class PostgresFailures:
    """Translates the errors of one PostgreSQL database; see `SqliteFailures`."""

    def __init__(self, url: URL) -> None:
        self._name = f"{url.host or 'localhost'}:{url.port or 5432}/{url.database or ''}"
        self._damaged = False

    @contextmanager
    def translated(self) -> Iterator[None]:
        """
        Raises:
            StoreUnavailable: Instead of the database's own error.
        """
        if self._damaged:
            raise self._damage()
        try:
            yield
        except (IntegrityError, DataError):
            raise
        except (DBAPIError, OSError, PoolTimeoutError) as error:
            if _sqlstate(error).startswith("22"):  # what asyncpg has instead of a DataError
                raise
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> StoreUnavailable:
        state = _sqlstate(error)
        if state.startswith("XX00") and state != "XX000":
            self._damaged = True
            return self._damage()
        return StoreUnavailable(self._sentence(state, error), retry_after_s=RETRY_AFTER_S)

    def _damage(self) -> DamagedStore:
        return DamagedStore(
            f"PostgreSQL says that the database {self._name} is damaged: stop the service, restore the database from its "
            "backup, and start again. Nothing is accepted until then."
        )

    def _sentence(self, state: str, error: Exception) -> str:
        if state == "53100":
            return f"The disk of the database {self._name} is full: free some space there. {SAFE}"
        if state.startswith("28") or state in ("3D000", "42501"):
            return f"The database {self._name} refuses the service: check name, user, password and rights. {SAFE}"
        if state == "25006":
            return f"The database {self._name} is read-only: connect to its primary. {SAFE}"
        if state in ("55P03", "57014"):
            return (
                f"The database {self._name} is locked for long: look for open transactions in pg_stat_activity. {SAFE}"
            )
        return f"The database {self._name} is away: see that it runs and can be reached. {SAFE}"


def damaged(path: Path) -> DamagedStore:
    return DamagedStore(
        f"The job store {path} is damaged, and nothing is accepted any more. Start the service again: it checks the file, "
        "sets it aside if it is damaged, and says how to restore it."
    )


def _sqlstate(error: Exception) -> str:
    """https://www.postgresql.org/docs/current/errcodes-appendix.html"""
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")


def _sqlite_code(error: BaseException) -> int | None:
    """The primary result code (https://sqlite.org/rescode.html)."""
    if isinstance(error, OSError):
        return SQLITE_CODES.get(error.errno or 0)
    code = getattr(getattr(error, "orig", error), "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
