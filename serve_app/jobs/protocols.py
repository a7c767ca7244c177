"""The seams of the jobs: who works on them, and what the HTTP layer sees. Who keeps them is in `store`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

from serve_app.jobs.job import (
    Claim,
    Delivery,
    Event,
    JobDetails,
    JobPage,
    JobQuery,
    Lease,
    NewJob,
    Owner,
    QueueStats,
    Step,
    Submitted,
)
from serve_app.transcript.protocols import StoredMedia

Clock = Callable[[], datetime]
"""Aware UTC that never goes back within a process."""

Sleep = Callable[[float], Awaitable[None]]


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
