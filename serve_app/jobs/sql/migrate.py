"""Brings a database's schema to what this version needs."""

from __future__ import annotations

from functools import cache

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from serve_app.errors import StoreUnavailable
from serve_app.jobs.sql.database import Database
from serve_app.jobs.sql.uncut import uncut

MIGRATIONS = "serve_app.jobs.sql:migrations"


@uncut
async def migrate(database: Database) -> None:
    """
    Run the missing migrations in one transaction, one process at a time.

    Raises:
        StoreUnavailable: A newer version wrote the database, or the database is away.
    """
    async with database.writing() as connection:
        await database.lock_for_migration(connection)
        await connection.run_sync(upgrade)


def upgrade(connection: Connection) -> None:
    """
    Raises:
        StoreUnavailable: The schema is newer than this code.
    """
    found = MigrationContext.configure(connection).get_current_revision()
    scripts = _scripts()
    if found == scripts.get_current_head():
        return  # as at most starts; to have Alembic find nothing to do takes as long as all the rest of them
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreUnavailable(
            f"A newer version of rayscribe wrote the job store (schema {found}): run that version, or restore a backup from "
            "before the update. The store was not touched."
        )
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    return config
