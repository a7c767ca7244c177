"""A key that asks too often is told when to come back."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import httpx
import openai
import pytest

from serve_app.api.application import Services, create_app
from serve_app.settings import ApiKey, LimitSettings
from serve_app.testing import FakeClock
from tests.service.api.conftest import WAV, client_of, sdk_over
from tests.service.api.test_errors import FILES, TRANSCRIPTIONS, error_of

LEFT = "x-ratelimit-remaining-requests"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def http(services: Services, clock: FakeClock) -> AsyncIterator[httpx.AsyncClient]:
    settings = services.settings.model_copy(update={"limits": LimitSettings(requests_per_minute_per_key=2)})
    keys = [ApiKey("sk-one"), ApiKey("sk-two")]
    limited = dataclasses.replace(services, settings=settings, api_keys=lambda: keys, clock=clock)
    async with client_of(limited) as client:
        yield client


async def transcribe(http: httpx.AsyncClient, key: str = "sk-one", model: str = "whisper-1") -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return await http.post(TRANSCRIPTIONS, files=FILES, data={"model": model}, headers=headers)


async def test_one_request_too_many_is_a_429_with_a_computed_time(http: httpx.AsyncClient, clock: FakeClock) -> None:
    answers = [await transcribe(http) for _ in range(3)]
    other = await transcribe(http, "sk-two")
    clock.advance(float(answers[-1].headers["retry-after"]))
    later = await transcribe(http)

    assert [answer.status_code for answer in (*answers, other, later)] == [200, 200, 429, 200, 200]
    assert error_of(answers[-1])["code"] == "rate_limit_exceeded"
    assert answers[-1].headers["retry-after"] == "30"


async def test_answers_say_what_is_left_as_openai_does(http: httpx.AsyncClient) -> None:
    answers = [await transcribe(http) for _ in range(3)]

    assert [answer.headers[LEFT] for answer in answers] == ["1", "0", "0"]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {"2"}
    assert [answer.headers["x-ratelimit-reset-requests"] for answer in answers] == ["30s", "1m0s", "1m0s"]


async def test_refused_requests_count_too_and_say_what_is_left(http: httpx.AsyncClient) -> None:
    refused = await transcribe(http, model="nobody")

    assert (refused.status_code, refused.headers[LEFT]) == (404, "1")


async def test_what_the_service_has_no_room_for_does_not_count(services: Services, clock: FakeClock) -> None:
    limits = LimitSettings(requests_per_minute_per_key=2, max_requests=1)
    limited = dataclasses.replace(
        services,
        settings=services.settings.model_copy(update={"limits": limits}),
        api_keys=lambda: [ApiKey("sk-one")],
        clock=clock,
    )
    app = create_app(limited)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as http:
        with app.state.limiter.place("another"):
            full = [await transcribe(http) for _ in range(3)]
        served = await transcribe(http)
        app.state.limiter.drain()
        stopping = [await transcribe(http) for _ in range(3)]

    assert [(answer.status_code, answer.headers[LEFT]) for answer in full] == [(503, "2")] * 3
    assert (served.status_code, served.headers[LEFT]) == (200, "1")
    assert [(answer.status_code, answer.headers[LEFT]) for answer in stopping] == [(503, "1")] * 3


async def test_reading_does_not_count(http: httpx.AsyncClient) -> None:
    for _ in range(5):
        listed = await http.get("/v1/models", headers={"authorization": "Bearer sk-one"})

    assert LEFT not in listed.headers
    assert (await transcribe(http)).headers[LEFT] == "1"


async def test_sdk_knows_the_refusal(http: httpx.AsyncClient) -> None:
    sdk = sdk_over(http, "sk-one")
    for _ in range(2):
        await sdk.audio.transcriptions.create(file=("a.wav", WAV), model="whisper-1")

    with pytest.raises(openai.RateLimitError):
        await sdk.audio.transcriptions.create(file=("a.wav", WAV), model="whisper-1")
