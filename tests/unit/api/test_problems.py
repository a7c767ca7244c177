"""One table for all errors."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from starlette.exceptions import HTTPException

from serve_app import errors
from serve_app.api.problems import PROBLEMS, answer, body_of, problem_of

RETRIED = {408, 409, 429, *range(500, 600)}  # by the SDKs
PASSES = (
    errors.RateLimited,
    errors.ModelNotReady,
    errors.OutOfMemory,
    errors.PullFailed,
    errors.ModelInUse,
    errors.Overloaded,
    errors.Unavailable,
)


def descendants(kind: type[errors.RayscribeError]) -> Iterator[type[errors.RayscribeError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from descendants(child)


ALL = [kind for kind in descendants(errors.RayscribeError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_has_a_problem_with_all_four_parts(kind: type[errors.RayscribeError]) -> None:
    shown = json.loads(bytes(answer(kind("What went wrong.")).body))

    assert list(shown["error"]) == ["message", "type", "param", "code"]
    assert shown["error"]["message"] == "What went wrong."


@pytest.mark.parametrize("kind", ALL)
def test_sdk_retries_only_what_may_pass(kind: type[errors.RayscribeError]) -> None:
    response = answer(kind("x"))

    assert ("retry-after" in response.headers) is issubclass(kind, PASSES)
    if response.status_code in RETRIED and kind in PROBLEMS and not issubclass(kind, PASSES):
        assert kind in (errors.RayscribeError, errors.ModelLoadFailed, errors.InsufficientMemory)


@pytest.mark.parametrize(
    ("wait_s", "header"), [(None, "1"), (0.0, "1"), (-5.0, "1"), (0.2, "1"), (7.2, "8"), (119.5, "120"), (1e300, "120")]
)
def test_retry_after_is_whole_seconds_within_what_sdks_bear(wait_s: float | None, header: str) -> None:
    assert answer(errors.Overloaded("x", retry_after_s=wait_s)).headers["retry-after"] == header


def test_model_that_cannot_load_is_not_tried_again() -> None:
    assert answer(errors.ModelLoadFailed("x")).headers["x-should-retry"] == "false"


def test_param_of_the_error_wins() -> None:
    assert body_of(errors.UnsupportedLanguage("x", param="model"))["error"]["param"] == "model"
    assert body_of(errors.UnsupportedLanguage("x"))["error"]["param"] == "language"


def test_nearest_ancestor_counts() -> None:
    class Odd(errors.AudioTooLong):
        pass

    assert problem_of(Odd("x")).status == 413


def test_half_a_surrogate_pair_can_be_shown() -> None:
    assert answer(errors.InvalidRequest("what is \ud800?")).status_code == 400


@pytest.mark.parametrize(
    ("status", "kind"), [(404, "invalid_request_error"), (418, "invalid_request_error"), (502, "server_error")]
)
def test_errors_of_the_framework_use_the_envelope(status: int, kind: str) -> None:
    assert json.loads(bytes(answer(HTTPException(status)).body))["error"]["type"] == kind
