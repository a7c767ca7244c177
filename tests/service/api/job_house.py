"""Jobs over stand-ins for model, store and media, with the real service between, and clients with several keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from serve_app.api.application import Services, create_app
from serve_app.errors import InvalidRequest
from serve_app.jobs.clock import wall_clock
from serve_app.jobs.dispatcher import Dispatcher
from serve_app.jobs.forecast import Forecast
from serve_app.jobs.hub import Hub
from serve_app.jobs.protocols import Clock, Jobs, UrlFetcher
from serve_app.jobs.retention import Retention
from serve_app.jobs.runner import AttemptRunner
from serve_app.jobs.service import JobService
from serve_app.settings import ADMIN, ApiKey, JobSettings, Settings
from serve_app.testing import SENTENCES, FakeTranscriber, InMemoryJobStore, InMemoryMediaStore, at_once
from serve_app.transcript.protocols import StoredMedia
from tests.service.api.conftest import SETTINGS, WAV, models_of_settings

KEYS = ("ada-key", "bob-key")


class FakeFetcher(UrlFetcher):
    """An internet with a recording at every address; `intranet` is none of its names."""

    def __init__(self, media: InMemoryMediaStore) -> None:
        self._media = media

    def check(self, url: str) -> None:
        if "intranet" in url:
            raise InvalidRequest("This address is not allowed.", param="url")

    async def fetch(self, url: str) -> tuple[StoredMedia, int]:
        return await self._media.save(_once(WAV)), len(WAV)


class House:
    """
    Args:
        fetcher: Makes what fetches into the store of the house.

    Attributes:
        jobs: What the routes talk to; a test may put something between.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        keys: tuple[str, ...] = (),
        admin_keys: tuple[str, ...] = (),
        sentences: Sequence[str] = SENTENCES,
        before_chunk: Callable[[int], Awaitable[None]] = at_once,
        fetcher: Callable[[InMemoryMediaStore], UrlFetcher] = FakeFetcher,
        clock: Clock = wall_clock,
        slice_s: float = 5.0,
        settings: Settings = SETTINGS,
        **jobs: Any,
    ) -> None:
        settings = settings.model_copy(update={"data_dir": str(data_dir), "jobs": JobSettings(**jobs)})
        self.media = InMemoryMediaStore()
        self.store, hub = InMemoryJobStore(clock), Hub()
        self._dispatcher = Dispatcher(self.store, hub, settings.jobs, clock)
        forecast = Forecast(clock, settings.jobs.max_running)
        retention = Retention(self.store, self.media, hub, settings.jobs, clock)
        self.service = JobService(
            self.store,
            self.media,
            hub,
            self._dispatcher,
            forecast,
            retention,
            settings.jobs,
            clock,
            slice_s=slice_s,
        )
        self.models = models_of_settings()
        self.transcriber = FakeTranscriber(sentences, before_chunk=before_chunk, read=self.media.read)
        fetching = fetcher(self.media)
        self._runner = AttemptRunner(self.transcriber, self.service, fetching, heartbeat_s=5, linger_s=0)
        self.jobs: Jobs = self.service
        self.services = Services(
            settings,
            self.transcriber,
            InMemoryMediaStore(),
            api_keys=lambda: [*map(ApiKey, keys), *(ApiKey(key, ADMIN) for key in admin_keys)],
            jobs=_Through(self),
            job_media=self.media,
            fetcher=fetching,
            now=clock,
            sleep=_hardly,
            models=self.models,
        )

    @property
    def app(self) -> FastAPI:
        return create_app(self.services)

    @asynccontextmanager
    async def client(self, key: str = "", app: FastAPI | None = None) -> AsyncIterator[httpx.AsyncClient]:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        transport = httpx.ASGITransport(app or self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service", headers=headers) as client:
            yield client

    @asynccontextmanager
    async def dispatching(self) -> AsyncIterator[None]:
        running = asyncio.create_task(self._dispatcher.run(await self.store.take_over(), self._runner))
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


class _Through:
    """The jobs of the house as they are at each call."""

    def __init__(self, house: House) -> None:
        self._house = house

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._house.jobs, verb)


async def submitted(client: httpx.AsyncClient, **fields: str) -> str:
    """A job with a short recording; its id."""
    response = await client.post("/jobs", files={"audio": ("talk.wav", WAV)}, data=fields)
    assert response.status_code == 202, response.text
    job_id: str = response.json()["job_id"]
    return job_id


async def _hardly(_: float) -> None:
    await asyncio.sleep(0)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
