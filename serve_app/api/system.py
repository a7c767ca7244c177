"""Health and readiness; open without a key, because probes have none."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

from fastapi import APIRouter
from starlette.responses import JSONResponse

from serve_app.api.answers import Alive, Health, Readiness
from serve_app.api.services import LimiterDep, Services, ServicesDep

logger = logging.getLogger(__name__)

router = APIRouter(tags=["system"])

ASKING_S = 1.0  # /health answers within it, whatever is wrong behind

ModelState = Literal["ready", "loading", "unknown"]


@router.get("/health")
async def health(services: ServicesDep, limiter: LimiterDep) -> Health:
    """200 as long as this process answers; `status` says whether what is behind it does."""
    state = await _model_state(services)
    return Health(
        status="degraded" if state == "unknown" else "ok",
        model=services.settings.default_model,
        model_state=state,
        queue_depth=limiter.in_progress,
    )


@router.get("/health/live")
async def live() -> Alive:
    """200 as long as this process answers."""
    return Alive()


@router.get("/health/ready", responses={503: {"model": Readiness, "description": "Not yet"}})
async def ready(services: ServicesDep) -> JSONResponse:
    """200 once the models to preload are in."""
    if await _model_state(services) == "ready":
        return JSONResponse({"status": "ready"})
    return JSONResponse({"status": "loading"}, 503)


async def _model_state(services: Services) -> ModelState:
    try:
        async with asyncio.timeout(ASKING_S):
            return "ready" if await services.ready() else "loading"
    except Exception as error:
        logger.warning("cannot tell whether the models are loaded: %s", type(error).__name__)
        return "unknown"
