"""`/v1/models`: the models that can be named, and their weights on this machine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from serve_app.api import documents, model_documents
from serve_app.api.answers import ModelAnswer, ModelList
from serve_app.api.auth import PermitDep, authorise
from serve_app.api.bodies import read_fields
from serve_app.api.events import named, or_error
from serve_app.api.model_answers import Deleted, pull_answer
from serve_app.api.model_forms import PullWish
from serve_app.api.places import stream_place
from serve_app.api.pulls import Pull, Pulls
from serve_app.api.services import Services, ServicesDep
from serve_app.api.streams import EventStream
from serve_app.errors import ModelNotFound
from serve_app.models.types import ModelState
from serve_app.models.weights import remove_model

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(authorise)])

ASKING_S = 1.0
AT_ONCE_S = 2.0  # what goes wrong within is an HTTP error, and what is done within needs no second request
NO_MEMORY = frozenset({ModelState.UNLOADED, ModelState.FAILED})


@router.get("", response_model_exclude_none=True, **documents.GUARDED)
async def list_models(services: ServicesDep) -> ModelList:
    """List the models that can be loaded now: their weights are on this machine, or may be fetched."""
    loadable, states = await asyncio.gather(asyncio.to_thread(services.catalogue.loadable), _states(services))
    return ModelList(data=[_shown(services, model_id, states) for model_id in loadable])


@router.get("/{model:path}", response_model_exclude_none=True, **documents.GUARDED_ONE)
async def retrieve_model(model: str, services: ServicesDep) -> ModelAnswer:
    """Show one model, by id or alias; an id may hold slashes."""
    return _shown(services, services.catalogue.find(model), await _states(services))


@router.post("/{model:path}", dependencies=[Depends(stream_place)], **model_documents.PULL)
async def pull_model(model: str, request: Request, services: ServicesDep, permit: PermitDep) -> Response:
    """Fetch a model's weights from the hub, or bring them up to date. It goes on without its client."""
    permit("To pull weights")
    wish = await read_fields(PullWish, request)
    pulls: Pulls = request.app.state.pulls
    pull = pulls.begin(model)
    is_here = await pull.ends_within(AT_ONCE_S)
    if wish.stream or "text/event-stream" in request.headers.get("accept", ""):
        blocks = or_error(_progress(model, pull, services), request.scope["request_id"])
        return EventStream(blocks, heartbeat_s=services.heartbeat_s)
    if is_here:
        return JSONResponse((await _retrieved(model, services)).model_dump(exclude_none=True))
    return JSONResponse(pull_answer(model, pull.progress).model_dump(), 202)


@router.delete("/{model:path}", **model_documents.DELETE)
async def delete_model(model: str, request: Request, services: ServicesDep, permit: PermitDep) -> Deleted:
    """Delete weights that were pulled or imported; a pull of them that runs here is stopped first."""
    permit("To delete weights")
    pulls: Pulls = request.app.state.pulls
    was_pulled = await pulls.stop(model)
    model_id = services.catalogue.resolve(model) or model
    in_use = await _in_use(services, model_id)
    try:
        await asyncio.to_thread(remove_model, services.catalogue, model, in_use=lambda _: in_use)
    except ModelNotFound:
        if not was_pulled:  # else nothing of it had come yet
            raise
    return Deleted(id=model_id)


async def _progress(name: str, pull: Pull, services: Services) -> AsyncGenerator[bytes, None]:
    async for progress in pull.follow():
        yield named(
            {"type": "progress", **pull_answer(name, progress).model_dump(include={"done_bytes", "total_bytes"})}
        )
    model = await _retrieved(name, services)
    yield named({"type": "done", "model": model.model_dump(exclude_none=True)})


async def _retrieved(name: str, services: Services) -> ModelAnswer:
    return _shown(services, services.catalogue.find(name), await _states(services))


async def _in_use(services: Services, model_id: str) -> bool:
    """
    Raises:
        Unavailable: Nobody can tell.
    """
    if services.models is None:
        return False
    try:
        return (await services.models.overview(model_id)).state not in NO_MEMORY
    except ModelNotFound:
        return False


async def _states(services: Services) -> Mapping[str, ModelState]:
    """Empty while the Coordinator does not say."""
    if services.models is None:
        return {}
    try:
        async with asyncio.timeout(ASKING_S):
            return {model.model_id: model.state for model in (await services.models.status()).models}
    except Exception as error:
        logger.warning("cannot tell the states of models: %s", type(error).__name__)
        return {}


def _shown(services: Services, model_id: str, states: Mapping[str, ModelState]) -> ModelAnswer:
    settings, model = services.settings, services.catalogue[model_id]
    return ModelAnswer(
        id=model_id,
        owned_by=model.owned_by,
        state=states.get(model_id),
        aliases=[alias for alias in settings.aliases if settings.resolve_model(alias) == model_id],
        languages=list(model.languages),
        tasks=list(model.tasks),
    )
