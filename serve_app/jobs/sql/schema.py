"""The tables, the same on SQLite and PostgreSQL. What is only ever read as a whole is JSON in text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.types import TypeDecorator

UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(TypeDecorator[datetime]):
    """Microseconds since 1970 in UTC: exact, ordered, and the same in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - UNIX_EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else UNIX_EPOCH + timedelta(microseconds=value)


metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
)

dispatch = Table(
    "dispatch",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # one row, 1
    Column("epoch", BigInteger, nullable=False),  # of the Coordinator that may claim; what follows is of `Leadership`
    Column("cluster", Text),
    Column("former", Text, nullable=False, server_default="[]"),
    Column("asked", Boolean(create_constraint=False), nullable=False, server_default=false()),
    Column("answers", BigInteger, nullable=False, server_default="0"),
    Column("wanted", Boolean(create_constraint=False), nullable=False, server_default=false()),
    Column("vacant", Boolean(create_constraint=False), nullable=False, server_default=false()),
)

turns = Table(
    "turns",
    metadata,
    Column("rank", Integer, nullable=False),
    Column("owner", Text, nullable=False),
    Column("served", BigInteger, nullable=False),  # the owner's last turn that came
    PrimaryKeyConstraint("rank", "owner"),
    Index(None, "rank", "served"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),  # of its submit
    Column("job_id", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("rank", Integer, nullable=False),  # of its priority
    Column("turn", BigInteger, nullable=False),
    Column("not_before", Instant),
    Column("lease_token", Text),
    Column("lease_expires_at", Instant),
    Column("media_path", Text),
    Column("source_url", Text),  # until it is fetched
    Column("size_bytes", BigInteger, nullable=False),
    Column("options", Text, nullable=False),
    Column("webhook_url", Text),
    Column("idempotency_key", Text),
    Column("idempotency_fingerprint", Text),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("completed_at", Instant),
    Column("waiting_for", Text),
    Column("attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("waits", Integer, nullable=False),
    Column("begun", Boolean(create_constraint=False), nullable=False),
    Column("shows_words", Boolean(create_constraint=False), nullable=False),
    Column("progress", Integer, nullable=False),
    Column("duration_s", Float),
    Column("finished", Text),  # TranscriptionFinished
    Column("error", Text),  # JobError
    Column("forgotten", Boolean(create_constraint=False), nullable=False),
    Column("segments", Integer, nullable=False),  # so many there are
    Column("events", Integer, nullable=False),  # so many there were
    UniqueConstraint("job_id"),
    UniqueConstraint("owner", "idempotency_key"),
    Index("ix_jobs_queue", "status", "rank", "turn", "number", "not_before"),
    Index(None, "owner", "number"),
    Index(None, "owner", "status", "rank", "turn"),
    Index(None, "media_path"),
    Index(None, "completed_at"),
    sqlite_autoincrement=True,  # a number never comes again, or a cursor could show a job twice
)

chunks = Table(
    "chunks",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id", ondelete="CASCADE"), nullable=False),
    Column("channel", Integer, nullable=False),
    Column("chunk_index", Integer, nullable=False),
    Column("body", Text, nullable=False),  # ChunkTranscribed
    PrimaryKeyConstraint("job_id", "channel", "chunk_index"),
)

events = Table(
    "events",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id", ondelete="CASCADE"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("data", Text, nullable=False),
    PrimaryKeyConstraint("job_id", "seq"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_id", Text, primary_key=True),
    Column("job_id", ForeignKey("jobs.job_id", ondelete="CASCADE")),
    Column("url", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("next_attempt_at", Instant),
    Column("attempts", Integer, nullable=False),
    Column("delivered_at", Instant),
    Column("response_status", Integer),
    Column("error", Text),
    Column("body", Text),
    Index(None, "job_id"),
    Index(None, "status", "next_attempt_at"),
)

addresses = Table(
    "addresses",
    metadata,
    Column("owner", Text, nullable=False),
    Column("digest", Text, nullable=False),  # of the URL, which may be longer than an index takes
    Column("url", Text, nullable=False),
    Column("given_at", Instant, nullable=False),  # for the first time
    PrimaryKeyConstraint("owner", "digest"),
)

announced = Table(
    "announced",
    metadata,
    Column("model_id", Text, primary_key=True),
    Column("news", Text, nullable=False),  # the last
)
