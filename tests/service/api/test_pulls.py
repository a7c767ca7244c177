"""`POST` and `DELETE` of `/v1/models/{id}`, with a model hub on loopback."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.api.application import Services
from serve_app.api.pulls import AT_ONCE, QUEUED
from serve_app.models.pull import PullCancelled
from serve_app.models.types import ClusterModels, ModelState
from serve_app.testing import FakeModels
from tests.service.api.conftest import SETTINGS, WAV, client_of
from tests.service.api.test_errors import error_of
from tests.service.models import conftest as hubs
from tests.service.models.hub import FakeHub

hub = hubs.hub

MODEL = "Systran/faster-whisper-test"
ACME = "acme/large"
PATH = f"/v1/models/{MODEL}"
TRIES = 1000


@pytest.fixture
def here(services: Services, tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> Services:
    """A service with an empty disk, whose first answer waits for the end of a pull; its hub has one model that may be pulled."""
    monkeypatch.setattr("serve_app.api.models.AT_ONCE_S", 60.0)
    return dataclasses.replace(services, settings=SETTINGS.model_copy(update={"data_dir": str(tmp_path)}))


@pytest.fixture
async def http(here: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(here) as client:
        yield client


@pytest.fixture
def let_go(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Half of the weights come; the rest when this is called. Nobody waits for the end of a pull in the first answer."""
    monkeypatch.setattr("serve_app.api.models.AT_ONCE_S", 0.01)
    monkeypatch.setattr("serve_app.api.pulls.TELL_S", 0.01)
    half_out, go_on = threading.Event(), threading.Event()
    hub.gate["model.bin"] = (half_out, go_on)
    return go_on.set


async def pulled(http: httpx.AsyncClient) -> httpx.Response:
    """The answer of a pull that has ended."""
    for _ in range(TRIES):
        response = await http.post(PATH)
        if response.status_code != 202:
            return response
    raise AssertionError("it does not end")


def events_of(response: httpx.Response) -> list[tuple[str, Any]]:
    blocks = [block.split("\n") for block in response.text.split("\n\n") if "data: " in block]
    named = [dict(line.split(": ", 1) for line in block) for block in blocks]
    return [(event.get("event", ""), json.loads(event["data"])) for event in named]


@pytest.mark.parametrize("path", [PATH, PATH.replace("Systran/", "Systran%2F")])
async def test_model_that_was_pulled_can_be_named_at_once(http: httpx.AsyncClient, hub: FakeHub, path: str) -> None:
    answer = await http.post(path)
    listed = [model["id"] for model in (await http.get("/v1/models")).json()["data"]]
    transcript = await http.post("/v1/audio/transcriptions", files={"file": WAV}, data={"model": MODEL})

    assert (answer.status_code, answer.json()["id"]) == (200, MODEL)
    assert answer.json()["languages"] == ["en"]
    assert listed == ["tiny.en", ACME, MODEL]
    assert transcript.status_code == 200


async def test_pull_that_lasts_is_accepted_and_joined_by_the_same_request(
    http: httpx.AsyncClient, hub: FakeHub, let_go: Callable[[], None]
) -> None:
    accepted, again = await http.post(PATH), await http.post(PATH)
    let_go()
    ended = await pulled(http)

    assert (accepted.status_code, again.status_code) == (202, 202)
    assert (again.json()["id"], again.json()["state"]) == (MODEL, "pulling")
    assert (ended.status_code, ended.json()["id"]) == (200, MODEL)
    assert len(hub.asked("model.bin")) == 1


