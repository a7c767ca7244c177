"""`/model`: which models are in memory, and who wants that to be otherwise."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from serve_app.api import model_documents as documents
from serve_app.api.auth import PermitDep, authorise, needs
from serve_app.api.bodies import read_fields
from serve_app.api.events import LastSeen
from serve_app.api.model_answers import ClusterStatus, ModelStatus, model_status, status_of
from serve_app.api.model_events import ModelEventStream
from serve_app.api.model_forms import LoadWish, ModelWish, UnloadWish
from serve_app.api.places import stream_place
from serve_app.api.resumable import ResumableUploads
from serve_app.api.services import LimiterDep, ModelsDep, Services, ServicesDep
from serve_app.api.streams import EventStream
from serve_app.errors import Unavailable
from serve_app.models.types import ClusterModels, ModelState
from serve_app.settings import Scope

router = APIRouter(prefix="/model", tags=["lifecycle"], dependencies=[Depends(authorise)])

STEERS = [Depends(needs(Scope.MODELS))]
READY = frozenset({ModelState.READY, ModelState.BUSY})  # one that is parked has yet to come back to the device


@router.get("/status", **documents.STATUS)
async def status(request: Request, services: ServicesDep, limiter: LimiterDep, models: ModelsDep) -> ClusterStatus:
    """Show each model in each replica. No replica is asked, woken or kept awake by it."""
    cluster = await models.status()
    is_safe = not limiter.in_progress and await _rests(services, cluster, request.app.state.uploads)
    return status_of(services.settings.default_model, cluster, cluster.at or services.now(), safe_to_stop=is_safe)


@router.post("/load", status_code=202, dependencies=STEERS, **documents.LOAD)
async def load(
    request: Request, response: Response, services: ServicesDep, models: ModelsDep, permit: PermitDep
) -> ModelStatus:
    """Load a model, and keep it from idleness for as long as `ttl_s` says. Asking again only renews that."""
    wish = await read_fields(LoadWish, request)
    if wish.ttl_s is not None and wish.ttl_s < 0:
        permit("To load a model for ever (ttl_s -1)")
    model = await models.load(_model_id(services, wish), ttl_s=wish.ttl_s)
    response.status_code = 200 if model.state in READY else 202
    return model_status(model, services.now())


@router.post("/unload", status_code=202, dependencies=STEERS, **documents.UNLOAD)
async def unload(
    request: Request, response: Response, services: ServicesDep, models: ModelsDep, permit: PermitDep
) -> ModelStatus:
    """Free a model's memory in every replica, once nothing uses it any more; with `force`, at once."""
    wish = await read_fields(UnloadWish, request)
    if wish.force:
        permit("To unload a model by force")
    model = await models.unload(_model_id(services, wish), force=wish.force)
    response.status_code = 200 if model.state is ModelState.UNLOADED else 202
    return model_status(model, services.now())


@router.get(
    "/events",
    status_code=200,
    response_class=EventStream,
    dependencies=[Depends(stream_place)],
    **documents.EVENTS_OF_MODELS,
)
async def events(
    request: Request, services: ServicesDep, limiter: LimiterDep, models: ModelsDep, last_seen: LastSeen
) -> EventStream:
    """Follow all models: first the state of each, then every change with its reason."""
    stream = ModelEventStream(models, services.sleep, lambda: limiter.draining, request.scope["request_id"])
    return EventStream(stream.follow(last_seen), heartbeat_s=services.heartbeat_s)


def _model_id(services: Services, wish: ModelWish) -> str:
    return services.catalogue.find(wish.model or services.settings.default_model)


async def _rests(services: Services, cluster: ClusterModels, uploads: ResumableUploads) -> bool:
    """Whether no work is known, here or anywhere behind."""
    if any(model.in_flight or model.queued for model in cluster.models) or await uploads.in_progress():
        return False
    try:
        if services.in_progress_elsewhere is not None and await services.in_progress_elsewhere():
            return False
        if services.jobs is None:
            return True
        jobs = await services.jobs.stats()  # last: what is in progress before may become a job
    except Unavailable:  # models are steered all the same, and nobody knows what a stop would cut
        return False
    return not jobs.queued and not jobs.running
