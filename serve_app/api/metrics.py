"""`GET /metrics`: the whole cluster for Prometheus, whichever Gateway answers, and whatever is wrong behind it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from serve_app import __version__
from serve_app.api.auth import authorise
from serve_app.api.documents import SECURITY_OF_ALL, TEXT, errors
from serve_app.api.gauges import Reading, of_jobs, of_models, readings
from serve_app.api.services import Services, ServicesDep
from serve_app.errors import StoreUnavailable
from serve_app.jobs.job import QueueStats
from serve_app.models.types import ClusterModels
from serve_app.telemetry import metrics
from serve_app.telemetry.exposition import CONTENT_TYPE, exposition
from serve_app.telemetry.tally import Counts

T = TypeVar("T")

logger = logging.getLogger(__name__)

router = APIRouter(tags=["system"])

KEPT_S = 1.0  # however many scrape, the Coordinator is asked no more often
ASKING_S = 1.0


class Scraper:
    """Asks the Coordinator, and keeps what it last said for while it is away."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._asking = asyncio.Lock()
        self._asked_s: float | None = None
        self._is_up = False
        self._has_store: bool | None = None
        self._counts: Counts | None = None
        self._stats: QueueStats | None = None
        self._models: ClusterModels | None = None

    async def scrape(self) -> bytes:
        """In Prometheus' text format, of the last second while the Coordinator answers at once."""
        async with self._asking:
            if self._asked_s is None or self._services.clock() - self._asked_s >= KEPT_S:
                await asyncio.gather(self._ask_counts(), self._ask_jobs(), self._ask_models())
                # Once they are done: whoever waited meanwhile is told what they brought, also if that took all its time.
                self._asked_s = self._services.clock()
        return exposition(self._counts, readings([*self._readings()]))

    async def _ask_counts(self) -> None:
        counts = await _answer("counts", self._services.counts.totals)
        self._is_up = counts is not None
        self._counts = self._counts if counts is None else counts

    async def _ask_jobs(self) -> None:
        if self._services.jobs is None:
            return
        try:
            stats = await _answer("jobs", self._services.jobs.stats)
        except StoreUnavailable:
            self._has_store = False
            return
        if stats is not None:
            self._stats, self._has_store = stats, True

    async def _ask_models(self) -> None:
        if self._services.models is not None:
            self._models = await _answer("models", self._services.models.status) or self._models

    def _readings(self) -> Iterator[Reading]:
        yield metrics.BUILD, (__version__,), 1
        yield metrics.COORDINATOR_UP, (), self._is_up
        if self._has_store is not None:
            yield metrics.STORE_UP, (), self._has_store
        if self._stats is not None:
            yield from of_jobs(self._stats, self._services.now())
        if self._models is not None:
            yield from of_models(self._models)


async def _answer(what: str, ask: Callable[[], Awaitable[T]]) -> T | None:
    """
    None if the Coordinator does not say.

    Raises:
        StoreUnavailable: It says that the store is away.
    """
    try:
        async with asyncio.timeout(ASKING_S):
            return await ask()
    except StoreUnavailable:
        raise
    except Exception as error:
        logger.warning("metrics are shown as they last were, without %s: %s", what, type(error).__name__)
        return None


async def may_scrape(request: Request, services: ServicesDep) -> None:
    """
    Raises:
        InvalidApiKey: The settings ask for a key, and it came with none.
    """
    if services.settings.auth.metrics == "key":
        await authorise(request, services)


async def scraper(request: Request) -> Scraper:
    found: Scraper = request.app.state.scraper
    return found


@router.get(
    "/metrics",
    dependencies=[Depends(may_scrape)],
    response_class=Response,
    openapi_extra=SECURITY_OF_ALL,
    responses={200: {"content": {"text/plain": TEXT}, "description": "Prometheus' text format"}, **errors(401)},
)
async def scrape(scraper: Annotated[Scraper, Depends(scraper)]) -> Response:
    """Counts and states of the whole cluster, for Prometheus."""
    return Response(await scraper.scrape(), media_type=CONTENT_TYPE)