@pytest.mark.parametrize("asked", [{"params": {"stream": "true"}}, {"headers": {"accept": "text/event-stream"}}])
async def test_progress_is_told_until_the_model_is_there(
    http: httpx.AsyncClient, let_go: Callable[[], None], hub: FakeHub, asked: dict[str, Any]
) -> None:
    threading.Thread(target=lambda: hub.gate["model.bin"][0].wait(30) and let_go()).start()
    response = await http.post(PATH, **asked)
    events = events_of(response)
    progress = [data for kind, data in events if kind == "progress"]

    assert response.headers["content-type"].startswith("text/event-stream")
    assert progress[-1]["done_bytes"] == progress[-1]["total_bytes"] > 0
    assert [data["done_bytes"] for data in progress] == sorted(data["done_bytes"] for data in progress)
    assert (events[-1][0], events[-1][1]["model"]["id"]) == ("done", MODEL)


async def test_pull_that_fails_later_ends_its_stream_with_the_error(
    http: httpx.AsyncClient, hub: FakeHub, let_go: Callable[[], None]
) -> None:
    hub.wrong.add("model.bin")
    threading.Thread(target=lambda: hub.gate["model.bin"][0].wait(30) and let_go()).start()
    events = events_of(await http.post(PATH, params={"stream": "true"}))

    assert events[-1][1]["error"]["code"] == "model_pull_failed"
    assert "checksum" in events[-1][1]["error"]["message"]


@pytest.mark.parametrize("stream", ["true", "false"])
@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("nobody/nothing", 400, "invalid_value"),
        ("tiny.en", 400, "invalid_value"),
        ("Systran/absent", 502, "model_pull_failed"),
        ("../../etc", 400, "invalid_value"),
    ],
    ids=["not allowed", "in a wheel", "not at the hub", "no name"],
)
async def test_pull_that_cannot_be_is_refused_at_once(
    http: httpx.AsyncClient, model: str, status: int, code: str, stream: str
) -> None:
    response = await http.post(f"/v1/models/{model.replace('/', '%2F')}", json={"stream": stream})

    assert (response.status_code, error_of(response)["code"]) == (status, code)


async def test_offline_service_pulls_nothing_and_opens_no_connection(here: Services, hub: FakeHub) -> None:
    offline = here.settings.model_copy(update={"offline": True})
    async with client_of(dataclasses.replace(here, settings=offline)) as http:
        response = await http.post(PATH)
        listed = [model["id"] for model in (await http.get("/v1/models")).json()["data"]]

    assert (response.status_code, error_of(response)["code"]) == (502, "model_pull_failed")
    assert "offline" in error_of(response)["message"]
    assert hub.requests == []
    assert listed == ["tiny.en"], "what would have to be fetched cannot be loaded"


async def test_pull_ends_when_the_gateway_drains(
    http: httpx.AsyncClient, hub: FakeHub, let_go: Callable[[], None]
) -> None:
    await http.post(PATH)
    http._transport.app.state.limiter.drain()  # type: ignore[attr-defined]
    let_go()
    response = await pulled(http)

    assert (response.status_code, error_of(response)["code"]) == (502, "model_pull_failed")
    assert "goes on where it was" in error_of(response)["message"]


async def test_model_that_was_pulled_can_be_removed(http: httpx.AsyncClient) -> None:
    await http.post(PATH)
    removed, again = await http.delete(PATH), await http.delete(PATH)

    assert removed.json() == {"id": MODEL, "object": "model", "deleted": True}
    assert (again.status_code, error_of(again)["code"]) == (404, "model_not_found")
    assert (await http.get(PATH)).status_code == 404


@pytest.mark.parametrize("state", sorted(set(ModelState) - {ModelState.UNLOADED, ModelState.FAILED}))
async def test_weights_of_a_model_in_memory_stay(here: Services, state: ModelState) -> None:
    models = FakeModels(("tiny.en", MODEL))
    async with client_of(dataclasses.replace(here, models=models)) as http:
        await http.post(PATH)
        models.become(MODEL, state)
        refused = await http.delete(PATH)
        models.become(MODEL, ModelState.UNLOADED)
        removed = await http.delete(PATH)

    assert (refused.status_code, error_of(refused)["code"]) == (409, "model_in_use")
    assert removed.status_code == 200


