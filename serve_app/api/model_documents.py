"""What `/openapi.json` says about models and their lifecycle."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from serve_app.api.answers import ModelAnswer
from serve_app.api.documents import EVENTS, SECURITY_OF_ALL, Documents, errors, ref
from serve_app.api.model_answers import ModelStatus, PullAnswer
from serve_app.api.model_forms import LoadWish, PullWish, UnloadWish

FORMS = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
LAST_EVENT_ID = {"name": "Last-Event-ID", "in": "header", "required": False, "schema": {"type": "integer"}}


def _answers(responses: dict[int | str, Documents], *statuses: int, **extra: Any) -> Documents:
    return {"openapi_extra": SECURITY_OF_ALL | extra, "responses": responses | errors(*statuses)}


def _takes(wish: type[BaseModel]) -> Documents:
    return {"required": False, "content": {form: {"schema": ref(wish)} for form in FORMS}}


def _json(model: type[BaseModel], description: str, **content: Documents) -> Documents:
    return {"description": description, "content": {"application/json": {"schema": ref(model)}, **content}}


STATUS = _answers({}, 401, 404, 500, 503)
LOAD = _answers(
    {200: _json(ModelStatus, "It is ready"), 202: _json(ModelStatus, "It is being loaded")},
    *(400, 401, 403, 404, 408, 413, 500, 503),
    requestBody=_takes(LoadWish),
)
UNLOAD = _answers(
    {200: _json(ModelStatus, "It is unloaded"), 202: _json(ModelStatus, "It will be, as soon as nothing uses it")},
    *(400, 401, 403, 404, 408, 413, 500, 503),
    requestBody=_takes(UnloadWish),
)
EVENTS_OF_MODELS = _answers(
    {200: {"description": "The state of each model, then each change", "content": {"text/event-stream": EVENTS}}},
    *(400, 401, 404, 429, 500, 503),
    parameters=[LAST_EVENT_ID],
)
PULL = _answers(
    {
        200: _json(ModelAnswer, "Its weights are here", **{"text/event-stream": EVENTS}),
        202: _json(PullAnswer, "They are on their way; the same request tells how far they are"),
    },
    *(400, 401, 403, 404, 408, 413, 429, 500, 502, 503),
    requestBody=_takes(PullWish),
)
DELETE = _answers({}, 400, 401, 403, 404, 409, 500, 503)
