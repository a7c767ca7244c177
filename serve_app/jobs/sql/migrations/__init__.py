"""The history of the schema, run by Alembic at the start of the store."""
