"""The seams of the jobs: who keeps them, who works on them, and what the HTTP layer sees."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from serve_app.jobs.job import (
    Announcement,
    Claim,
    Delivery,
    Event,
    Job,
    JobDetails,
    JobError,
    JobPage,
    JobQuery,
    Lease,
    MediaFetched,
    NewJob,
    Owner,
    Priority,
    QueueStats,
    Submitted,
    WaitingFor,
)
from serve_app.jobs.leadership import Leadership
from serve_app.transcript.protocols import StoredMedia
from serve_app.transcript.types import ChunkTranscribed, TranscriptionFinished

Step = MediaFetched | ChunkTranscribed | TranscriptionFinished
"""What an attempt reports, in this order; a chunk that is known already changes nothing."""

Clock = Callable[[], datetime]
"""Aware UTC that never goes back within a process."""


class JobStore(Protocol):
    """
    Where jobs, their checkpoints, events and deliveries lie.

    Every verb is one transaction, and what it wrote is durable when it returns. The state machine:

        queued ⇄ running → done | failed
          └────────┴─────→ cancelled

    `claim` takes the lease, `release`, `finish`, `fail` and `take_over` end it, and so does `cancel`. A verb that takes a
    lease changes nothing unless the job is running under that very lease and it has not expired.

    Events: `submit` writes `queued`; a new chunk writes a `segment` for each of its segments (data: the segment with its
    running `index`) and, when it changed, `progress` (data: `percent`); the end writes `done`, `failed` or `cancelled`.

    Deliveries: the end of a job with a `webhook_url` makes one, due at once, in the same transaction. A `webhook_url` of a job
    that `tells_of_models` is kept, also when the job is purged: each announcement makes a delivery to every such address.

    Raises:
        StoreUnavailable: By every verb: the disk is full or read-only, the database is away or damaged; says what to do.
    """

    async def take_over(self, cluster: str = "", *, after: int | None = None) -> int:
        """
        Become the one that leads: gives a new epoch, and queues again whatever ran under older ones.

        Jobs keep their checkpoints, their place in the queue, and the count of their attempts, but for those that nobody had
        begun. Nothing waits any longer for an instant that an older leader gave (`not_before`, a delivery's next attempt): its
        clock may have been wrong.

        Args:
            after: Only if this is the epoch still.

        Raises:
            Superseded: It is not.
        """
        ...

    async def ask(self, cluster: str, *, ready: bool) -> Leadership:
        """Ask for a sign of the leader's life, and perhaps for the lead: see `leadership.asked`, whose outcome it gives."""
        ...

    async def answer(self, epoch: int) -> Leadership:
        """
        Tell those who asked that the leader lives, which writes nothing if nobody did.

        Raises:
            Superseded: As `claim`.
        """
        ...

    async def resign(self, epoch: int) -> None:
        """
        Let go of the lead.

        Raises:
            Superseded: As `claim`.
        """
        ...

    async def submit(self, new: NewJob) -> Submitted:
        """
        Accept a job.

        Raises:
            IdempotencyMismatch: The owner used the key before, or somebody else the id, for something else.
        """
        ...

    async def was_submitted(self, key: str, owner: str) -> bool:
        """Whether there is a job that the owner submitted under this idempotency key."""
        ...

    async def get(self, job_id: str, owner: Owner = None) -> Job:
        """
        Raises:
            JobNotFound: There is none, or it is somebody else's.
        """
        ...

    async def page(self, query: JobQuery, owner: Owner = None) -> JobPage:
        """
        Jobs newest first.

        Raises:
            InvalidRequest: The cursor is none of ours.
        """
        ...

    async def chunks(self, job_id: str) -> tuple[ChunkTranscribed, ...]:
        """The checkpoints, by start, then channel."""
        ...

    async def claim(self, epoch: int, *, lease_s: float, only: Priority | None = None) -> Claim | None:
        """
        Lease the job that is next: by priority, then by turn of its owner, then by age; None when nothing is due.

        Fair by start-time fair queueing (Goyal, Vin, Cheng 1996): each job of an owner gets a turn one after the last one's,
        but not before the turn that is served now, so a thousand jobs of one owner do not starve another's one.

        Raises:
            Superseded: Another Coordinator has taken over.
        """
        ...

    async def extend(self, lease: Lease, *, lease_s: float) -> Lease:
        """
        Raises:
            LeaseLost: The job ended, or somebody else may own it.
        """
        ...

    async def record(self, lease: Lease, *steps: Step) -> None:
        """
        Keep steps of an attempt, all or none; `TranscriptionFinished` ends the job as done.

        Raises:
            LeaseLost: As `extend`.
        """
        ...

    async def release(
        self,
        lease: Lease,
        *,
        not_before: datetime | None = None,
        waiting_for: WaitingFor | None = None,
        error: JobError | None = None,
        excused: bool = False,
    ) -> None:
        """
        Queue the job again at its old place.

        Args:
            not_before: It is not claimed sooner.
            error: What the attempt died of.
            excused: It ended through no fault of the job, and does not count.

        Raises:
            LeaseLost: As `extend`.
        """
        ...

    async def fail(self, lease: Lease, error: JobError, *, excused: bool = False) -> None:
        """
        End a job that will never work.

        Args:
            excused: Nobody began to work on it under this lease, which does not count as an attempt.

        Raises:
            LeaseLost: As `extend`.
        """
        ...

    async def cancel(self, job_id: str, owner: Owner = None) -> Job:
        """End a job that is queued or running; one that has ended stays as it is.

        Raises:
            JobNotFound: As `get`.
        """
        ...

    async def purge(self, job_id: str, owner: Owner = None) -> StoredMedia | None:
        """
        Delete a job with all that belongs to it, cancelling it first.

        Gives its audio, for the caller to delete, unless another job refers to it.

        Raises:
            JobNotFound: As `get`.
        """
        ...

    async def was_extended(self, lease: Lease) -> bool:
        """Whether the job still runs under this lease, and somebody has begun with it."""
        ...

    async def requeue_expired(self) -> Sequence[Lease]:
        """
        Queue again the jobs whose lease has expired; gives those leases.

        An attempt that nobody extended does not count: no runner had it yet, as when the Pipeline is late.
        """
        ...

    async def next_due_at(self) -> datetime | None:
        """When the first queued job becomes due, or the first lease expires."""
        ...

    async def stats(self, owner: Owner = None) -> QueueStats: ...

    async def events(self, job_id: str, *, after_seq: int, limit: int) -> Sequence[Event]:
        """What happened after an event, in order."""
        ...

    # Retention.

    async def spent_media(self, *, kept: timedelta, limit: int) -> Sequence[tuple[str, StoredMedia]]:
        """Audio that no job needs which did not end longer ago: job id and where it lies."""
        ...

    async def forget_media(self, job_id: str) -> None:
        """The audio is gone."""
        ...

    async def forget_text(self, job_id: str) -> None:
        """Delete what was said: the chunks, and the events of kind `segment`; the job stays, `forgotten`."""
        ...

    async def ended_before(self, kept: timedelta, *, limit: int, forgotten: bool = True) -> Sequence[str]:
        """Ids of jobs that ended longer ago; without those that are `forgotten` if so asked."""
        ...

    async def holds(self, media: StoredMedia) -> bool:
        """Whether a job refers to this audio."""
        ...

    # Webhooks.

    async def deliveries(self, job_id: str, owner: Owner = None) -> Sequence[Delivery]:
        """
        Raises:
            JobNotFound: As `get`.
        """
        ...

    async def due_deliveries(self, epoch: int, *, limit: int) -> Sequence[Delivery]:
        """
        Pending ones whose time has come, oldest first.

        Raises:
            Superseded: As `claim`.
        """
        ...

    async def update_delivery(self, tried: Delivery, outcome: Delivery) -> None:
        """
        Keep what became of a delivery by an attempt.

        Args:
            tried: As it was before the attempt.

        One that was purged, or ended, or was sent again by hand meanwhile, stays as it is, which is no error. An address that
        answers an announcement by 410 hears of no other, until it is given again.
        """
        ...

    async def announce(self, announcement: Announcement, epoch: int) -> bool:
        """
        Make a delivery to each address that is kept, due at once; False if the model's last announcement was the same news.

        Of a model that was never announced, `MODEL_UNLOADED` is no news.

        Raises:
            Superseded: As `claim`.
        """
        ...

    async def forget_announcements(self, kept: timedelta) -> None:
        """Delete deliveries of announcements that were made longer ago, whatever became of them."""
        ...

    async def forget_addresses(self) -> None:
        """Delete all addresses that hear of models, and all deliveries of announcements."""
        ...

    async def resend(self, job_id: str, delivery_id: str, owner: Owner = None) -> Delivery:
        """
        Make a delivery pending and due at once, with its attempts counted anew.

        Raises:
            JobNotFound: There is no such job, or no such delivery of it.
        """
        ...

    async def close(self) -> None: ...


class AttemptRecorder(Protocol):
    """Where a runner writes; every call says whether it still may."""

    async def record(self, lease: Lease, *steps: Step) -> None:
        """
        Raises:
            LeaseLost: Stop; nothing was written.
        """
        ...

    async def extend(self, lease: Lease) -> None:
        """
        Still at work.

        Raises:
            LeaseLost: As `record`.
        """
        ...


class JobRunner(Protocol):
    """Works on one attempt to its end, writing to an `AttemptRecorder`. Cancelling the call stops the work."""

    async def run(self, claim: Claim) -> None:
        """
        Raises:
            LeaseLost: Somebody cancelled the job or took it over.
            MediaError, InvalidRequest, ModelNotFound, ModelLoadFailed: Trying again would not help.
            ModelNotReady, OutOfMemory: It is too early.
            RecognizerUnavailable, MediaUnavailable: A process died, or a server did not answer.
        """
        ...


class Jobs(Protocol):
    """All that the HTTP layer knows of jobs. Reading and writing are as the store's verbs of the same names."""

    async def submit(self, new: NewJob) -> Submitted: ...

    async def was_submitted(self, key: str, owner: str) -> bool: ...

    async def get(self, job_id: str, owner: Owner) -> JobDetails: ...

    async def page(self, query: JobQuery, owner: Owner) -> JobPage: ...

    async def cancel(self, job_id: str, owner: Owner) -> JobDetails: ...

    async def purge(self, job_id: str, owner: Owner) -> None: ...

    def events(self, job_id: str, owner: Owner, *, after_seq: int) -> AsyncGenerator[Event, None]:
        """
        The past first, then what happens, for a slice of some seconds or until the job's last event.

        A slice that ends without a last event is to be followed by another from the last `seq`: an endless call would keep
        its replica from draining.

        Raises:
            JobNotFound: As the store's `get`.
        """
        ...

    async def deliveries(self, job_id: str, owner: Owner) -> Sequence[Delivery]: ...

    async def resend(self, job_id: str, delivery_id: str, owner: Owner) -> Delivery: ...

    async def stats(self) -> QueueStats: ...


class UrlFetcher(Protocol):
    """Brings remote audio into the media store, within limits, and from public addresses only."""

    def check(self, url: str) -> None:
        """
        What can be said without the network.

        Raises:
            InvalidRequest: The URL is malformed, of another scheme, or names a forbidden address.
        """
        ...

    async def fetch(self, url: str) -> tuple[StoredMedia, int]:
        """
        Where the audio lies now, and its size in bytes.

        Raises:
            InvalidAudio: There is nothing to fetch (404, 403, …), or the address is forbidden.
            AudioTooLarge: It is larger than is allowed.
            RemoteUnavailable: The server failed, or is away; try again.
            MediaUnavailable: The store that is to keep it is away, or full.
        """
        ...


Sleep = Callable[[float], Awaitable[None]]
