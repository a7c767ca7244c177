"""
The state machine of a job: what each verb of a `JobStore` does to one, as pure functions.

A store loads a `Record`, asks here what becomes of it, and keeps the `Change` in one transaction. So every store follows the
same rules, and has only to be good at keeping.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from serve_app.errors import IdempotencyMismatch, JobNotFound, LeaseLost
from serve_app.jobs import outbox
from serve_app.jobs.job import (
    Claim,
    Delivery,
    Event,
    Idempotency,
    Job,
    JobError,
    JobSource,
    Lease,
    MediaFetched,
    NewJob,
    Owner,
    Status,
    Step,
    WaitingFor,
)
from serve_app.jobs.rendering import segment_object
from serve_app.transcript.protocols import StoredMedia
from serve_app.transcript.types import ChunkTranscribed, TranscriptionFinished

MOST_BEFORE_THE_END = 99  # percent


@dataclass(frozen=True, slots=True)
class Record:
    """A job as a store keeps it."""

    job: Job
    number: int  # the later submitted, the higher
    turn: int  # in the queue of its priority
    source: JobSource | None  # None once its audio is gone
    idempotency: Idempotency | None = None
    lease: Lease | None = None  # while running
    begun: bool = False  # whoever holds the lease works on it
    not_before: datetime | None = None  # while queued
    failures: int = 0  # attempts since the last new chunk, with the one that runs
    waits: int = 0  # since the last new chunk, after attempts that came to nothing
    segments: int = 0  # so many there are
    events: int = 0  # so many there were


@dataclass(frozen=True, slots=True)
class Change:
    """What a verb does to a job, to be kept as a whole."""

    record: Record
    events: tuple[Event, ...] = ()
    chunk: ChunkTranscribed | None = None
    delivery: Delivery | None = None


def submitted(new: NewJob, *, number: int, turn: int, now: datetime) -> Change:
    job = Job(
        job_id=new.job_id,
        owner=new.owner,
        status=Status.QUEUED,
        options=new.options,
        priority=new.priority,
        created_at=now,
        webhook_url=new.webhook_url,
        shows_words=new.shows_words,
        size_bytes=new.size_bytes,
    )
    return _telling(Record(job, number, turn, new.source, new.idempotency), ("queued", {}), now=now)


def check_repeated(new: NewJob, known: Record) -> None:
    """
    Raises:
        IdempotencyMismatch: What was submitted under this key, or this id, is something else.
    """
    if known.job.owner != new.owner or (known.idempotency or new.idempotency) != new.idempotency:
        raise IdempotencyMismatch(
            "The Idempotency-Key was used before, for another request. Send a new key, or the same request.",
            param="Idempotency-Key",
        )


def check_visible(record: Record | None, job_id: str, owner: Owner) -> Record:
    """
    Raises:
        JobNotFound: There is none, or it is somebody else's.
    """
    if record is None or owner not in (None, record.job.owner):
        raise JobNotFound(f"There is no job {job_id}.", param="job_id")
    return record


def check_lease(record: Record | None, lease: Lease, now: datetime) -> Record:
    """
    Raises:
        LeaseLost: The job is gone, or not running under this lease any more.
    """
    if record is None or (held := record.lease) is None or held.token != lease.token or held.expires_at <= now:
        raise LeaseLost(f"The lease of job {lease.job_id} is lost.")
    return record


def next_turn(*, served: int, owners_last: int) -> int:
    """
    The turn of an owner's new job, by start-time fair queueing.

    Args:
        served: The turn that is served now.
        owners_last: The highest that the owner was given, of those served or still queued.
    """
    return max(served, owners_last + 1)


def claimed(record: Record, *, lease_s: float, now: datetime) -> Record:
    """The attempt counts from here, so that one that takes its process along counts too."""
    job = replace(
        record.job,
        status=Status.RUNNING,
        attempts=record.job.attempts + 1,
        started_at=record.job.started_at or now,
        waiting_for=None,
    )
    lease = Lease(job.job_id, token=uuid4().hex, expires_at=now + timedelta(seconds=lease_s))
    return replace(record, job=job, lease=lease, begun=False, not_before=None, failures=record.failures + 1)


def claim_of(record: Record, known: Sequence[ChunkTranscribed]) -> Claim:
    """What the runner of a claimed job gets."""
    assert record.lease is not None
    assert record.source is not None, "audio is deleted after the end only"
    return Claim(
        record.lease,
        record.job.attempts,
        record.source,
        record.job.options,
        tuple(known),
        failures=record.failures - 1,
        waits=record.waits,
        last_error=record.job.error,
    )


def extended(record: Record, lease: Lease, *, lease_s: float, now: datetime) -> Record:
    return replace(record, lease=replace(lease, expires_at=now + timedelta(seconds=lease_s)), begun=True)


def recorded(record: Record, step: Step, *, now: datetime) -> Change:
    """A step of the attempt that holds the lease; a chunk must not be a known one."""
    if isinstance(step, MediaFetched):
        job = replace(record.job, size_bytes=step.size_bytes)
        return Change(replace(record, source=step.media, job=job, begun=True))
    if isinstance(step, ChunkTranscribed):
        return _chunk_recorded(record, step, now)
    return ended(record, Status.DONE, end=step, now=now)


def requeued(record: Record) -> Record:
    """Queued again by somebody else than its runner; an attempt that no runner began does not count."""
    return _queued(record if record.begun or record.lease is None else _uncounted(record))


def released(
    record: Record,
    *,
    not_before: datetime | None,
    waiting_for: WaitingFor | None,
    error: JobError | None,
    excused: bool,
) -> Record:
    record = _queued(_uncounted(record) if excused else record)
    job = replace(record.job, waiting_for=waiting_for, error=error)
    waits = record.waits + (not_before is not None and waiting_for is None)
    return replace(record, job=job, not_before=not_before, waits=waits)


def failed(record: Record, error: JobError, *, excused: bool, now: datetime) -> Change:
    return ended(_uncounted(record) if excused else record, Status.FAILED, error=error, now=now)


def ended(
    record: Record,
    status: Status,
    *,
    now: datetime,
    end: TranscriptionFinished | None = None,
    error: JobError | None = None,
) -> Change:
    job = replace(
        record.job,
        status=status,
        completed_at=now,
        waiting_for=None,
        end=end,
        error=error,
        progress=100 if status is Status.DONE else record.job.progress,
        duration_s=end.duration_s if end else record.job.duration_s,
    )
    # The URL may be signed, and so a secret: it is not kept longer than it is needed.
    source = record.source if isinstance(record.source, StoredMedia) else None
    record = replace(record, job=job, source=source, lease=None, begun=False, not_before=None)
    told = {"code": error.code, "message": error.message} if error else {}
    return replace(_telling(record, (status.value, told), now=now), delivery=outbox.ended(job, now))


def _chunk_recorded(record: Record, chunk: ChunkTranscribed, now: datetime) -> Change:
    percent = max(record.job.progress, _percent(chunk))
    told: list[tuple[str, dict[str, Any]]] = [
        ("segment", segment_object(index, segment, shows_words=record.job.shows_words))
        for index, segment in enumerate(chunk.segments, record.segments)
    ]
    if percent != record.job.progress:
        told.append(("progress", {"percent": percent}))
    job = replace(record.job, progress=percent, duration_s=chunk.declared_s or record.job.duration_s)
    segments = record.segments + len(chunk.segments)
    record = replace(record, job=job, segments=segments, begun=True, failures=0, waits=0)
    return replace(_telling(record, *told, now=now), chunk=chunk)


def _queued(record: Record) -> Record:
    return replace(record, job=replace(record.job, status=Status.QUEUED), lease=None, begun=False, not_before=None)


def _uncounted(record: Record) -> Record:
    """Without the attempt that runs, unless it came to something."""
    if record.failures == 0:
        return record
    return replace(record, job=replace(record.job, attempts=record.job.attempts - 1), failures=record.failures - 1)


def _percent(chunk: ChunkTranscribed) -> int:
    return min(MOST_BEFORE_THE_END, int(100 * chunk.end / chunk.declared_s)) if chunk.declared_s else 0


def _telling(record: Record, *told: tuple[str, dict[str, Any]], now: datetime) -> Change:
    events = tuple(
        Event(record.job.job_id, seq, kind, now, data) for seq, (kind, data) in enumerate(told, record.events + 1)
    )
    return Change(replace(record, events=record.events + len(events)), events)
