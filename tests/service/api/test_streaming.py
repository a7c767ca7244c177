"""Streams while they run: what comes when, and what happens when either side stops."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from typing import Any

import httpx
import pytest

from serve_app.api.application import Services, create_app
from serve_app.errors import RecognizerUnavailable
from serve_app.testing import FakeTranscriber, InMemoryMediaStore
from serve_app.transcript.types import TranscriptWarning, WarningCode
from tests.service.api.asgi import LeavingClient
from tests.service.api.conftest import LONG_WAV, SETTINGS, WAV, client_of

STREAM = {"model": "whisper-1", "stream": "true"}
WHOLE = {"model": "whisper-1"}


class Gate:
    """Holds a transcriber before one chunk until it is opened."""

    def __init__(self, chunk: int, failure: Exception | None = None) -> None:
        self._chunk = chunk
        self._failure = failure
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, chunk: int) -> None:
        if chunk == self._chunk:
            self.reached.set()
            await self.open.wait()
            if self._failure is not None:
                raise self._failure


def services_with(transcriber: FakeTranscriber, **changes: Any) -> Services:
    return dataclasses.replace(Services(SETTINGS, transcriber, InMemoryMediaStore()), **changes)


def events_of(body: bytes) -> list[dict[str, Any]]:
    blocks = body.decode().split("\n\n")
    assert blocks.pop() == ""
    return [json.loads(block.removeprefix("data: ")) for block in blocks if block.startswith("data: ")]


async def test_delta_comes_before_the_next_chunk_is_done() -> None:
    gate = Gate(1)
    client = LeavingClient(create_app(services_with(FakeTranscriber([" One.", " Two."], before_chunk=gate))), STREAM)
    running = asyncio.ensure_future(client.run())
    await gate.reached.wait()
    while len(client.sent) < 2:
        client.came.clear()
        await client.came.wait()
    early = client.body
    gate.open.set()
    await running

    assert events_of(early) == [{"type": "transcript.text.delta", "delta": "One."}]
    assert [event["type"].rsplit(".", 1)[1] for event in events_of(client.body)] == ["delta", "delta", "done"]
    assert client.sent[-1] == {"type": "http.response.body", "body": b""}


async def test_silent_stream_shows_that_it_is_alive() -> None:
    gate = Gate(1)
    app = create_app(services_with(FakeTranscriber(before_chunk=gate), heartbeat_s=0.0))
    client = LeavingClient(app, STREAM)
    running = asyncio.ensure_future(client.run())
    while b"\n: " not in client.body:
        client.came.clear()
        await client.came.wait()
    gate.open.set()
    await running

    assert events_of(client.body)[-1]["type"] == "transcript.text.done"


@pytest.mark.parametrize("fields", [STREAM, WHOLE], ids=["stream", "whole"])
@pytest.mark.parametrize("chunk", [0, 1, 3])
async def test_client_that_goes_away_cancels_the_transcription(fields: dict[str, str], chunk: int) -> None:
    gate, store = Gate(chunk), InMemoryMediaStore()
    transcriber = FakeTranscriber(before_chunk=gate, read=store.read)
    app = create_app(services_with(transcriber, media_store=store))
    client = LeavingClient(app, fields, LONG_WAV)
    running = asyncio.ensure_future(client.run())
    await gate.reached.wait()
    client.leave()
    await running

    assert transcriber.cancelled == 1
    assert (store.saved, store.files) == (1, {})
    assert app.state.limiter.in_progress == 0


@pytest.mark.parametrize("fields", [STREAM, WHOLE], ids=["stream", "whole"])
@pytest.mark.parametrize("chunk", [0, 1, 3])
async def test_cancelled_request_cancels_the_transcription(fields: dict[str, str], chunk: int) -> None:
    """Serve tells a deployment by cancellation that the client went away."""
    gate, store = Gate(chunk), InMemoryMediaStore()
    transcriber = FakeTranscriber(before_chunk=gate, read=store.read)
    app = create_app(services_with(transcriber, media_store=store))
    running = asyncio.ensure_future(LeavingClient(app, fields, LONG_WAV).run())
    await gate.reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert transcriber.cancelled == 1
    assert (store.saved, store.files) == (1, {})
    assert app.state.limiter.in_progress == 0


@pytest.mark.parametrize(
    ("failure", "code"),
    [(RecognizerUnavailable("It died."), "recognizer_unavailable"), (RuntimeError("secret"), "internal_error")],
)
async def test_failure_after_the_first_word_is_an_event(failure: Exception, code: str) -> None:
    gate = Gate(1, failure)
    gate.open.set()
    async with client_of(services_with(FakeTranscriber(before_chunk=gate))) as http:
        response = await _post(http, STREAM)

    assert response.status_code == 200
    delta, error = events_of(response.content)
    assert delta["type"] == "transcript.text.delta"
    assert error["error"]["code"] == code
    assert "secret" not in response.text


async def test_surprise_in_the_middle_of_a_stream_is_logged_with_the_request_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logging.getLogger("serve_app").propagate = True  # another test may have configured the logs
    gate = Gate(1, RuntimeError("secret"))
    gate.open.set()
    async with client_of(services_with(FakeTranscriber(before_chunk=gate))) as http:
        response = await _post(http, STREAM)

    assert f"request {response.headers['x-request-id']}: RuntimeError" in caplog.text
    assert "secret" not in caplog.text


async def test_stream_is_not_cached_and_has_no_end_marker(http: httpx.AsyncClient) -> None:
    response = await _post(http, STREAM)

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert "[DONE]" not in response.text
    assert "event:" not in response.text


async def test_silence_is_an_empty_text_with_a_warning() -> None:
    async with client_of(services_with(FakeTranscriber([]))) as http:
        whole, streamed = await _post(http, WHOLE), await _post(http, STREAM)

    assert whole.json()["text"] == ""
    assert [warning["code"] for warning in whole.json()["warnings"]] == ["no_speech"]
    assert [event["type"] for event in events_of(streamed.content)] == ["transcript.text.done"]


@pytest.mark.parametrize("sentences", [(" A.", " B."), ("", " B. ", "", " C."), ("春天", "来了"), ("  ", " ")], ids=str)
async def test_text_is_the_joined_deltas_whatever_was_said(sentences: tuple[str, ...]) -> None:
    async with client_of(services_with(FakeTranscriber(sentences))) as http:
        whole, streamed = await _post(http, WHOLE), await _post(http, STREAM)
    *deltas, done = events_of(streamed.content)

    assert whole.json()["text"] == done["text"] == "".join(event["delta"] for event in deltas)
    assert all(event["delta"] for event in deltas)
    assert done["text"] == done["text"].strip()


async def test_warnings_come_with_json_verbose_json_and_streams() -> None:
    warning = TranscriptWarning(WarningCode.REPETITION, "It repeats itself.", start=1.0, end=2.0)
    async with client_of(services_with(FakeTranscriber(warnings=[warning]))) as http:
        json_, verbose = await _post(http, WHOLE), await _post(http, WHOLE | {"response_format": "verbose_json"})
        streamed = events_of((await _post(http, STREAM)).content)[-1]

    shown = [{"code": "repetition", "message": "It repeats itself.", "start": 1.0, "end": 2.0}]
    assert json_.json()["warnings"] == verbose.json()["warnings"] == streamed["warnings"] == shown


async def _post(http: httpx.AsyncClient, fields: dict[str, str]) -> httpx.Response:
    return await http.post("/v1/audio/transcriptions", files={"file": ("a.wav", WAV)}, data=fields)
