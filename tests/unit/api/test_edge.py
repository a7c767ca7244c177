"""Headers by which a client could steer Serve do not get past the proxy."""

from __future__ import annotations

import pytest
from starlette.types import Receive, Scope, Send

from serve_app.api.edge import CleanHeaders, steers


@pytest.mark.parametrize(
    "header",
    [
        "x-request-timeout-seconds",
        "X_Request_Timeout_Seconds",
        "x-request-disconnect-disabled",
        "serve_multiplexed_model_id",
        "Serve-Multiplexed-Model-Id",
        "x-session-id",
    ],
)
def test_steering_header_is_recognised_however_it_is_spelt(header: str) -> None:
    assert steers(header.encode())


@pytest.mark.parametrize("header", ["authorization", "content-type", "x-request-id", "server", "x-stainless-timeout"])
def test_other_headers_stay(header: str) -> None:
    assert not steers(header.encode())


async def test_application_never_sees_a_steering_header() -> None:
    seen: list[Scope] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    scope: Scope = {"type": "http", "headers": [(b"serve_multiplexed_model_id", b"x"), (b"accept", b"*/*")]}
    await CleanHeaders(application)(scope, None, None)  # type: ignore[arg-type]

    assert seen[0]["headers"] == [(b"accept", b"*/*")]


async def test_application_sees_the_request_id_that_the_answer_carries() -> None:
    seen: list[Scope] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    scope: Scope = {"type": "http", "request_id": "ours", "headers": [(b"x-request-id", b"x" * 300)]}
    await CleanHeaders(application)(scope, None, None)  # type: ignore[arg-type]

    assert seen[0]["headers"] == [(b"x-request-id", b"ours")]
