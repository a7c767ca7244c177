"""Pulls of weights that clients asked for."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor

from serve_app.errors import RayscribeError
from serve_app.models.catalogue import Catalogue
from serve_app.models.pull import PullProgress
from serve_app.models.store import Pulled
from serve_app.models.weights import pull_model
from serve_app.settings import read_hub_token

logger = logging.getLogger(__name__)

AT_ONCE = 2  # others wait for their turn
TELL_S = 1.0


class Pull:
    """
    One pull, for however many clients.

    Attributes:
        progress: How far it is; all zero until the hub has told.
    """

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping
        self.progress = PullProgress(0, 0)
        self.stop = threading.Event()
        self.ended: asyncio.Future[Pulled]

    def tell(self, progress: PullProgress) -> None:
        """Called by the thread that downloads."""
        self.progress = progress
        if self._stopping():
            self.stop.set()

    async def ends_within(self, seconds: float) -> bool:
        """
        Whether it is over by then.

        Raises:
            InvalidRequest, PullFailed: As `pull_model`.
        """
        await asyncio.wait({self.ended}, timeout=seconds)
        if self.ended.done():
            self.ended.result()
        return self.ended.done()

    async def follow(self) -> AsyncGenerator[PullProgress, None]:
        """
        How far it is, now and again, until it has ended well.

        Raises:
            InvalidRequest, PullFailed: As `pull_model`.
        """
        while not await self.ends_within(TELL_S):
            yield self.progress
        yield self.progress


class Pulls:
    """
    The pulls of this process. They go on when clients go away, and whoever asks for the same model joins in.

    Args:
        stopping: Whether the process is about to stop; what came is then kept for the next pull.
    """

    def __init__(self, catalogue: Catalogue, stopping: Callable[[], bool]) -> None:
        self._catalogue = catalogue
        self._stopping = stopping
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pull")
        self._running: dict[str, Pull] = {}

    def begin(self, name: str) -> Pull:
        """Of a model that is being pulled already, the same."""
        model_id = self._model_id(name)
        if model_id not in self._running:
            self._running[model_id] = self._started(model_id)
        return self._running[model_id]

    async def stop(self, name: str) -> None:
        """End the pull of a model, if there is one, within some megabytes."""
        if pull := self._running.get(self._model_id(name)):
            pull.stop.set()
            await asyncio.wait({pull.ended})

    def _started(self, model_id: str) -> Pull:
        pull = Pull(self._stopping)

        def ended(future: asyncio.Future[Pulled]) -> None:
            del self._running[model_id]
            if isinstance(error := future.exception(), RayscribeError):
                logger.warning("a pull has failed: %s", error.message)

        pull.ended = asyncio.get_running_loop().run_in_executor(self._threads, self._run, model_id, pull)
        pull.ended.add_done_callback(ended)
        return pull

    def _run(self, model_id: str, pull: Pull) -> Pulled:
        token = read_hub_token(self._catalogue.settings.hub)
        return pull_model(self._catalogue, model_id, token=token, tell=pull.tell, stop=pull.stop)

    def _model_id(self, name: str) -> str:
        return self._catalogue.resolve(name) or name
