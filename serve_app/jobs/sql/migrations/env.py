"""Run by Alembic for every command; the connection, with its transaction, comes from `migrate.upgrade`."""

from alembic import context

from serve_app.jobs.sql.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
