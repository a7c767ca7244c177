"""`/v1/models`: the catalogue."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from serve_app.api import documents
from serve_app.api.answers import ModelAnswer, ModelList
from serve_app.api.auth import authorise
from serve_app.api.catalogue import find_model
from serve_app.api.services import ServicesDep
from serve_app.settings import Settings

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(authorise)])


@router.get("", **documents.GUARDED)
async def list_models(services: ServicesDep) -> ModelList:
    """List the models of the catalogue."""
    return ModelList(data=[_shown(services.settings, model_id) for model_id in services.settings.models])


@router.get("/{model:path}", **documents.GUARDED_ONE)
async def retrieve_model(model: str, services: ServicesDep) -> ModelAnswer:
    """Show one model, by id or alias; an id may hold slashes."""
    return _shown(services.settings, find_model(services.settings, model))


def _shown(settings: Settings, model_id: str) -> ModelAnswer:
    model = settings.models[model_id]
    return ModelAnswer(
        id=model_id,
        owned_by=model.owned_by,
        aliases=[alias for alias in settings.aliases if settings.resolve_model(alias) == model_id],
        languages=list(model.languages),
        tasks=list(model.tasks),
    )
