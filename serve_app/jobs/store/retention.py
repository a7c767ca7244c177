"""What a store does for those who delete what is no longer to be kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from serve_app.jobs.store.job import JobReader, JobRemover
from serve_app.transcript.protocols import StoredMedia


class RetentionStore(JobReader, JobRemover, Protocol):
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

    async def forget_announcements(self, kept: timedelta) -> None:
        """Delete deliveries of announcements that were made longer ago, whatever became of them."""
        ...

    async def forget_addresses(self) -> None:
        """Delete all addresses that hear of models, and all deliveries of announcements."""
        ...
