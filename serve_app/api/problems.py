"""Errors as HTTP shows them: one table, and OpenAI's envelope around every one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import responses
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from serve_app import errors

INVALID = "invalid_request_error"
SERVER = "server_error"


@dataclass(frozen=True, slots=True)
class Problem:
    """What a kind of error is called on the wire."""

    status: int
    type: str
    param: str | None = None  # where the error itself names none
    retry: bool = False  # worth trying again: sends Retry-After
    headers: Mapping[str, str] = field(default_factory=dict)


NEVER_RETRY = {"x-should-retry": "false"}

# The nearest class in an error's ancestry counts.
PROBLEMS: Mapping[type[errors.RayscribeError], Problem] = {
    errors.InvalidRequest: Problem(400, INVALID),
    errors.UnsupportedLanguage: Problem(400, INVALID, param="language"),
    errors.MediaError: Problem(400, INVALID, param="file"),
    errors.AudioTooLarge: Problem(413, INVALID, param="file"),
    errors.InvalidApiKey: Problem(401, INVALID, headers={"WWW-Authenticate": "Bearer"}),
    errors.NotPermitted: Problem(403, INVALID),
    errors.RateLimited: Problem(429, "requests", retry=True),
    errors.ModelNotFound: Problem(404, INVALID, param="model"),
    errors.ModelNotReady: Problem(503, SERVER, param="model", retry=True),
    errors.OutOfMemory: Problem(503, SERVER, param="model", retry=True),
    errors.ModelLoadFailed: Problem(500, SERVER, param="model", headers=NEVER_RETRY),
    errors.InsufficientMemory: Problem(500, SERVER, param="model", headers=NEVER_RETRY),
    errors.PullFailed: Problem(502, SERVER, param="model", retry=True),
    errors.ModelInUse: Problem(409, INVALID, param="model", retry=True),
    errors.JobNotFound: Problem(404, INVALID),
    errors.Overloaded: Problem(503, SERVER, retry=True),
    errors.Unavailable: Problem(503, SERVER, retry=True),
    errors.RayscribeError: Problem(500, SERVER),
}

CODES = {
    404: "not_found",
    405: "method_not_allowed",
    409: "offset_mismatch",
    412: "tus_version",
    413: "audio_too_large",
    415: "unsupported_media_type",
    422: "unprocessable",
    423: "upload_locked",
    431: "headers_too_large",
    460: "checksum_mismatch",
}
# Where Starlette says no more than the status does.
SENTENCES = {
    404: "There is no such path; /openapi.json lists those that there are. The base URL of OpenAI's SDKs ends in /v1 here, too.",
    405: "This path takes another method; the header `Allow` names it.",
}
LONGEST_RETRY_AFTER_S = 120  # the Python SDK gives up above it, and Node's sleeps as told


def problem_of(error: errors.RayscribeError) -> Problem:
    return _problem_of(type(error))


def codes(status: int | None = None) -> set[str]:
    """What programs may find in the envelope: of one status, or all."""
    return {kind.code for kind in _tree(errors.RayscribeError) if status in (None, _problem_of(kind).status)}


def body(message: str, *, type: str, param: str | None, code: str) -> dict[str, Any]:
    message = message.encode("utf-8", "replace").decode()  # what a client sent may hold half a surrogate pair
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def body_of(error: Exception) -> dict[str, Any]:
    """The envelope of any error; what was not raised on purpose tells nothing of the inside."""
    if not isinstance(error, errors.RayscribeError):
        return body(
            "The server had an error while processing your request.", type=SERVER, param=None, code="internal_error"
        )
    problem = problem_of(error)
    return body(error.message, type=problem.type, param=error.param or problem.param, code=error.code)


def answer(error: Exception, max_retry_after_s: float = LONGEST_RETRY_AFTER_S) -> JSONResponse:
    """The response to any error."""
    if isinstance(error, HTTPException):
        return _http(error)
    if not isinstance(error, errors.RayscribeError):
        return JSONResponse(body_of(error), 500)
    problem = problem_of(error)
    headers = dict(problem.headers)
    if problem.retry:
        headers["Retry-After"] = str(_whole_seconds(error.retry_after_s, max_retry_after_s))
    return JSONResponse(body_of(error), problem.status, headers)


def _problem_of(kind: type[errors.RayscribeError]) -> Problem:
    return next(PROBLEMS[ancestor] for ancestor in kind.__mro__ if ancestor in PROBLEMS)


def _tree(kind: type[errors.RayscribeError]) -> Iterator[type[errors.RayscribeError]]:
    """The errors that a service raises; clients of one derive their own."""
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child)


def _http(error: HTTPException) -> JSONResponse:
    """Starlette's own: no such path, no such method, a body that is no form."""
    code = CODES.get(error.status_code, "invalid_request")
    phrase = responses.get(error.status_code, "")  # tus has statuses of its own
    message = str(error.detail or phrase)
    if message == phrase:
        message = SENTENCES.get(error.status_code, phrase)
    kind = INVALID if error.status_code < 500 else SERVER
    return JSONResponse(body(message, type=kind, param=None, code=code), error.status_code, error.headers)


def _whole_seconds(retry_after_s: float | None, most: float) -> int:
    return max(1, math.ceil(min(retry_after_s or 1, most)))
