"""The whole service in one process on a loopback port: real routes and real jobs, with stand-ins for model, store and media."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from fastapi import FastAPI

from serve_app.api.application import Services, create_app
from serve_app.api.services import wall_clock
from serve_app.errors import InvalidAudio
from serve_app.jobs.dispatcher import Dispatcher
from serve_app.jobs.forecast import Forecast
from serve_app.jobs.hub import Hub
from serve_app.jobs.retention import Retention
from serve_app.jobs.runner import AttemptRunner
from serve_app.jobs.service import JobService
from serve_app.settings import LimitSettings, Settings
from serve_app.testing import FakeTranscriber, InMemoryJobStore, InMemoryMediaStore, silent_wav
from serve_app.transcript.protocols import StoredMedia
from tests.loopback import serving

LIMIT_BYTES = 400_000


class FakeFetcher:
    """The internet: a recording at every address but those that end in `.html`."""

    def __init__(self, media: InMemoryMediaStore) -> None:
        self._media = media

    def check(self, url: str) -> None:
        pass

    async def fetch(self, url: str) -> tuple[StoredMedia, int]:
        if url.endswith(".html"):
            raise InvalidAudio("There is no audio at this address.")
        wav = silent_wav(2.0)
        return await self._media.save(_blocks(wav)), len(wav)


class House:
    """
    Attributes:
        gate: Closed, transcriptions wait before their second chunk.
    """

    def __init__(self, data_dir: Path, *, key: str = "", host_limit_bytes: int = LIMIT_BYTES) -> None:
        settings = Settings(data_dir=str(data_dir), limits=LimitSettings(max_upload_bytes=host_limit_bytes))
        self.gate = Gate()
        self.media = InMemoryMediaStore()
        self.transcriber = FakeTranscriber(before_chunk=self.gate.wait, read=self.media.read)
        self.store, hub, fetcher = InMemoryJobStore(wall_clock), Hub(), FakeFetcher(self.media)
        self._dispatcher = Dispatcher(self.store, hub, settings.jobs, wall_clock)
        forecast = Forecast(wall_clock, settings.jobs.max_running)
        retention = Retention(self.store, self.media, hub, settings.jobs, wall_clock)
        jobs = JobService(
            self.store, self.media, hub, self._dispatcher, forecast, retention, settings.jobs, slice_s=0.5
        )
        self._runner = AttemptRunner(self.transcriber, jobs, fetcher, heartbeat_s=5)
        keys = frozenset({key} - {""})
        self.app = create_app(
            Services(settings, self.transcriber, self.media, api_keys=lambda: keys, jobs=jobs, fetcher=fetcher)
        )
        self.app.router.lifespan_context = self._lifespan

    @contextmanager
    def serving(self) -> Iterator[str]:
        with serving(self.app) as url:
            yield url

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(self._dispatcher.run(await self.store.take_over(), self._runner))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Gate:
    """Lets transcriptions pass until it is closed; any thread may close and open it."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.open()

    def open(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.clear()

    async def wait(self, index: int) -> None:
        if index > 0 and not self._open.is_set():
            await asyncio.to_thread(self._open.wait)


async def _blocks(data: bytes) -> AsyncIterator[bytes]:
    yield data
