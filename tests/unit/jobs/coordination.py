"""A Coordinator's parts around an in-memory store; time stands still until a test says otherwise."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from serve_app.errors import LeaseLost
from serve_app.jobs.dispatcher import Dispatcher
from serve_app.jobs.forecast import Forecast
from serve_app.jobs.hub import Hub
from serve_app.jobs.job import Claim, Event, Job, NewJob, Priority, WaitingFor
from serve_app.jobs.protocols import Clock, JobRunner
from serve_app.jobs.retention import Retention
from serve_app.jobs.runner import AttemptRunner
from serve_app.jobs.service import JobService
from serve_app.settings import JobSettings
from serve_app.telemetry.tally import Tally
from serve_app.testing import SENTENCES, FakeClock, FakeTranscriber, InMemoryMediaStore, at_once, silent_wav
from serve_app.testing.jobs import InMemoryJobStore
from serve_app.transcript.protocols import StoredMedia
from tests.unit.jobs.examples import OPTIONS

WAV = silent_wav(30)


class NoFetcher:
    def check(self, url: str) -> None:
        raise NotImplementedError

    async def fetch(self, url: str) -> tuple[StoredMedia, int]:
        raise NotImplementedError


class Shared:
    """What outlives a Coordinator: the store, the audio, and time."""

    def __init__(
        self,
        store: Callable[[Clock], InMemoryJobStore] = InMemoryJobStore,
        media: Callable[[], InMemoryMediaStore] = InMemoryMediaStore,
    ) -> None:
        self.clock = FakeClock()
        self.store = store(self.clock.utc)
        self.media = media()


class House:
    """One Coordinator and its runner; a second one on the same `Shared` is the one that takes over."""

    def __init__(
        self,
        shared: Shared | None = None,
        *,
        before_chunk: Callable[[int], Awaitable[None]] = at_once,
        sentences: Sequence[str] = SENTENCES,
        slice_s: float = 5.0,
        **settings: Any,
    ) -> None:
        self.shared = shared or Shared()
        self.clock, self.store, self.media = self.shared.clock, self.shared.store, self.shared.media
        self.settings = JobSettings(**settings)
        self.lacking: dict[str, WaitingFor] = {}  # by model: what its chunks wait for
        self.hub = Hub()
        self.tally = Tally()
        self.dispatcher = Dispatcher(self.store, self.hub, self.settings, self.clock.utc, tally=self.tally)
        self.forecast = Forecast(self.clock.utc, self.settings.max_running)
        self.retention = Retention(self.store, self.media, self.hub, self.settings, self.clock.utc)
        self.service = JobService(
            self.store,
            self.media,
            self.hub,
            self.dispatcher,
            self.forecast,
            self.retention,
            self.settings,
            self.clock.utc,
            slice_s=slice_s,
            waiting_for=self.lacking.get,
            tally=self.tally,
        )
        self.transcriber = FakeTranscriber(sentences, before_chunk=before_chunk, read=self.media.read)
        self.runner = AttemptRunner(self.transcriber, self.service, NoFetcher(), heartbeat_s=1, linger_s=0, sleep=never)

    async def submit(self, owner: str = "", priority: Priority = Priority.INTERACTIVE, **more: Any) -> str:
        new = await self.new_job(owner, priority, **more)
        await self.service.submit(new)
        return new.job_id

    async def new_job(self, owner: str = "", priority: Priority = Priority.INTERACTIVE, **more: Any) -> NewJob:
        """A job that is not submitted yet; its audio is stored."""
        media = await self.media.save(_blocks())
        return NewJob(str(uuid.uuid4()), owner, media, OPTIONS, len(WAV), priority, **more)

    async def job(self, job_id: str) -> Job:
        return await self.store.get(job_id)

    @asynccontextmanager
    async def dispatching(self, runner: JobRunner | None = None) -> AsyncIterator[None]:
        task = asyncio.create_task(self.dispatcher.run(await self.store.take_over(), runner or self.runner))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def follow(self, job_id: str, after_seq: int = 0) -> list[Event]:
        """The events to the end of the job."""
        async with aclosing(self.service.events(job_id, None, after_seq=after_seq)) as events:
            return [event async for event in events]

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.dispatcher.wake()
        await settled()


class ScriptedRunner(JobRunner):
    """
    Takes claims and ends them as it is told.

    Attributes:
        claims: What it was given, in order.
        cancelled: Jobs whose attempt was cancelled.
    """

    def __init__(self, *outcomes: Exception | None) -> None:
        """
        Args:
            outcomes: Of the first attempts, in order, None for losing the lease; those after them stay until cancelled.
        """
        self.claims: list[Claim] = []
        self.cancelled: list[str] = []
        self._outcomes = list(outcomes)

    @property
    def jobs(self) -> list[str]:
        return [claim.lease.job_id for claim in self.claims]

    async def run(self, claim: Claim) -> None:
        self.claims.append(claim)
        if self._outcomes:
            raise self._outcomes.pop(0) or LeaseLost(claim.lease.job_id)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(claim.lease.job_id)
            raise


class Gate:
    """Stops a transcription before a chunk until it is opened."""

    def __init__(self, index: int) -> None:
        self._index = index
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()

    def open(self) -> None:
        self._opened.set()

    async def __call__(self, index: int) -> None:
        if index == self._index:
            self.reached.set()
            await self._opened.wait()


async def settled() -> None:
    """Let everything go on that can without time passing."""
    for _ in range(50):
        await asyncio.sleep(0)


async def never(_: float) -> None:
    await asyncio.Event().wait()


async def _blocks() -> AsyncGenerator[bytes, None]:
    yield WAV
