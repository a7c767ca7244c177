"""What a store does for clients and for runners, who all come through the `JobService`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from serve_app.jobs.job import (
    Delivery,
    Event,
    Job,
    JobPage,
    JobQuery,
    Lease,
    NewJob,
    Owner,
    QueueStats,
    Step,
    Submitted,
)
from serve_app.jobs.store.job import JobReader, JobRemover


class ServiceStore(JobReader, JobRemover, Protocol):
    # For clients.

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

    async def page(self, query: JobQuery, owner: Owner = None) -> JobPage:
        """
        Jobs newest first.

        Raises:
            InvalidRequest: The cursor is none of ours.
        """
        ...

    async def events(self, job_id: str, *, after_seq: int, limit: int) -> Sequence[Event]:
        """What happened after an event, in order."""
        ...

    async def cancel(self, job_id: str, owner: Owner = None) -> Job:
        """
        End a job that is queued or running; one that has ended stays as it is.

        Raises:
            JobNotFound: As `get`.
        """
        ...

    async def resend(self, job_id: str, delivery_id: str, owner: Owner = None) -> Delivery:
        """
        Make a delivery pending and due at once, with its attempts counted anew.

        Raises:
            JobNotFound: There is no such job, or no such delivery of it.
        """
        ...

    async def stats(self) -> QueueStats: ...

    # For runners.

    async def extend(self, lease: Lease, *, lease_s: float) -> None:
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
