"""What all verbs of the store share: the database, and the time."""

from __future__ import annotations

from serve_app.jobs.protocols import Clock
from serve_app.jobs.sql.database import Database


class SqlVerbs:
    """
    Every verb is one transaction, which goes on to its end when the call is cancelled.

    Those that change a job lock its row first, and then ask `machine` what to do.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
