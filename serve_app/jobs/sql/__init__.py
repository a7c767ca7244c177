"""Jobs that survive the process: in SQLite or PostgreSQL."""

from serve_app.jobs.sql.opening import open_store
from serve_app.jobs.sql.store import SqlJobStore

__all__ = ["SqlJobStore", "open_store"]
