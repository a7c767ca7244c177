"""The whole service on a loopback port: real routes and real jobs, with stand-ins for model, store and media."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from fastapi import FastAPI

from tests.loopback import serving
from tests.service.api.conftest import SETTINGS
from tests.service.api.job_house import House

LIMIT_BYTES = SETTINGS.limits.max_upload_bytes


class ServedHouse(House):
    """
    Attributes:
        gate: Closed, transcriptions wait before their second chunk.
    """

    def __init__(self, data_dir: Path, *, key: str = "") -> None:
        self.gate = Gate()
        keys = (key,) if key else ()
        super().__init__(data_dir, keys=keys, before_chunk=self.gate.wait, slice_s=0.5)

    @contextmanager
    def serving(self) -> Iterator[str]:
        app = self.app
        app.router.lifespan_context = self._lifespan
        with serving(app) as url:
            yield url

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        async with self.dispatching():
            yield


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
