"""Deletes what is no longer to be kept."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta

from serve_app.errors import JobNotFound, MediaUnavailable, StoreUnavailable
from serve_app.jobs.hub import ENDED, Hub
from serve_app.jobs.job import DeliveryStatus, Job
from serve_app.jobs.protocols import Clock
from serve_app.jobs.store.retention import RetentionStore
from serve_app.settings import JobSettings
from serve_app.transcript.protocols import MediaStore, StoredMedia

logger = logging.getLogger(__name__)

SWEEP_S = 30.0  # how long something may lie that is no longer to be kept
TIDY_S = 600.0  # how often orphans are looked for: it lists the whole media store
AT_ONCE = 100  # rows of one look
MOST_EARLIER = 100_000  # jobs looked through at the start for what was delivered; others wait for zero_retention_s
GRACE_S = 10.0  # for a reader whose connection broke, and who asks again
ORPHAN_S = 3600.0  # younger audio may belong to a request in progress, or to a job that is just being submitted


class Retention:
    """
    Sweeps at each end of a job, and now and then.

    What cannot be deleted is tried again by the next sweep.

    Args:
        requests: Where audio of requests lies while they last.
    """

    def __init__(
        self,
        store: RetentionStore,
        media: MediaStore,
        hub: Hub,
        settings: JobSettings,
        clock: Clock,
        *,
        requests: MediaStore | None = None,
    ) -> None:
        self._store = store
        self._media = media
        self._requests = requests
        self._hub = hub
        self._settings = settings
        self._clock = clock
        self._since = clock()
        self._got: dict[str, datetime] = {}  # results that somebody got, and when their text may go
        self._knows_earlier = False  # what was delivered before this process began
        hub.on_delivered(self.was_delivered)

    def was_read(self, job: Job) -> None:
        """Somebody fetched the result of a job that has ended: under zero retention its text goes soon."""
        if self._settings.zero_retention and not job.forgotten:
            self._got.setdefault(job.job_id, self._clock() + timedelta(seconds=GRACE_S))

    def was_delivered(self, job_id: str) -> None:
        """A webhook took the result of a job to its receiver: under zero retention its text goes by the next sweep."""
        if self._settings.zero_retention:
            self._got[job_id] = self._clock()

    async def run(self) -> None:
        """Sweep until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_sweeping())
            tasks.create_task(self._keep_tidying())

    async def sweep(self) -> None:
        """Delete what jobs no longer need, and jobs that are old."""
        # Text first: a media store that is away may take long to say so.
        for step in (self._spent_text, self._old_jobs, self._spent_audio):
            with _tried_again():
                await step()

    async def delete_orphans(self) -> None:
        """
        Delete audio that no job refers to: of submissions whose process died.

        Audio that is older than all that the store knows may be of jobs in a store whose place it took, so it stays. And none
        goes soon after a start: a backup that was put in place knows nothing of later jobs, and may be taken away again.
        """
        if (self._clock() - self._since).total_seconds() < ORPHAN_S:
            return
        with _tried_again():
            orphans = [m for m in await self._media.older_than(ORPHAN_S) if not await self._store.holds(m)]
            if orphans:
                earlier = set(await self._media.older_than((self._clock() - await self._known_since()).total_seconds()))
                for media in orphans:
                    if media not in earlier:
                        await self._is_deleted(media)

    async def delete_left_by_requests(self) -> None:
        """Delete audio of requests whose Gateway died; one that lasts longer has been copied by the Pipeline at its beginning."""
        if self._requests is not None:
            with _tried_again():
                for media in await self._requests.older_than(ORPHAN_S):
                    await self._requests.delete(media)

    async def forget_announcements(self) -> None:
        """Delete what was told of models long ago; under zero retention, whom to tell, too."""
        with _tried_again():
            if self._settings.zero_retention:
                await self._store.forget_addresses()
            await self._store.forget_announcements(timedelta(seconds=self._settings.keep_jobs_s))

    async def _known_since(self) -> datetime:
        """Since when the store is certain to be this one: the oldest job that has ended, or else this process."""
        for job_id in await self._store.ended_before(timedelta(0), limit=1):
            with contextlib.suppress(JobNotFound):
                return min(self._since, (await self._store.get(job_id)).created_at)
        return self._since

    async def _keep_sweeping(self) -> None:
        with self._hub.listen(ENDED) as bell:
            while True:
                await self.sweep()
                await bell.wait(GRACE_S if self._got else SWEEP_S)

    async def _keep_tidying(self) -> None:
        while True:
            await self.forget_announcements()
            await self.delete_orphans()
            await self.delete_left_by_requests()
            await asyncio.sleep(TIDY_S)

    async def _spent_audio(self) -> None:
        kept = timedelta(seconds=0.0 if self._settings.zero_retention else self._settings.keep_audio_s)
        stuck: set[str] = set()
        while spent := await self._store.spent_media(kept=kept, limit=AT_ONCE + len(stuck)):
            before = len(stuck)
            new = [(job_id, media) for job_id, media in spent if job_id not in stuck]
            for job_id, media in new:
                if await self._is_deleted(media):
                    await self._store.forget_media(job_id)
                else:
                    stuck.add(job_id)
            if len(stuck) - before == len(new):
                return  # none of them could be: the media store may be away

    async def _is_deleted(self, media: StoredMedia) -> bool:
        """Whether it could be; what could not shall not keep the rest."""
        with _tried_again():
            await self._media.delete(media)
            return True
        return False

    async def _spent_text(self) -> None:
        """Under zero retention: of results that somebody got, unless a webhook still needs it, or that waited too long."""
        if not self._settings.zero_retention:
            return
        waited = timedelta(seconds=self._settings.zero_retention_s)
        await self._each(waited, self._store.forget_text, forgotten=False)
        if not self._knows_earlier:
            await self._find_delivered()
        now = self._clock()
        for job_id in [job_id for job_id, at in self._got.items() if at <= now]:
            if not await self._has(job_id, DeliveryStatus.PENDING):
                await self._store.forget_text(job_id)
                del self._got[job_id]

    async def _find_delivered(self) -> None:
        for job_id in await self._store.ended_before(timedelta(0), limit=MOST_EARLIER, forgotten=False):
            if await self._has(job_id, DeliveryStatus.DELIVERED):
                self.was_delivered(job_id)
        self._knows_earlier = True

    async def _has(self, job_id: str, status: DeliveryStatus) -> bool:
        with contextlib.suppress(JobNotFound):
            return any(delivery.status is status for delivery in await self._store.deliveries(job_id))
        return False

    async def _old_jobs(self) -> None:
        await self._each(timedelta(seconds=self._settings.keep_jobs_s), self._purge)

    async def _each(self, kept: timedelta, delete: Callable[[str], Awaitable[None]], *, forgotten: bool = True) -> None:
        """All jobs that ended so long ago; `delete` takes them out of the next look."""
        while due := await self._store.ended_before(kept, limit=AT_ONCE, forgotten=forgotten):
            for job_id in due:
                await delete(job_id)

    async def _purge(self, job_id: str) -> None:
        with contextlib.suppress(JobNotFound):
            if media := await self._store.purge(job_id):
                await self._is_deleted(media)  # if not, nothing refers to it any more, so it will be found as an orphan


@contextlib.contextmanager
def _tried_again() -> Iterator[None]:
    try:
        yield
    except (StoreUnavailable, MediaUnavailable) as error:
        logger.warning("could not delete all that is due: %s", error.message)
