"""Headers by which a client could steer Serve do not get past the proxy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http import auto

from serve_app.api.edge import CleanHeaders, proxy_middlewares, steers


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


@pytest.fixture
def wrapped() -> Iterator[Callable[[Scope], Awaitable[tuple[list[Scope], list[Message]]]]]:
    """As Serve wraps its own application: each middleware around the one before. Gives what that saw, and what was sent."""
    before = auto.AutoHTTPProtocol

    async def ask(scope: Scope) -> tuple[list[Scope], list[Message]]:
        seen: list[Scope] = []
        sent: list[Message] = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope)

        async def send(message: Message) -> None:
            sent.append(message)

        app: ASGIApp = application
        for middleware in proxy_middlewares():
            app = middleware.cls(app, *middleware.args, **middleware.kwargs)
        await app(scope, None, send)  # type: ignore[arg-type]
        return seen, sent

    yield ask
    auto.AutoHTTPProtocol = before


async def test_serve_sees_the_id_that_the_answer_will_carry_and_no_insane_one(wrapped: Any) -> None:
    (seen,), _ = await wrapped({"type": "http", "headers": [(b"x-request-id", b"x" * 300), (b"X-Session-Id", b"y")]})
    headers = dict(seen["headers"])

    assert headers == {b"x-request-id": seen["request_id"].encode()}
    assert seen["request_id"].startswith("req_")


@pytest.mark.parametrize(
    ("header", "status"),
    [((b"content-length", b"9" * 15), 413), ((b"x-a", b"b" * 40_000), 431), ((b"content-encoding", b"gzip"), 415)],
)
async def test_refusals_of_the_proxy_carry_what_every_answer_does(
    wrapped: Any, header: tuple[bytes, bytes], status: int
) -> None:
    seen, sent = await wrapped({"type": "http", "headers": [header]})
    headers = dict(sent[0]["headers"])

    assert (seen, sent[0]["status"]) == ([], status)
    assert headers[b"x-request-id"].startswith(b"req_")
    assert headers[b"x-content-type-options"] == b"nosniff"
