"""`/model/events`, read by someone else's parser."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from httpx_sse import ServerSentEvent, aconnect_sse

from serve_app.api.application import Services, create_app
from serve_app.errors import CoordinatorUnavailable
from serve_app.models.types import ModelEvent, ModelState, Reason
from serve_app.testing import FakeModels
from tests.service.api.conftest import models_of_settings
from tests.service.api.test_errors import error_of
from tests.service.api.wire import served


@asynccontextmanager
async def following(url: str, **headers: str) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
    async with (
        httpx.AsyncClient(base_url=url) as client,
        aconnect_sse(client, "GET", "/model/events", headers=headers) as source,
    ):
        yield source.aiter_sse()


async def take(events: AsyncIterator[ServerSentEvent], count: int) -> list[ServerSentEvent]:
    return [await anext(events) for _ in range(count)]


def changes(events: list[ServerSentEvent]) -> list[tuple[str, str, str]]:
    return [(event.json()["model"], event.event, event.json()["reason"]) for event in events]


async def test_stream_begins_with_the_state_of_each_model_and_goes_on_with_changes(
    services: Services, models: FakeModels
) -> None:
    async with served(create_app(services)) as url, following(url) as events:
        states = await take(events, 2)
        models.become("acme/large", ModelState.LOADING, Reason.LOAD)
        models.become("acme/large", ModelState.READY)
        models.become("acme/large", ModelState.UNLOADED, Reason.IDLE)
        news = await take(events, 3)

    assert changes(states) == [("tiny.en", "ready", "loaded"), ("acme/large", "unloaded", "never_loaded")]
    assert changes(news) == [
        ("acme/large", "loading", "load"),
        ("acme/large", "ready", "loaded"),
        ("acme/large", "unloaded", "idle"),
    ]


async def test_event_says_what_happened_to_which_model_and_why(services: Services, models: FakeModels) -> None:
    async with served(create_app(services)) as url, following(url) as events:
        await take(events, 2)
        models.become("tiny.en", ModelState.FAILED, Reason.ERROR, error="The file is damaged.")
        (event,) = await take(events, 1)
    data = event.json()

    assert data.pop("at").endswith("Z")
    assert data == {
        "type": "failed",
        "model": "tiny.en",
        "state": "failed",
        "reason": "error",
        "replica": None,
        "error": "The file is damaged.",
    }


async def test_all_subscribers_get_a_change_and_a_late_one_the_state(services: Services, models: FakeModels) -> None:
    async with served(create_app(services)) as url, following(url) as one, following(url) as two:
        await take(one, 2)
        await take(two, 2)
        models.become("acme/large", ModelState.LOADING, Reason.LOAD)
        got = await take(one, 1), await take(two, 1)
        async with following(url) as late:
            states = await take(late, 2)

    assert [changes(events) for events in got] == [[("acme/large", "loading", "load")]] * 2
    assert changes(states)[1] == ("acme/large", "loading", "load")


async def test_stream_goes_on_after_the_last_event_that_the_client_has(services: Services, models: FakeModels) -> None:
    async with served(create_app(services)) as url:
        async with following(url) as events:
            last = (await take(events, 2))[-1].id
        models.become("acme/large", ModelState.LOADING, Reason.LOAD)
        async with following(url, **{"Last-Event-ID": last}) as events:
            missed = await take(events, 1)

    assert changes(missed) == [("acme/large", "loading", "load")]


async def test_states_come_again_when_the_number_is_not_known_here(services: Services) -> None:
    async with served(create_app(services)) as url, following(url, **{"Last-Event-ID": "1"}) as events:
        states = await take(events, 2)

    assert [event.json()["model"] for event in states] == ["tiny.en", "acme/large"]


async def test_slices_are_renewed_and_repeat_nothing(services: Services) -> None:
    class Counted(FakeModels):
        slices = 0

        async def events(self, *, after_seq: int | None) -> AsyncGenerator[ModelEvent, None]:
            self.slices += 1
            if self.slices == 3:
                raise CoordinatorUnavailable("starting again")
            if self.slices == 5:
                self.become("tiny.en", ModelState.READY)
            async for event in super().events(after_seq=after_seq):
                yield event

    models = Counted(slice_s=0.01)
    async with (
        served(create_app(dataclasses.replace(services, models=models, sleep=_at_once))) as url,
        following(url) as events,
    ):
        got = await take(events, 2)

    assert changes(got) == [("tiny.en", "unloaded", "never_loaded"), ("tiny.en", "ready", "loaded")]


async def test_stream_ends_when_the_gateway_drains(services: Services) -> None:
    app = create_app(dataclasses.replace(services, models=FakeModels(slice_s=0.01)))
    async with served(app) as url, following(url) as events:
        states = await take(events, 1)
        app.state.limiter.drain()
        rest = [event async for event in events]

    assert len(states) == 1
    assert rest == []


async def test_failure_in_the_middle_is_the_last_event(services: Services) -> None:
    class Broken(FakeModels):
        async def events(self, *, after_seq: int | None) -> AsyncGenerator[ModelEvent, None]:
            async for event in super().events(after_seq=after_seq):
                yield event
                raise ZeroDivisionError("with a secret")

    async with served(create_app(dataclasses.replace(services, models=Broken()))) as url, following(url) as events:
        got = [event async for event in events]

    assert got[-1].json()["error"]["code"] == "internal_error"
    assert "secret" not in got[-1].data


async def test_silent_stream_shows_that_it_is_alive(services: Services) -> None:
    app = create_app(dataclasses.replace(services, models=models_of_settings(), heartbeat_s=0.01))
    async with (
        served(app) as url,
        httpx.AsyncClient(base_url=url) as client,
        client.stream("GET", "/model/events") as response,
    ):
        heartbeat = await anext(line async for line in response.aiter_lines() if line.startswith(":"))

    assert heartbeat == ": waiting"


@pytest.mark.parametrize("given", ["abc", "-1", "9" * 16, "1.5"])
async def test_number_that_no_event_has_is_refused(http: httpx.AsyncClient, given: str) -> None:
    response = await http.get("/model/events", headers={"Last-Event-ID": given})

    assert (response.status_code, error_of(response)["param"]) == (400, "Last-Event-ID")


async def test_streams_have_a_limit(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.api.application.MAX_STREAMS", 1)
    async with served(create_app(services)) as url, following(url) as events, httpx.AsyncClient(base_url=url) as http:
        await take(events, 1)
        response = await http.get("/model/events")

    assert (response.status_code, error_of(response)["code"]) == (503, "overloaded")


async def _at_once(_: float) -> None:
    await asyncio.sleep(0)
