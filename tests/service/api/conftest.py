"""The application over stand-ins, and the official SDK in front of it, in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import openai
import pytest

from serve_app.api.application import Services, create_app
from serve_app.models.types import ModelState
from serve_app.settings import TINY_EN, LimitSettings, ModelSettings, Settings
from serve_app.testing import FakeClock, FakeModels, FakeTranscriber, InMemoryMediaStore, silent_wav

SETTINGS = Settings(
    models={"tiny.en": TINY_EN, "acme/large": ModelSettings(source="acme/large")},
    limits=LimitSettings(max_upload_bytes=400_000, inline_upload_bytes=150_000),
)
WAV = silent_wav(2.5)  # 80 044 bytes: travels inline
LONG_WAV = silent_wav(6.0)  # 192 044 bytes: through the store


@pytest.fixture
def store() -> InMemoryMediaStore:
    return InMemoryMediaStore()


@pytest.fixture
def transcriber(store: InMemoryMediaStore) -> FakeTranscriber:
    return FakeTranscriber(read=store.read)


@pytest.fixture
def models() -> FakeModels:
    return models_of_settings()


@pytest.fixture
def services(transcriber: FakeTranscriber, store: InMemoryMediaStore, models: FakeModels) -> Services:
    return Services(SETTINGS, transcriber, store, clock=FakeClock(), now=FakeClock().utc, models=models)


@pytest.fixture
async def http(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(services) as client:
        yield client


@pytest.fixture
async def sdk(http: httpx.AsyncClient) -> openai.AsyncOpenAI:
    return sdk_over(http)


def models_of_settings() -> FakeModels:
    """Only the default model is loaded."""
    models = FakeModels(tuple(SETTINGS.models))
    models.become("tiny.en", ModelState.READY)
    return models


def client_of(services: Services) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(services))
    return httpx.AsyncClient(transport=transport, base_url="http://service")


def sdk_over(client: httpx.AsyncClient, api_key: str = "none") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key=api_key,
        base_url="http://service/v1",
        http_client=client,
        max_retries=0,
        _strict_response_validation=True,
    )
