"""What a store does for the one who gives jobs to runners."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from serve_app.jobs.job import Claim, JobError, Lease, Priority, WaitingFor


class QueueStore(Protocol):
    async def claim(self, epoch: int, *, lease_s: float, only: Priority | None = None) -> Claim | None:
        """
        Lease the job that is next: by priority, then by turn of its owner, then by age; None when nothing is due.

        Fair by start-time fair queueing (Goyal, Vin, Cheng 1996): each job of an owner gets a turn one after the last one's,
        but not before the turn that is served now, so a thousand jobs of one owner do not starve another's one.

        Raises:
            Superseded: Another Coordinator has taken over.
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
            LeaseLost: The job ended, or somebody else may own it.
        """
        ...

    async def fail(self, lease: Lease, error: JobError, *, excused: bool = False) -> None:
        """
        End a job that will never work.

        Args:
            excused: Nobody began to work on it under this lease, which does not count as an attempt.

        Raises:
            LeaseLost: The job ended, or somebody else may own it.
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
