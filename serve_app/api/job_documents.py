"""What `/openapi.json` says about jobs and uploads."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from serve_app.api import answers
from serve_app.api.documents import EVENTS, REF, SECURITY_OF_ALL, TEXT, Documents, errors, never_null, ref
from serve_app.api.job_forms import JobForm
from serve_app.api.job_schemas import (
    DeliveryAnswer,
    DeliveryList,
    JobAnswer,
    JobList,
    ResultQuery,
    SubmittedAnswer,
)

RESULTS = (JobAnswer, answers.VerboseTranscript, answers.DiarizedTranscript, answers.JsonTranscript)
TUS_VERSION = {"name": "Tus-Resumable", "in": "header", "schema": {"const": "1.0.0"}}


def _json(model: type[BaseModel]) -> Documents:
    return {"application/json": {"schema": ref(model)}}


def _of_jobs(status: int, answer: Documents, *statuses: int, **extra: Any) -> Documents:
    return {
        "openapi_extra": SECURITY_OF_ALL | extra,
        "responses": {status: answer, **errors(400, 401, 403, 404, 500, 503, *statuses)},
    }


def _header(name: str, kind: str = "integer", *, required: bool = True) -> Documents:
    return {"name": name, "in": "header", "required": required, "schema": {"type": kind}}


def _query(model: type[BaseModel]) -> list[Documents]:
    properties = model.model_json_schema(ref_template=REF)["properties"]
    return [{"name": name, "in": "query", "schema": never_null(shown)} for name, shown in properties.items()]


SUBMIT = _of_jobs(
    202,
    {
        "description": "Accepted: the audio and the job are on disk",
        "content": _json(SubmittedAnswer),
        "headers": {"Location": {"schema": {"type": "string"}}},
    },
    408,
    413,
    429,
    parameters=[_header("Idempotency-Key", "string", required=False)],
    requestBody={
        "required": True,
        "content": {
            "multipart/form-data": {"schema": ref(JobForm)},
            "application/json": {"schema": {"type": "object"}},
        },
    },
)
LIST = _of_jobs(200, {"description": "Jobs, newest first", "content": _json(JobList)})
RETRIEVE = _of_jobs(
    200,
    {
        "description": "The job, or its result in the format asked for",
        "content": {
            "application/json": {"schema": {"anyOf": [ref(shape) for shape in RESULTS]}},
            "text/plain": TEXT,
            "text/vtt": TEXT,
        },
    },
    parameters=_query(ResultQuery),
)
STREAM = _of_jobs(
    200,
    {"description": "The events of the job, from the first", "content": {"text/event-stream": EVENTS}},
    429,
    parameters=[_header("Last-Event-ID", required=False)],
)
CANCEL = _of_jobs(200, {"description": "The job, cancelled or as it had ended", "content": _json(JobAnswer)})
CANCEL["responses"][204] = {"description": "Deleted with all that belongs to it"}
DELIVERIES = _of_jobs(200, {"description": "Webhooks of the job", "content": _json(DeliveryList)})
RESEND = _of_jobs(202, {"description": "Due at once", "content": _json(DeliveryAnswer)})


def _of_uploads(status: int, description: str, *statuses: int, headers: tuple[str, ...] = ()) -> Documents:
    parameters = [TUS_VERSION, *map(_header, headers)]
    return _of_jobs(status, {"description": description}, 412, *statuses, parameters=parameters)


UPLOAD_OPTIONS: Documents = {"responses": {204: {"description": "`Tus-Version`, `Tus-Extension`, …"}}}
UPLOAD_CREATE = _of_uploads(201, "`Location` of the upload, `Upload-Expires`", 413, 429, headers=("Upload-Length",))
UPLOAD_HEAD = _of_uploads(200, "`Upload-Offset`, `Upload-Length`, `Upload-Expires`")
UPLOAD_PATCH = _of_uploads(
    204, "`Upload-Offset`, `Upload-Expires`", 408, 409, 413, 415, 423, 429, 460, headers=("Upload-Offset",)
)
UPLOAD_DELETE = _of_uploads(204, "Forgotten", 423)
