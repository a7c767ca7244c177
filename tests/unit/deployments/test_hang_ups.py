from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError, TaskCancelledError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from serve_app.deployments.hang_ups import HangUps


async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
    await Request(scope, receive).body()


async def sends_nothing(message: Message) -> None:
    raise AssertionError(message)


@pytest.mark.parametrize("error", [TaskCancelledError(), ActorDiedError()])
async def test_client_that_hangs_up_in_its_upload_is_gone_and_no_fault(error: Exception) -> None:
    messages = [{"type": "http.request", "body": b"RIFF", "more_body": True}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        raise error

    with pytest.raises(ClientDisconnect):
        await HangUps(reads_all)({"type": "http"}, receive, sends_nothing)
