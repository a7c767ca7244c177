"""
The nouns of durable jobs: small, frozen, picklable.

Instants are aware UTC. A job's id is made by whoever submits it, so that a submit that had to be sent twice makes one job.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from serve_app.transcript.protocols import StoredMedia
from serve_app.transcript.types import ChunkTranscribed, TranscriptionFinished, TranscriptionOptions

Owner = str | None
"""
Whose job it is: a fingerprint of an API key, or "" where the service needs none. As the argument of a reading verb, None
means everyone's.
"""


class Status(StrEnum):
    QUEUED = "queued"  # accepted, and nobody works on it now
    RUNNING = "running"  # leased to a runner
    DONE = "done"
    FAILED = "failed"  # will never work; `error` says why
    CANCELLED = "cancelled"  # somebody asked for it; what was transcribed is kept

    @property
    def ended(self) -> bool:
        return self in (Status.DONE, Status.FAILED, Status.CANCELLED)


class WaitingFor(StrEnum):
    """Why a job that could run does not."""

    MODEL = "model"  # it is loading
    GPU = "gpu"  # others hold its memory


class Priority(StrEnum):
    INTERACTIVE = "interactive"  # somebody waits for it
    BATCH = "batch"

    @property
    def rank(self) -> int:
        """Lower comes first."""
        return 0 if self is Priority.INTERACTIVE else 1


@dataclass(frozen=True, slots=True)
class RemoteMedia:
    """Audio that the first attempt fetches into the media store."""

    url: str


JobSource = StoredMedia | RemoteMedia


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The same key with the same fingerprint is the same job; with another it is a mistake."""

    key: str
    fingerprint: str  # of the fields and the audio


@dataclass(frozen=True, slots=True)
class NewJob:
    job_id: str  # a UUID
    owner: str
    source: JobSource
    options: TranscriptionOptions
    size_bytes: int = 0  # of the audio; 0 when unknown
    priority: Priority = Priority.INTERACTIVE
    webhook_url: str | None = None
    tells_of_models: bool = False  # the webhook_url hears of models too, for ever
    shows_words: bool = False  # its segments list their words
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, or why its last attempt did."""

    code: str  # as in the HTTP envelope
    message: str


@dataclass(frozen=True, slots=True)
class Job:
    job_id: str
    owner: str
    status: Status
    options: TranscriptionOptions
    priority: Priority
    created_at: datetime
    started_at: datetime | None = None  # of the first attempt
    completed_at: datetime | None = None
    waiting_for: WaitingFor | None = None
    attempts: int = 0  # how often somebody began to work on it
    progress: int = 0  # percent, never goes back; 100 when done
    duration_s: float | None = None  # what the file's header says, then what was found
    end: TranscriptionFinished | None = None  # once done
    error: JobError | None = None
    webhook_url: str | None = None
    shows_words: bool = False  # its segments list their words; these are kept in any case
    size_bytes: int = 0
    queue_position: int | None = None  # from 1, while queued
    eta_s: float | None = None  # until it ends, from the speed measured so far
    forgotten: bool = False  # the text is gone: zero retention


@dataclass(frozen=True, slots=True)
class JobDetails:
    """A job and what was transcribed of it so far."""

    job: Job
    chunks: tuple[ChunkTranscribed, ...] = ()  # by start, then channel


@dataclass(frozen=True, slots=True)
class Submitted:
    job: Job
    created: bool  # False: the idempotency key, or the id, was known


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Jobs newest first."""

    limit: int = 20
    cursor: str | None = None  # `next_cursor` of the page before
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class JobPage:
    jobs: tuple[Job, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The guarded right to work on a job: whoever lost it can no longer write."""

    job_id: str
    token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """A leased job, and all that a runner needs for it."""

    lease: Lease
    attempt: int  # from 1
    source: JobSource
    options: TranscriptionOptions
    known: tuple[ChunkTranscribed, ...] = ()  # checkpoints of earlier attempts; not to be recognised again
    failures: int = 0  # attempts in a row that came to nothing, without this one
    waits: int = 0  # in a row, after attempts that came to nothing
    last_error: JobError | None = None  # what the attempt before died of


@dataclass(frozen=True, slots=True)
class MediaFetched:
    """A step of an attempt: the remote audio lies in the media store now."""

    media: StoredMedia
    size_bytes: int


Step = MediaFetched | ChunkTranscribed | TranscriptionFinished
"""What an attempt reports, in this order; a chunk that is known already changes nothing."""


@dataclass(frozen=True, slots=True)
class Event:
    """A past-tense fact about a topic (a job's id), numbered from 1."""

    topic: str
    seq: int
    kind: str  # queued, progress, segment, done, failed, cancelled
    at: datetime
    data: dict[str, Any] = field(default_factory=dict)


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"  # every retry failed; can be sent again by hand


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook to one address."""

    delivery_id: str  # the Standard Webhooks id: the same at every retry
    job_id: str | None  # None: it tells of a model, and belongs to nobody's job
    url: str
    kind: str  # job.done, job.failed, job.cancelled, or a `News`
    status: DeliveryStatus
    created_at: datetime
    next_attempt_at: datetime | None = None  # while pending
    attempts: int = 0
    delivered_at: datetime | None = None
    response_status: int | None = None  # of the last attempt that got one
    error: str | None = None  # of the last attempt
    body: str | None = None  # JSON; None: the job object


class News(StrEnum):
    """What addresses that were ever given are told of models."""

    MODEL_READY = "model_ready"  # requests are answered without a load
    MODEL_UNLOADED = "model_unloaded"  # after it was ready, it holds no memory any more


@dataclass(frozen=True, slots=True)
class Announcement:
    """A turn of a model."""

    news: News
    model_id: str
    state: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class QueueStats:
    """For `/health` and metrics."""

    queued: int
    running: int
    oldest_queued_at: datetime | None
