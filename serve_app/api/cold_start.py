"""Requests for a model that is not loaded, where the settings say that these do not wait."""

from __future__ import annotations

import asyncio
import logging

from serve_app.api.services import Services
from serve_app.errors import ModelLoadFailed, Unavailable
from serve_app.lifecycle.patience import too_early
from serve_app.models.types import SERVING, ModelState

logger = logging.getLogger(__name__)

ASKING_S = 1.0


async def check_is_there(services: Services, model_id: str) -> None:
    """
    With `lifecycle.cold_start: reject`, begin to load a model that is not there, and turn the request away.

    Raises:
        ModelNotReady: The model loads, or begins to, also after a load that failed as the next one may not.
        OutOfMemory: It waits for memory that others hold.
        ModelLoadFailed: Its last load failed, and somebody has to mend it; another one begins all the same.
    """
    if services.models is None or services.settings.lifecycle.cold_start == "queue":
        return
    try:
        async with asyncio.timeout(ASKING_S):
            found = await services.models.overview(model_id)
            wanted = found if found.state in SERVING else await services.models.want(model_id)
    except (Unavailable, TimeoutError):  # nobody knows, so it waits like any other
        logger.warning("cannot tell whether the model is loaded")
        return
    if wanted.state in SERVING:
        return
    if found.state is ModelState.FAILED and not found.error_passes:
        why = found.last_error or "the log says why"
        raise ModelLoadFailed(f"The model {model_id} could not be loaded: {why}", param="model")
    raise too_early(wanted, found.last_error if found.error_passes else None)
