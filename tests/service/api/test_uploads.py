"""How a file gets from the client to the transcriber, and that it is gone afterwards."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import httpx
import pytest

from serve_app.api.application import Services, create_app
from serve_app.settings import LimitSettings
from serve_app.testing import FakeTranscriber, InMemoryMediaStore
from serve_app.transcript.protocols import InlineMedia, StoredMedia
from tests.service.api.conftest import LONG_WAV, SETTINGS, WAV

PATH = "/v1/audio/transcriptions"
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}
MODEL = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
LIMIT = SETTINGS.limits.max_upload_bytes


def file_part(data: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\nContent-Type: application/octet-stream\r\n\r\n'
    return head + data + b"\r\n"


async def chunked(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 10_000):
        yield body[at : at + 10_000]


@pytest.mark.parametrize("parts", [(MODEL, file_part(WAV)), (file_part(WAV), MODEL)], ids=["last", "first"])
async def test_file_may_be_first_or_last_and_chunked_without_a_length(
    http: httpx.AsyncClient, transcriber: FakeTranscriber, parts: tuple[bytes, ...]
) -> None:
    response = await http.post(PATH, content=chunked(b"".join(parts) + b"--b--\r\n"), headers=MULTIPART)

    assert "content-length" not in response.request.headers
    assert response.status_code == 200
    assert transcriber.calls[0][0] == InlineMedia(WAV)


@pytest.mark.parametrize("stream", ["true", "false"])
async def test_large_file_lies_in_the_store_only_while_it_is_needed(
    http: httpx.AsyncClient, transcriber: FakeTranscriber, store: InMemoryMediaStore, stream: str
) -> None:
    response = await http.post(PATH, files={"file": ("x", LONG_WAV)}, data={"model": "whisper-1", "stream": stream})

    assert response.status_code == 200
    assert isinstance(transcriber.calls[0][0], StoredMedia)
    assert (store.saved, store.files) == (1, {})


async def test_large_file_that_is_no_audio_leaves_nothing_behind(
    http: httpx.AsyncClient, store: InMemoryMediaStore
) -> None:
    response = await http.post(PATH, files={"file": ("x", b"no" * 100_000)}, data={"model": "whisper-1"})

    assert response.status_code == 400
    assert (store.saved, store.files) == (1, {})


async def test_refused_form_never_reaches_the_store(http: httpx.AsyncClient, store: InMemoryMediaStore) -> None:
    await http.post(PATH, files={"file": ("x", LONG_WAV)}, data={"model": "nobody"})

    assert store.saved == 0


async def test_body_that_declares_too_much_is_refused_unread(http: httpx.AsyncClient) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    response = await http.post(PATH, content=unread(), headers=MULTIPART | {"content-length": str(LIMIT + 1)})

    _is_too_large(response)
    assert str(LIMIT + 1) in response.json()["error"]["message"]


async def test_body_without_a_length_is_counted_while_it_comes(
    http: httpx.AsyncClient, transcriber: FakeTranscriber
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield file_part(b"").removesuffix(b"\r\n")
        while True:
            sent += 10_000
            yield b"x" * 10_000

    response = await http.post(PATH, content=endless(), headers=MULTIPART)

    _is_too_large(response)
    assert sent <= LIMIT + 10_000
    assert not transcriber.calls


@pytest.mark.parametrize("path", ["/v1/models", "/nowhere"])
async def test_limit_holds_for_every_path(http: httpx.AsyncClient, path: str) -> None:
    _is_too_large(await http.post(path, content=b"x" * (LIMIT + 1)))


async def test_body_that_stops_coming_is_ended_and_gives_its_place_back(
    services: Services, transcriber: FakeTranscriber
) -> None:
    impatient = SETTINGS.model_copy(update={"limits": LimitSettings(upload_idle_s=1e-6)})
    app = create_app(dataclasses.replace(services, settings=impatient))
    in_progress = []

    async def stalling() -> AsyncIterator[bytes]:
        yield MODEL + file_part(WAV)
        in_progress.append(app.state.limiter.in_progress)
        await asyncio.Event().wait()

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as http:
        response = await http.post(PATH, content=stalling(), headers=MULTIPART)

    assert response.status_code == 408
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert response.headers["x-request-id"]
    assert response.headers["connection"] == "close"
    assert [*in_progress, app.state.limiter.in_progress] == [1, 0]
    assert not transcriber.calls


def _is_too_large(response: httpx.Response) -> None:
    error = response.json()["error"]
    assert response.status_code == 413
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "file", "audio_too_large")
    assert str(LIMIT) in error["message"]
    assert response.headers["x-request-id"]
