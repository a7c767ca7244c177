"""The jobs as others see them: what the HTTP layer asks, and where attempts record."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from serve_app.errors import LeaseLost, MediaUnavailable, StoreUnavailable
from serve_app.jobs.dispatcher import Dispatcher
from serve_app.jobs.forecast import Forecast
from serve_app.jobs.hub import Hub
from serve_app.jobs.job import (
    Delivery,
    Event,
    Job,
    JobDetails,
    JobPage,
    JobQuery,
    Lease,
    MediaFetched,
    NewJob,
    Owner,
    QueueStats,
    Status,
    Step,
    Submitted,
    WaitingFor,
)
from serve_app.jobs.protocols import AttemptRecorder, Clock, Jobs
from serve_app.jobs.retention import Retention
from serve_app.jobs.store.service import ServiceStore
from serve_app.settings import JobSettings
from serve_app.telemetry.metrics import JOBS_ENDED, JOBS_SUBMITTED
from serve_app.telemetry.tally import Tally
from serve_app.transcript.protocols import MediaStore, StoredMedia
from serve_app.transcript.types import ChunkTranscribed, TranscriptionFinished

logger = logging.getLogger(__name__)

LAST = frozenset({"done", "failed", "cancelled"})  # kinds of the event that no other follows
SLICE_S = 10.0  # a call that lasted longer would hold up the drain of its replica
SLICE_EVENTS = 500  # what a call may give ahead of a reader who is slow
REFUSED_FOR = timedelta(seconds=30)  # a store that refused a write counts as away, unless it takes one sooner


class JobService(Jobs, AttemptRecorder):
    """
    The store's verbs, and who is to be woken by each.

    Args:
        slice_s: How long one call of `events` lasts.
        waiting_for: What chunks of a model wait for now.
        tally: Where jobs are counted as they are submitted and end.
        tells_of_models: Whether every `webhook_url` that is given hears of models from then on.
    """

    def __init__(
        self,
        store: ServiceStore,
        media: MediaStore,
        hub: Hub,
        dispatcher: Dispatcher,
        forecast: Forecast,
        retention: Retention,
        settings: JobSettings,
        clock: Clock,
        *,
        slice_s: float = SLICE_S,
        waiting_for: Callable[[str], WaitingFor | None] = lambda model_id: None,
        tells_of_models: bool = False,
        tally: Tally | None = None,
    ) -> None:
        self._store = store
        self._media = media
        self._hub = hub
        self._dispatcher = dispatcher
        self._forecast = forecast
        self._retention = retention
        self._settings = settings
        self._clock = clock
        self._refused: tuple[StoreUnavailable, datetime] | None = None
        self._slice_s = slice_s
        self._waiting_for = waiting_for
        self._tells_of_models = tells_of_models
        self._tally = tally or Tally()

    # For the HTTP layer.

    async def submit(self, new: NewJob) -> Submitted:
        with self._watched():
            submitted = await self._store.submit(replace(new, tells_of_models=self._tells_of_models))
        self._dispatcher.wake()
        self._tally.count(JOBS_SUBMITTED, by=submitted.created)
        logger.info("submitted", extra={"job_id": submitted.job.job_id})
        return replace(submitted, job=self._as_it_is(submitted.job))

    async def was_submitted(self, key: str, owner: str) -> bool:
        return await self._store.was_submitted(key, owner)

    async def get(self, job_id: str, owner: Owner) -> JobDetails:
        """
        A job and its text so far; under zero retention the text of one that has ended goes soon after.

        Raises:
            JobNotFound: As the store's `get`.
        """
        details = await self._details(await self._store.get(job_id, owner))
        if details.job.status.ended:
            self._retention.was_read(details.job)
        return details

    async def page(self, query: JobQuery, owner: Owner) -> JobPage:
        page = await self._store.page(query, owner)
        return replace(page, jobs=tuple(map(self._as_it_is, page.jobs)))

    async def cancel(self, job_id: str, owner: Owner) -> JobDetails:
        before = await self._store.get(job_id, owner)
        job = await self._store.cancel(job_id, owner)
        self._tally.count(JOBS_ENDED, Status.CANCELLED, by=not before.status.ended)
        self._stopped(job_id)
        return await self._details(job)

    async def purge(self, job_id: str, owner: Owner) -> None:
        media = await self._store.purge(job_id, owner)
        self._stopped(job_id)
        if media is not None:
            await self._delete(job_id, media)

    async def events(self, job_id: str, owner: Owner, *, after_seq: int) -> AsyncGenerator[Event, None]:
        async with contextlib.aclosing(self.event_groups(job_id, owner, after_seq=after_seq)) as groups:
            async for group in groups:
                for event in group:
                    yield event

    async def event_groups(self, job_id: str, owner: Owner, *, after_seq: int) -> AsyncGenerator[Sequence[Event], None]:
        """As `events`, those together that were read together."""
        job = await self._store.get(job_id, owner)
        if job.status.ended:
            after_seq = await self._before_the_last(job_id, after_seq)
        async with contextlib.aclosing(self._follow(job_id, after_seq)) as groups:
            async for group in groups:
                yield group
                if group[-1].kind in LAST:
                    return

    async def deliveries(self, job_id: str, owner: Owner) -> Sequence[Delivery]:
        return await self._store.deliveries(job_id, owner)

    async def resend(self, job_id: str, delivery_id: str, owner: Owner) -> Delivery:
        delivery = await self._store.resend(job_id, delivery_id, owner)
        self._hub.ring_end(job_id)
        return delivery

    async def stats(self) -> QueueStats:
        """
        Raises:
            StoreUnavailable: Also when the store can be read, but not long ago refused to be written.
        """
        if self._refused and self._clock() - self._refused[1] < REFUSED_FOR:
            raise self._refused[0]
        return await self._store.stats()

    # For runners.

    async def record(self, lease: Lease, *steps: Step) -> None:
        try:
            with self._watched():
                await self._store.record(lease, *steps)
        except LeaseLost:
            for step in steps:
                if isinstance(step, MediaFetched) and not await self._store.holds(step.media):
                    await self._delete(lease.job_id, step.media)  # purged, or cancelled, while it was fetched
            raise
        for step in steps:
            await self._recorded(lease, step)

    async def _recorded(self, lease: Lease, step: Step) -> None:
        if isinstance(step, TranscriptionFinished):
            self._tally.count(JOBS_ENDED, Status.DONE)
            logger.info("done", extra={"job_id": lease.job_id})
            self._forecast.ended(await self._store.get(lease.job_id))
            self._hub.ring_end(lease.job_id)
            return
        if isinstance(step, ChunkTranscribed):
            self._forecast.heard(lease.job_id, step.end)
        self._hub.ring(lease.job_id)

    async def extend(self, lease: Lease) -> None:
        await self._store.extend(lease, lease_s=self._settings.lease_s)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Remember whether the store takes what is written."""
        try:
            yield
        except StoreUnavailable as error:
            self._refused = error, self._clock()
            raise
        self._refused = None

    async def _details(self, job: Job) -> JobDetails:
        chunks = await self._store.chunks(job.job_id) if job.started_at else ()  # most polls are of jobs that wait
        return JobDetails(self._as_it_is(job), chunks)

    def _as_it_is(self, job: Job) -> Job:
        """With what the store does not know: what it waits for, and how long it will take."""
        if not job.status.ended:
            job = replace(job, waiting_for=self._waiting_for(job.options.decoding.model_id) or job.waiting_for)
        return replace(job, eta_s=self._forecast.eta_s(job))

    async def _delete(self, job_id: str, media: StoredMedia) -> None:
        try:
            await self._media.delete(media)
        except MediaUnavailable as error:  # nothing refers to it any more, so it will be found as an orphan
            logger.warning("job %s: its audio could not be deleted yet: %s", job_id, error.message)

    def _stopped(self, job_id: str) -> None:
        self._dispatcher.stop(job_id)
        self._forecast.forget(job_id)
        self._hub.ring_end(job_id)

    async def _follow(self, job_id: str, after_seq: int) -> AsyncGenerator[Sequence[Event], None]:
        """Events as they come, for a slice."""
        ends_at_s = asyncio.get_running_loop().time() + self._slice_s
        left = SLICE_EVENTS
        with self._hub.listen(job_id) as bell:
            while left > 0:
                limit = left
                events = await self._store.events(job_id, after_seq=after_seq, limit=limit)
                if events:
                    yield events
                    after_seq, left = events[-1].seq, left - len(events)
                left_s = ends_at_s - asyncio.get_running_loop().time()
                if left_s <= 0:
                    return
                if len(events) < limit:  # there are no more, and what came meanwhile has rung
                    await bell.wait(left_s)

    async def _before_the_last(self, job_id: str, after_seq: int) -> int:
        """Where to go on in a job that has ended, so that its last event is given even to one who says to have it."""
        for seq in (after_seq, after_seq - 1):
            if await self._store.events(job_id, after_seq=seq, limit=1):
                return seq
        return 0  # it was never that far: from the start
