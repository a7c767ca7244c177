"""Rows ⇄ the values of `jobs.job`."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter
from sqlalchemy import Row

from serve_app.jobs.job import (
    Delivery,
    DeliveryStatus,
    Event,
    Idempotency,
    Job,
    JobError,
    JobSource,
    Lease,
    Priority,
    RemoteMedia,
    Status,
    WaitingFor,
)
from serve_app.jobs.machine import Record
from serve_app.transcript.protocols import StoredMedia
from serve_app.transcript.types import (
    ChunkTranscribed,
    DecodingOptions,
    TranscriptionFinished,
    TranscriptionOptions,
)

T = TypeVar("T")

PRIORITIES = {priority.rank: priority for priority in Priority}

UNREADABLE = JobError(
    "internal_error", "What the job store has of this job is damaged and cannot be read. Submit the audio again."
)
NO_OPTIONS = TranscriptionOptions(DecodingOptions(""))

OPTIONS = TypeAdapter(TranscriptionOptions)
FINISHED = TypeAdapter(TranscriptionFinished)
ERROR = TypeAdapter(JobError)
# In a list, because that is where pydantic takes a configuration: a log-probability may be infinite.
CHUNK = TypeAdapter(list[ChunkTranscribed], config=ConfigDict(ser_json_inf_nan="constants"))


def job_row(record: Record) -> dict[str, Any]:
    """All columns of a job but its number, which the database gives."""
    job, key = record.job, record.idempotency
    return {
        "job_id": job.job_id,
        "owner": job.owner,
        "options": _dumped(OPTIONS, job.options),
        "rank": job.priority.rank,
        "turn": record.turn,
        "webhook_url": job.webhook_url,
        "shows_words": job.shows_words,
        "idempotency_key": key.key if key else None,
        "idempotency_fingerprint": key.fingerprint if key else None,
        "created_at": job.created_at,
        **changing_columns(record),
    }


def changing_columns(record: Record) -> dict[str, Any]:
    """What may change after the submit."""
    job, source, lease = record.job, record.source, record.lease
    return {
        "status": job.status,
        "not_before": record.not_before,
        "lease_token": lease.token if lease else None,
        "lease_expires_at": lease.expires_at if lease else None,
        "media_path": source.path if isinstance(source, StoredMedia) else None,
        "source_url": source.url if isinstance(source, RemoteMedia) else None,
        "size_bytes": job.size_bytes,
        "started_at": job.started_at,
        "completed_at": job.completed_at,
        "waiting_for": job.waiting_for,
        "attempts": job.attempts,
        "failures": record.failures,
        "waits": record.waits,
        "begun": record.begun,
        "progress": job.progress,
        "duration_s": job.duration_s,
        "finished": _dumped(FINISHED, job.end),
        "error": _dumped(ERROR, job.error),
        "forgotten": job.forgotten,
        "segments": record.segments,
        "events": record.events,
    }


def record_of(row: Row[Any]) -> Record:
    """A job; one that cannot be read is a failed one, so that it keeps nobody from the others."""
    try:
        job = _job_of(row)
    except (ValueError, KeyError):
        return _unreadable(row)
    return Record(
        job=job,
        number=row.number,
        turn=row.turn,
        source=_source_of(row),
        idempotency=_idempotency_of(row),
        lease=Lease(row.job_id, row.lease_token, row.lease_expires_at) if row.lease_token else None,
        begun=row.begun,
        not_before=row.not_before,
        failures=row.failures,
        waits=row.waits,
        segments=row.segments,
        events=row.events,
    )


def _unreadable(row: Row[Any]) -> Record:
    """What can be said of a damaged row without looking into what may be the damage."""
    job = Job(
        job_id=row.job_id,
        owner=row.owner,
        status=Status.FAILED,
        options=NO_OPTIONS,
        priority=PRIORITIES.get(row.rank, Priority.BATCH),
        created_at=row.created_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        attempts=row.attempts,
        progress=row.progress,
        duration_s=row.duration_s,
        error=UNREADABLE,
        webhook_url=row.webhook_url,
        size_bytes=row.size_bytes,
        forgotten=row.forgotten,
    )
    source, key = _source_of(row), _idempotency_of(row)
    return Record(job, row.number, row.turn, source, key, segments=row.segments, events=row.events)


def chunk_row(job_id: str, chunk: ChunkTranscribed) -> dict[str, Any]:
    body = CHUNK.dump_json([chunk]).decode()
    return {"job_id": job_id, "channel": chunk.channel, "chunk_index": chunk.index, "body": body}


def chunk_of(body: str) -> ChunkTranscribed:
    return CHUNK.validate_json(body)[0]


def is_readable(body: str) -> bool:
    try:
        chunk_of(body)
    except ValueError:
        return False
    return True


def event_row(event: Event) -> dict[str, Any]:
    return {
        "job_id": event.topic,
        "seq": event.seq,
        "kind": event.kind,
        "at": event.at,
        "data": json.dumps(event.data, ensure_ascii=False),
    }


def event_of(row: Row[Any]) -> Event:
    return Event(row.job_id, row.seq, row.kind, row.at, json.loads(row.data))


def delivery_row(delivery: Delivery) -> dict[str, Any]:
    return {name: getattr(delivery, name) for name in Delivery.__slots__}


def delivery_of(row: Row[Any]) -> Delivery:
    return Delivery(**row._asdict() | {"status": DeliveryStatus(row.status)})


def address_key(owner: str, url: str) -> dict[str, str]:
    return {"owner": owner, "digest": hashlib.sha256(url.encode()).hexdigest()}


def _job_of(row: Row[Any]) -> Job:
    return Job(
        job_id=row.job_id,
        owner=row.owner,
        status=Status(row.status),
        options=OPTIONS.validate_json(row.options),
        priority=PRIORITIES[row.rank],
        created_at=row.created_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        waiting_for=WaitingFor(row.waiting_for) if row.waiting_for else None,
        attempts=row.attempts,
        progress=row.progress,
        duration_s=row.duration_s,
        end=_loaded(FINISHED, row.finished),
        error=_loaded(ERROR, row.error),
        webhook_url=row.webhook_url,
        shows_words=row.shows_words,
        size_bytes=row.size_bytes,
        forgotten=row.forgotten,
    )


def _idempotency_of(row: Row[Any]) -> Idempotency | None:
    return Idempotency(row.idempotency_key, row.idempotency_fingerprint) if row.idempotency_key else None


def _source_of(row: Row[Any]) -> JobSource | None:
    if row.media_path is not None:
        return StoredMedia(row.media_path)
    return None if row.source_url is None else RemoteMedia(row.source_url)


def _dumped(adapter: TypeAdapter[T], value: T | None) -> str | None:
    return None if value is None else adapter.dump_json(value).decode()


def _loaded(adapter: TypeAdapter[T], text: str | None) -> T | None:
    return None if text is None else adapter.validate_json(text)
