"""Keys, and what is open without one."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import httpx
import openai
import pytest

from serve_app.api.application import Services
from serve_app.settings import ApiKey, HttpSettings, LimitSettings, Settings
from serve_app.testing import FakeTranscriber
from tests.service.api.conftest import WAV, client_of, sdk_over

SECRETS = ("sk-one", "sk-two", "sk-schlüssel")
KEYS = [ApiKey(secret) for secret in SECRETS]
FILES = {"file": ("speech.wav", WAV)}


@pytest.fixture
async def guarded(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(dataclasses.replace(services, api_keys=lambda: KEYS)) as client:
        yield client


@pytest.mark.parametrize("key", SECRETS)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_each_key_opens(guarded: httpx.AsyncClient, key: str, scheme: str) -> None:
    response = await guarded.get("/v1/models", headers={"authorization": f"{scheme} {key}".encode()})

    assert response.status_code == 200


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer sk-on", "Bearer sk-one2", "Basic sk-one", "sk-one"]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/x"),
        ("POST", "/v1/audio/transcriptions"),
        ("POST", "/v1/audio/translations"),
    ],
)
async def test_without_a_right_key_it_is_a_401(guarded: httpx.AsyncClient, header: str, method: str, path: str) -> None:
    response = await guarded.request(method, path, headers={"authorization": header})

    assert response.status_code == 401
    error = response.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, "invalid_api_key")
    assert response.headers["x-request-id"]


async def test_sdk_knows_a_wrong_key(guarded: httpx.AsyncClient) -> None:
    with pytest.raises(openai.AuthenticationError):
        await sdk_over(guarded, "sk-wrong").audio.transcriptions.create(file=("a.wav", WAV), model="whisper-1")


@pytest.mark.parametrize(
    "path", ["/health", "/health/live", "/health/ready", "/docs", "/openapi.json", "/", "/static/app.js"]
)
async def test_probes_and_pages_are_open(guarded: httpx.AsyncClient, path: str) -> None:
    assert (await guarded.get(path)).status_code == 200


async def test_key_with_too_many_requests_is_refused_and_others_are_not(services: Services) -> None:
    settings = Settings(limits=LimitSettings(max_requests_per_key=1))
    meanwhile: list[httpx.Response] = []

    async def ask(_: int) -> None:
        if not meanwhile:
            meanwhile.append(await _post(http, "sk-one"))
            meanwhile.append(await _post(http, "sk-two"))

    transcriber = FakeTranscriber(before_chunk=ask)
    limited = dataclasses.replace(services, settings=settings, transcriber=transcriber, api_keys=lambda: KEYS)
    async with client_of(limited) as http:
        first = await _post(http, "sk-one")

    refused, other = meanwhile
    assert (first.status_code, refused.status_code, other.status_code) == (200, 429, 200)
    assert (refused.json()["error"]["type"], refused.json()["error"]["code"]) == ("requests", "rate_limit_exceeded")
    assert refused.headers["retry-after"] == "1"


@pytest.mark.parametrize("path", ["/", "/docs", "/static/app.js"])
async def test_pages_can_be_switched_off(services: Services, path: str) -> None:
    hidden = dataclasses.replace(services, settings=Settings(http=HttpSettings(enable_ui=False)))
    async with client_of(hidden) as http:
        assert (await http.get(path)).status_code == 404
        assert (await http.get("/openapi.json")).status_code == 200


async def test_pages_load_nothing_from_elsewhere(guarded: httpx.AsyncClient) -> None:
    for path in ("/", "/docs"):
        page = (await guarded.get(path)).text

        assert 'src="http' not in page
        assert 'rel="stylesheet" href="http' not in page
    assert (await guarded.get("/docs/static/swagger-ui-bundle.js")).status_code == 200


async def _post(http: httpx.AsyncClient, key: str) -> httpx.Response:
    return await http.post(
        "/v1/audio/transcriptions",
        files=FILES,
        data={"model": "whisper-1"},
        headers={"authorization": f"Bearer {key}"},
    )
