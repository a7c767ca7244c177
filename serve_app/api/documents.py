"""What `/openapi.json` says beyond what FastAPI can see: form bodies, answers in several formats, and every error."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serve_app.api import answers
from serve_app.api.forms import FILE, LISTS
from serve_app.api.job_forms import AUDIO, JobForm
from serve_app.api.job_schemas import (
    DeliveryAnswer,
    DeliveryList,
    JobAnswer,
    JobList,
    SubmittedAnswer,
)
from serve_app.api.model_answers import PullAnswer
from serve_app.api.model_forms import LoadWish, PullWish, UnloadWish
from serve_app.api.problems import codes
from serve_app.api.schemas import TranscriptionForm, TranslationForm

REF = "#/components/schemas/{model}"
SECURITY = {"bearer": {"type": "http", "scheme": "bearer"}}
TEXT = {"schema": {"type": "string"}}
EVENTS: dict[str, Any] = {}  # OpenAPI 3.1 has no words for a sequence of events

WORDS = {460: "checksum mismatch"}  # tus's own; no registry has it

Documents = dict[str, Any]


def ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REF.format(model=model.__name__)}


def errors(*statuses: int) -> dict[int | str, Documents]:
    return {
        status: {
            "description": ", ".join(sorted(codes(status))) or WORDS.get(status) or HTTPStatus(status).phrase.lower(),
            "content": {"application/json": {"schema": ref(answers.ErrorAnswer)}},
            "headers": {"Retry-After": {"schema": {"type": "integer"}}} if status in (429, 503) else {},
        }
        for status in statuses
    }


def _audio(form: type[BaseModel], shapes: list[type[BaseModel]], *, streams: bool) -> Documents:
    content: Documents = {
        "application/json": {"schema": {"anyOf": [ref(shape) for shape in shapes]}},
        "text/plain": TEXT,
        "text/vtt": TEXT,
    }
    if streams:
        content["text/event-stream"] = EVENTS
    return {
        "openapi_extra": {
            "security": [{"bearer": []}, {}],
            "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": ref(form)}}},
        },
        "responses": {
            200: {
                "description": "The transcript, in the format asked for",
                "content": content,
                "headers": {"x-audio-seconds": {"schema": {"type": "number"}}},
            },
            **errors(400, 401, 403, 404, 408, 413, 429, 500, 503),
        },
    }


TRANSCRIPTIONS = _audio(
    TranscriptionForm, [answers.VerboseTranscript, answers.DiarizedTranscript, answers.JsonTranscript], streams=True
)
TRANSLATIONS = _audio(TranslationForm, [answers.VerboseTranscript, answers.JsonTranscript], streams=False)
SECURITY_OF_ALL: Documents = {"security": [{"bearer": []}, {}]}
GUARDED: Documents = {"openapi_extra": SECURITY_OF_ALL, "responses": errors(401)}
GUARDED_ONE: Documents = {"openapi_extra": SECURITY_OF_ALL, "responses": errors(401, 404)}


def openapi(app: FastAPI) -> Documents:
    """The whole document."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    components = document.setdefault("components", {})
    components["securitySchemes"] = SECURITY
    components["schemas"] = {**components.get("schemas", {}), **_schemas()}
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)  # FastAPI's own; no route can answer it
    return document


def _schemas() -> Documents:
    shown: list[type[BaseModel]] = [
        answers.ErrorAnswer,
        answers.JsonTranscript,
        answers.VerboseTranscript,
        answers.DiarizedTranscript,
        JobAnswer,
        JobList,
        SubmittedAnswer,
        DeliveryList,
        DeliveryAnswer,
        PullAnswer,
        LoadWish,
        UnloadWish,
        PullWish,
    ]
    forms: list[type[BaseModel]] = [TranscriptionForm, TranslationForm, JobForm]
    _, schema = models_json_schema([(model, "validation") for model in shown + forms], ref_template=REF)
    schemas: Documents = schema["$defs"]
    return {name: _form(s) if name.endswith("Form") else s for name, s in schemas.items()}


def _form(schema: Mapping[str, Any]) -> Documents:
    """Pydantic knows the fields; multipart adds the file, and OpenAI spells lists with brackets."""
    properties = {
        f"{name}[]" if name in LISTS else name: never_null(shown) for name, shown in schema["properties"].items()
    }
    file = {"type": "string", "format": "binary", "description": "Audio or video, in any common format."}
    if schema["title"] == JobForm.__name__:  # which may say where the audio is, instead
        return {**schema, "properties": {AUDIO[0]: file, **properties}}
    return {**schema, "properties": {FILE: file, **properties}, "required": [FILE, *schema["required"]]}


def never_null(shown: Mapping[str, Any]) -> Documents:
    """A form field can be absent, but it has no way to be null."""
    kinds = [kind for kind in shown.get("anyOf", ()) if kind != {"type": "null"}]
    rest = {key: value for key, value in shown.items() if key != "anyOf" and (key, value) != ("default", None)}
    return {**rest, **kinds[0]} if len(kinds) == 1 else {**rest, "anyOf": kinds} if kinds else rest
