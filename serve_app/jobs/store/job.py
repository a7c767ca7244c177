"""What a store does with one job for several of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from serve_app.jobs.job import Delivery, Job, Owner
from serve_app.transcript.protocols import StoredMedia
from serve_app.transcript.types import ChunkTranscribed


class JobReader(Protocol):
    """One job, with what belongs to it."""

    async def get(self, job_id: str, owner: Owner = None) -> Job:
        """
        Raises:
            JobNotFound: There is none, or it is somebody else's.
        """
        ...

    async def chunks(self, job_id: str) -> tuple[ChunkTranscribed, ...]:
        """The checkpoints, by start, then channel."""
        ...

    async def deliveries(self, job_id: str, owner: Owner = None) -> Sequence[Delivery]:
        """
        Raises:
            JobNotFound: As `get`.
        """
        ...


class JobRemover(Protocol):
    """The end of a job, and of its audio."""

    async def purge(self, job_id: str, owner: Owner = None) -> StoredMedia | None:
        """
        Delete a job with all that belongs to it, cancelling it first.

        Gives its audio, for the caller to delete, unless another job refers to it.

        Raises:
            JobNotFound: As `get`.
        """
        ...

    async def holds(self, media: StoredMedia) -> bool:
        """Whether a job refers to this audio."""
        ...
