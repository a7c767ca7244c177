"""What the HTTP layer is given, and how its routes get at it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from serve_app.api.limits import RequestLimiter
from serve_app.jobs.clock import wall_clock
from serve_app.jobs.protocols import Clock, Jobs, Sleep, UrlFetcher
from serve_app.models.catalogue import Catalogue
from serve_app.models.protocols import Models
from serve_app.settings import ApiKey, Settings
from serve_app.telemetry.tally import Tally
from serve_app.telemetry.totals import TotalKeeper, Totals
from serve_app.transcript.protocols import MediaStore, Transcriber


async def always_ready() -> bool:
    return True


@dataclass(frozen=True)
class Services:
    """The parts behind the HTTP layer; whoever composes the application makes them."""

    settings: Settings
    transcriber: Transcriber
    media_store: MediaStore
    api_keys: Callable[[], Sequence[ApiKey]] = tuple
    """Asked at every request, so that a key that was taken back stops working; empty means that no key is needed."""
    local_only: bool = False
    """It is for this machine and needs no key: what browsers bring from elsewhere is refused."""
    ready: Callable[[], Awaitable[bool]] = always_ready
    """Whether the models to preload are in."""
    clock: Callable[[], float] = time.monotonic
    """Seconds, from any start."""
    heartbeat_s: float = 15.0
    """A silent stream says that it is alive this often."""
    jobs: Jobs | None = None
    """None: this service keeps no jobs."""
    job_media: MediaStore | None = None
    """Where the audio of jobs lies until they end; `media_store` if None."""
    fetcher: UrlFetcher | None = None
    """Checks the addresses that clients give; None refuses jobs with a `url`."""
    now: Clock = wall_clock
    """Aware UTC."""
    sleep: Sleep = asyncio.sleep
    models: Models | None = None
    """States of models, and who loads and unloads them; None: this service does not know them."""
    tally: Tally = field(default_factory=Tally)
    """Where this process counts."""
    total_keeper: TotalKeeper | None = None
    """Where the counts of all processes come together; None: this is the only one."""
    in_progress_elsewhere: Callable[[], Awaitable[int]] | None = None
    """Requests in progress in all processes that serve HTTP; None: this is the only one."""

    @cached_property
    def counts(self) -> TotalKeeper:
        return self.total_keeper or Totals(self.tally)

    @cached_property
    def catalogue(self) -> Catalogue:
        """The models that can be named."""
        return Catalogue(self.settings)


# Dependencies that await nothing are async all the same: FastAPI calls each other one in a thread, and on a busy machine a request
# waits for every thread to get a processor.


async def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


async def request_limiter(request: Request) -> RequestLimiter:
    found: RequestLimiter = request.app.state.limiter
    return found


async def jobs(services: Annotated[Services, Depends(services)]) -> Jobs:
    """
    Raises:
        HTTPException: 404: this service keeps no jobs.
    """
    if services.jobs is None:
        raise HTTPException(404, "This service keeps no jobs.")
    return services.jobs


async def models(services: Annotated[Services, Depends(services)]) -> Models:
    """
    Raises:
        HTTPException: 404: nobody here knows the states of models.
    """
    if services.models is None:
        raise HTTPException(404, "This service does not load and unload models on request.")
    return services.models


ServicesDep = Annotated[Services, Depends(services)]
LimiterDep = Annotated[RequestLimiter, Depends(request_limiter)]
JobsDep = Annotated[Jobs, Depends(jobs)]
ModelsDep = Annotated[Models, Depends(models)]
