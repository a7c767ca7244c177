"""Health and readiness; open without a key, because probes have none."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse

from serve_app.api.answers import Alive, DeviceMemory, Gpu, Health, Readiness
from serve_app.api.last_known import LastKnown
from serve_app.api.services import LimiterDep, Services, ServicesDep
from serve_app.errors import StoreUnavailable
from serve_app.models.types import ClusterModels, ModelState

logger = logging.getLogger(__name__)

router = APIRouter(tags=["system"])

MIN_FREE_BYTES = 1024 * 1024  # with less, no audio can be kept
ASKING_S = 1.0  # /health answers within it, whatever is wrong behind
# Probes have no key, and what the store itself says may name directories.
NO_STORE = "The job store cannot be used. The log, and the answers of /jobs, say what to do."
NO_ROOM = "The disk with the service's data is full or read-only: free some space, or let the service write there."
UNKNOWN = ClusterModels(())
STOPPING = "The service is stopping: what is in progress ends, and nothing new is begun."
NOT_YET = "The models are being loaded, or not every deployment is up yet."


Behind = tuple[bool | None, int | None, ClusterModels | None]
"""Whether the service is ready, how many jobs wait, and the models: each None if that is not told."""


def behind(services: Services) -> LastKnown[Behind]:
    """What `/health` shows of other processes; under load they take longer than a probe waits."""

    async def ask() -> Behind:
        return await asyncio.gather(_ready(services), _queued(services), _models(services))

    return LastKnown(ask, services.clock)


async def known_behind(request: Request) -> LastKnown[Behind]:
    found: LastKnown[Behind] = request.app.state.behind
    return found


BehindDep = Annotated[LastKnown[Behind], Depends(known_behind)]


@router.get("/health")
async def health(services: ServicesDep, limiter: LimiterDep, behind: BehindDep) -> Health:
    """200 as long as this process answers; `status` says whether what is behind it does, or did two seconds ago."""
    is_ready, queued, models = await behind()
    return Health(
        status="degraded" if None in (is_ready, queued, models) else "ok",
        model=services.settings.default_model,
        model_state=_model_state(services.settings.default_model, models),
        queue_depth=limiter.in_progress + (queued or 0),
        gpu=_gpu(services.settings.recognizer.num_gpus, models),
    )


@router.get("/health/live")
async def live() -> Alive:
    """200 as long as this process answers."""
    return Alive()


@router.get("/health/ready", responses={503: {"model": Readiness, "description": "Not yet"}})
async def ready(services: ServicesDep, limiter: LimiterDep) -> JSONResponse:
    """200 once the models to preload are in, while the job store and the disk can be used, and until the service stops."""
    if limiter.draining:
        return JSONResponse({"status": "draining", "reason": STOPPING}, 503)
    is_ready, has_store, has_room = await asyncio.gather(_ready(services), _has_store(services), _has_room(services))
    if not has_room:
        return JSONResponse({"status": "unavailable", "reason": NO_ROOM}, 503)
    if not has_store:
        return JSONResponse({"status": "unavailable", "reason": NO_STORE}, 503)
    if not is_ready:
        return JSONResponse({"status": "loading", "reason": NOT_YET}, 503)
    return JSONResponse({"status": "ready"})


async def _ready(services: Services) -> bool | None:
    """None if Serve does not say; it has not been ready before then, because that would be remembered."""
    try:
        async with asyncio.timeout(ASKING_S):
            return await services.ready()
    except Exception as error:
        logger.warning("cannot tell whether the models are loaded: %s", type(error).__name__)
        return None


async def _has_store(services: Services) -> bool:
    """True also while the Coordinator does not say, because requests that are answered at once need neither."""
    if services.jobs is None:
        return True
    try:
        async with asyncio.timeout(ASKING_S):
            await services.jobs.stats()
    except StoreUnavailable:
        return False
    except Exception as error:
        logger.warning("cannot tell whether the job store can be used: %s", type(error).__name__)
    return True


async def _has_room(services: Services) -> bool:
    """True also while the disk does not say: it is a network's then, and perhaps busy."""
    try:
        async with asyncio.timeout(ASKING_S):
            return await asyncio.to_thread(_can_be_written, Path(services.settings.data_dir))
    except TimeoutError:
        logger.warning("cannot tell whether the disk has room")
    return True


def _can_be_written(directory: Path) -> bool:
    """True also of a directory that is to be made yet."""
    if not directory.exists():
        return True
    return os.access(directory, os.W_OK) and shutil.disk_usage(directory).free >= MIN_FREE_BYTES


async def _queued(services: Services) -> int | None:
    """None if the Coordinator does not say."""
    if services.jobs is None:
        return 0
    try:
        async with asyncio.timeout(ASKING_S):
            return (await services.jobs.stats()).queued
    except Exception as error:
        logger.warning("cannot tell how many jobs wait: %s", type(error).__name__)
        return None


async def _models(services: Services) -> ClusterModels | None:
    """None if the Coordinator does not say."""
    if services.models is None:
        return UNKNOWN
    try:
        async with asyncio.timeout(ASKING_S):
            return await services.models.status()
    except Exception as error:
        logger.warning("cannot tell the states of models: %s", type(error).__name__)
        return None


def _model_state(model_id: str, models: ClusterModels | None) -> ModelState | None:
    return next((model.state for model in models.models if model.model_id == model_id), None) if models else None


def _gpu(reserved: float, models: ClusterModels | None) -> Gpu | None:
    memory = [DeviceMemory(**asdict(gpu)) for _, gpu in models.gpus] if models else []
    return Gpu(reserved=reserved, memory=memory) if reserved or memory else None
