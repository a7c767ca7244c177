"""Pulls of weights that clients asked for."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor

from serve_app.errors import RateLimited, RayscribeError
from serve_app.models.catalogue import Catalogue
from serve_app.models.pull import PullCancelled, PullProgress
from serve_app.models.store import Pulled
from serve_app.models.weights import check_pull, pull_model
from serve_app.settings import read_hub_token

logger = logging.getLogger(__name__)

AT_ONCE = 2
QUEUED = 8  # others wait for their turn
AGAIN_S = 60.0  # after which one may have come to its end
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
        self._stop = threading.Event()
        self._work: Future[Pulled]
        self.ended: asyncio.Future[Pulled]

    def begin(self, threads: ThreadPoolExecutor, work: Callable[[threading.Event], Pulled]) -> None:
        """As soon as there is a thread for it."""
        self._work = threads.submit(work, self._stop)
        self.ended = asyncio.wrap_future(self._work)

    async def stop(self) -> None:
        """End it: at once while it waits for its turn, else within some megabytes."""
        self._stop.set()
        self._work.cancel()
        await asyncio.wait({self.ended})

    def tell(self, progress: PullProgress) -> None:
        """Called by the thread that downloads."""
        self.progress = progress
        if self._stopping():
            self._stop.set()

    async def ends_within(self, seconds: float) -> bool:
        """
        Whether it is over by then.

        Raises:
            InvalidRequest, PullFailed: As `pull_model`.
        """
        await asyncio.wait({self.ended}, timeout=seconds)
        if self.ended.cancelled():
            raise PullCancelled("The pull was stopped before it began.", param="model")
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
        """
        Of a model that is being pulled already, the same.

        Raises:
            InvalidRequest: As `pull_model`.
            RateLimited: Too many wait for their turn.
        """
        model_id = self._model_id(name)
        if model_id not in self._running:
            check_pull(self._catalogue, name)
            if len(self._running) >= AT_ONCE + QUEUED:
                raise RateLimited(
                    f"{QUEUED} pulls wait for their turn already: try again when one of them has ended.",
                    retry_after_s=AGAIN_S,
                )
            self._running[model_id] = self._started(model_id)
        return self._running[model_id]

    async def stop(self, name: str) -> bool:
        """End the pull of a model; gives whether there was one."""
        pull = self._running.get(self._model_id(name))
        if pull is not None:
            await pull.stop()
        return pull is not None

    def _started(self, model_id: str) -> Pull:
        pull = Pull(self._stopping)

        def ended(future: asyncio.Future[Pulled]) -> None:
            del self._running[model_id]
            error = None if future.cancelled() else future.exception()
            if isinstance(error, RayscribeError):
                logger.warning("a pull has failed: %s", error.message)
            elif error is not None:
                logger.error("a pull has failed", exc_info=error)

        def run(stop: threading.Event) -> Pulled:
            token = read_hub_token(self._catalogue.settings.hub)
            return pull_model(self._catalogue, model_id, token=token, tell=pull.tell, stop=stop)

        pull.begin(self._threads, run)
        pull.ended.add_done_callback(ended)
        return pull

    def _model_id(self, name: str) -> str:
        return self._catalogue.resolve(name) or name
