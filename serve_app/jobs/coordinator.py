"""The owner of the job store: opens it, and runs what keeps the jobs going."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field

import httpx

from serve_app.errors import CoordinatorUnavailable, RayscribeError, StoreUnavailable, Superseded
from serve_app.jobs.dispatcher import Dispatcher
from serve_app.jobs.election import Candidate
from serve_app.jobs.forecast import Forecast
from serve_app.jobs.hub import ENDED, Hub
from serve_app.jobs.job import Announcement, JobDetails, WaitingFor
from serve_app.jobs.lookout import LOOK_S, Lookout
from serve_app.jobs.protocols import Clock, JobRunner, Sleep
from serve_app.jobs.rendering import job_object
from serve_app.jobs.retention import Retention
from serve_app.jobs.service import JobService
from serve_app.jobs.store import JobStore
from serve_app.jobs.store.deliveries import AnnouncementStore
from serve_app.jobs.webhooks import Deliverer
from serve_app.settings import JobSettings, WebhookSettings
from serve_app.telemetry.tally import Tally
from serve_app.transcript.protocols import MediaStore
from serve_app.transcript.render import to_json

logger = logging.getLogger(__name__)


async def always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Parts:
    """
    What a Coordinator works with.

    Attributes:
        request_media: As Retention's `requests`.
        tally: Where this process counts.
        announcements: The turns of models, from now on; asked for only where webhooks tell of them.
    """

    open_store: Callable[[], Awaitable[JobStore]]
    media: MediaStore
    runner: JobRunner
    settings: JobSettings
    webhooks: WebhookSettings
    webhook_secret: str | None  # None leaves webhooks unsigned
    client: httpx.AsyncClient  # for webhooks
    clock: Clock
    request_media: MediaStore | None = None
    open_again_s: float = 5.0  # after the store could not be opened
    cluster: str = ""  # the same for all Coordinators of one cluster
    is_ready: Callable[[], Awaitable[bool]] = always  # as Candidate's
    look_s: float = 5.0  # as Candidate's
    sleep: Sleep = asyncio.sleep  # between looks
    lookout_s: float = LOOK_S  # as Lookout's look_s
    waiting_for: Callable[[str], WaitingFor | None] = lambda model_id: None  # as JobService's
    announcements: Callable[[], AsyncGenerator[Announcement, None]] | None = None
    tally: Tally = field(default_factory=Tally)

    @property
    def tells_of_models(self) -> bool:
        """Under zero retention no address is kept to be told."""
        return self.webhooks.lifecycle_webhooks and not self.settings.zero_retention


class Coordinator:
    """
    Keeps a `JobService` going from `start` to `close`.

    Where others share its store, one of them leads: gives jobs to runners, delivers, and announces. The rest stand by, which
    does all else, so that it makes no difference to clients which of them they reach.

    A store that cannot be opened does not keep it from starting, because synchronous transcription needs no store: it says
    what is wrong to whoever asks about jobs, and tries again.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._service: JobService | None = None
        self._why_not: RayscribeError = CoordinatorUnavailable("The jobs are being opened; try again.", retry_after_s=2)
        self._running: asyncio.Task[None] | None = None
        self._leaves_for_good = False

    def start(self) -> None:
        # A context of its own: Serve cancels whatever was started in the context of a request that is cancelled.
        self._running = asyncio.create_task(self._run(), context=contextvars.Context())

    async def close(self, *, for_good: bool = False) -> None:
        """
        Queue again what runs, and let go of the lead and of the store.

        Args:
            for_good: The whole cluster ends: another one need not wait whether this one comes back.
        """
        running, self._running = self._running, None
        if running:
            self._leaves_for_good = for_good
            self._service = None
            self._why_not = CoordinatorUnavailable("The service ends; try again.", retry_after_s=2)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    @property
    def jobs(self) -> JobService:
        """
        Raises:
            StoreUnavailable: It could not be opened; says what to do.
            CoordinatorUnavailable: It is being opened, or is closed.
        """
        if self._service is None:
            raise self._why_not
        return self._service

    def check(self) -> None:
        """
        Raises:
            BaseException: What ended the work before `close`; only a new process helps.
        """
        if self._running and self._running.done():
            self._running.result()

    async def _run(self) -> None:
        store = await self._open()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            stack.push_async_callback(self._parts.client.aclose)
            await self._work(store)

    async def _open(self) -> JobStore:
        while True:
            try:
                return await self._parts.open_store()
            except RayscribeError as error:
                logger.error("the job store cannot be opened: %s", error.message)
                self._why_not = error
            await asyncio.sleep(self._parts.open_again_s)

    async def _work(self, store: JobStore) -> None:
        parts, settings, hub = self._parts, self._parts.settings, Hub()
        dispatcher = Dispatcher(store, hub, settings, parts.clock, tally=parts.tally)
        retention = Retention(store, parts.media, hub, settings, parts.clock, requests=parts.request_media)
        forecast = Forecast(parts.clock, settings.max_running)
        self._service = JobService(
            store,
            parts.media,
            hub,
            dispatcher,
            forecast,
            retention,
            settings,
            parts.clock,
            waiting_for=parts.waiting_for,
            tells_of_models=parts.tells_of_models,
            tally=parts.tally,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(retention.run())
            tasks.create_task(Lookout(store, hub, look_s=parts.lookout_s).run())
            tasks.create_task(self._stand(store, hub, dispatcher))

    async def _stand(self, store: JobStore, hub: Hub, dispatcher: Dispatcher) -> None:
        """Lead whenever it is this Coordinator's turn."""
        parts = self._parts
        candidate = Candidate(store, parts.cluster, parts.is_ready, look_s=parts.look_s, sleep=parts.sleep)
        while True:
            epoch = await candidate.elected()
            try:
                await self._lead(candidate, epoch, store, hub, dispatcher)
            finally:
                with contextlib.suppress(Superseded, StoreUnavailable):
                    await store.resign(epoch, for_good=self._leaves_for_good)

    async def _lead(self, candidate: Candidate, epoch: int, store: JobStore, hub: Hub, dispatcher: Dispatcher) -> None:
        parts = self._parts
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(dispatcher.run(epoch, parts.runner)),
                tasks.create_task(self._deliver(store, hub, epoch)),
            ]
            if parts.announcements and parts.tells_of_models:
                work.append(tasks.create_task(self._announce(parts.announcements(), store, hub, epoch)))
            await candidate.deposed(epoch)
            for task in work:
                task.cancel()

    async def _deliver(self, store: JobStore, hub: Hub, epoch: int) -> None:
        async def body_of(job_id: str) -> bytes:
            details = JobDetails(await store.get(job_id), await store.chunks(job_id))
            return to_json(job_object(details)).encode()

        parts = self._parts
        deliverer = Deliverer(
            store,
            body_of,
            parts.client,
            secret=parts.webhook_secret,
            settings=parts.webhooks,
            clock=parts.clock,
            tally=parts.tally,
        )
        with contextlib.suppress(Superseded):
            await deliverer.run(epoch, hub)

    async def _announce(
        self, announcements: AsyncGenerator[Announcement, None], store: AnnouncementStore, hub: Hub, epoch: int
    ) -> None:
        with contextlib.suppress(Superseded):
            async with contextlib.aclosing(announcements):
                async for announcement in announcements:
                    await self._announce_one(announcement, store, epoch)
                    hub.ring(ENDED)

    async def _announce_one(self, announcement: Announcement, store: AnnouncementStore, epoch: int) -> None:
        while True:
            try:
                await store.announce(announcement, epoch)
                return
            except StoreUnavailable as error:
                logger.warning("%s is not announced yet: %s", announcement.news, error.message)
            await asyncio.sleep(self._parts.open_again_s)
