"""Errors as HTTP shows them: one table, and OpenAI's envelope around every one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
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
    code: str
    param: str | None = None  # where the error itself names none
    retry: bool = False  # worth trying again: sends Retry-After
    headers: Mapping[str, str] = field(default_factory=dict)


NEVER_RETRY = {"x-should-retry": "false"}

# The nearest class in an error's ancestry counts.
PROBLEMS: Mapping[type[errors.RayscribeError], Problem] = {
    errors.InvalidRequest: Problem(400, INVALID, "invalid_value"),
    errors.UnsupportedLanguage: Problem(400, INVALID, "unsupported_language", param="language"),
    errors.MediaError: Problem(400, INVALID, "invalid_audio", param="file"),
    errors.InvalidAudio: Problem(400, INVALID, "invalid_audio", param="file"),
    errors.AudioTooShort: Problem(400, INVALID, "audio_too_short", param="file"),
    errors.AudioTooLarge: Problem(413, INVALID, "audio_too_large", param="file"),
    errors.InvalidApiKey: Problem(401, INVALID, "invalid_api_key", headers={"WWW-Authenticate": "Bearer"}),
    errors.RateLimited: Problem(429, "requests", "rate_limit_exceeded", retry=True),
    errors.ModelNotFound: Problem(404, INVALID, "model_not_found", param="model"),
    errors.ModelNotReady: Problem(503, SERVER, "model_not_ready", param="model", retry=True),
    errors.OutOfMemory: Problem(503, SERVER, "out_of_memory", param="model", retry=True),
    errors.ModelLoadFailed: Problem(500, SERVER, "model_load_failed", param="model", headers=NEVER_RETRY),
    errors.Overloaded: Problem(503, SERVER, "overloaded", retry=True),
    errors.RecognizerUnavailable: Problem(503, SERVER, "recognizer_unavailable", retry=True),
    errors.RayscribeError: Problem(500, SERVER, "internal_error"),
}

CODES = {404: "not_found", 405: "method_not_allowed", 422: "unprocessable"}
LONGEST_RETRY_AFTER_S = 120  # the Python SDK gives up above it, and Node's sleeps as told


def problem_of(error: errors.RayscribeError) -> Problem:
    return next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)


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
    return body(error.message, type=problem.type, param=error.param or problem.param, code=problem.code)


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


def _http(error: HTTPException) -> JSONResponse:
    """Starlette's own: no such path, no such method, a body that is no form."""
    code = CODES.get(error.status_code, "invalid_request")
    message = str(error.detail or HTTPStatus(error.status_code).phrase)
    kind = INVALID if error.status_code < 500 else SERVER
    return JSONResponse(body(message, type=kind, param=None, code=code), error.status_code, error.headers)


def _whole_seconds(retry_after_s: float | None, most: float) -> int:
    return max(1, math.ceil(min(retry_after_s or 1, most)))