@pytest.mark.parametrize(
    ("model", "status"), [("tiny.en", 400), ("whisper-1", 400), (ACME, 404), ("nobody/nothing", 404)]
)
async def test_what_was_not_pulled_cannot_be_removed(http: httpx.AsyncClient, model: str, status: int) -> None:
    response = await http.delete(f"/v1/models/{model}")

    assert response.status_code == status
    assert error_of(response)["param"] == "model"


async def test_removal_stops_a_pull(http: httpx.AsyncClient, hub: FakeHub, let_go: Callable[[], None]) -> None:
    await http.post(PATH)
    # A pull that is stopped before its first half is out leaves the thread to wait, for which nobody is to wait at the end.
    threading.Thread(target=lambda: hub.gate["model.bin"][0].wait(30) and let_go(), daemon=True).start()
    removed = await http.delete(PATH)

    assert removed.status_code == 200
    assert (await http.get(PATH)).status_code == 404


@pytest.fixture
async def crowded(here: Services, hub: FakeHub, let_go: Callable[[], None]) -> AsyncIterator[httpx.AsyncClient]:
    """As many pulls run as may at once, until `let_go`."""
    names = [f"Systran/faster-whisper-{number}" for number in range(AT_ONCE)]
    hub.repositories |= dict.fromkeys(names, hub.repositories[MODEL])
    async with client_of(here) as http:
        for name in names:
            await http.post(f"/v1/models/{name}")
        yield http
        let_go()
        for name in names:
            await http.delete(f"/v1/models/{name}")


async def test_pull_that_waits_for_its_turn_is_ended_at_once(crowded: httpx.AsyncClient, hub: FakeHub) -> None:
    queued = await crowded.post(PATH)
    joined = crowded._transport.app.state.pulls.begin(MODEL)  # type: ignore[attr-defined]
    removed = await crowded.delete(PATH)

    assert (queued.status_code, removed.status_code) == (202, 200)
    assert removed.json() == {"id": MODEL, "object": "model", "deleted": True}
    with pytest.raises(PullCancelled):
        await joined.ends_within(0)


async def test_pull_that_cannot_be_is_refused_while_others_run(crowded: httpx.AsyncClient) -> None:
    response = await crowded.post("/v1/models/nobody/nothing")

    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_value")


async def test_pulls_that_wait_for_their_turn_are_not_without_number(crowded: httpx.AsyncClient) -> None:
    names = [f"/v1/models/Systran/faster-whisper-more-{number}" for number in range(QUEUED)]
    queued = [(await crowded.post(name)).status_code for name in names]
    refused = await crowded.post(PATH)
    for name in names:
        await crowded.delete(name)

    assert queued == [202] * QUEUED
    assert (refused.status_code, error_of(refused)["code"]) == (429, "rate_limit_exceeded")
    assert int(refused.headers["retry-after"]) > 0


async def test_pull_that_fails_for_no_known_reason_is_logged(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("serve_app.api.pulls.pull_model", broken)
    with contextlib.suppress(ZeroDivisionError):  # which a real server answers
        await http.post(PATH)

    assert any(record.exc_info and record.exc_info[0] is ZeroDivisionError for record in caplog.records)


async def test_list_says_which_models_are_loaded(http: httpx.AsyncClient, models: FakeModels) -> None:
    models.become(ACME, ModelState.LOADING)
    data = (await http.get("/v1/models")).json()["data"]

    assert {model["id"]: model["state"] for model in data} == {"tiny.en": "ready", ACME: "loading"}


async def test_list_is_there_while_nobody_can_tell_of_models(here: Services) -> None:
    class AwayModels(FakeModels):
        async def status(self) -> ClusterModels:
            raise TimeoutError

    async with client_of(dataclasses.replace(here, models=AwayModels())) as http:
        data = (await http.get("/v1/models")).json()["data"]

    assert [(model["id"], "state" in model) for model in data] == [("tiny.en", False), (ACME, False)]
