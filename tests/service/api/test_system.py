"""Health, models and the document that describes it all."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Never

import httpx
import pytest

from serve_app.api.application import Services, create_app
from serve_app.errors import CoordinatorUnavailable
from serve_app.models.types import ClusterModels, GpuMemory, ModelState, Reason
from serve_app.settings import RecognizerSettings
from serve_app.testing import FakeModels
from tests.service.api.conftest import SETTINGS, WAV, client_of


async def test_health_says_what_is_known(http: httpx.AsyncClient) -> None:
    assert (await http.get("/health")).json() == {
        "status": "ok",
        "model": "tiny.en",
        "model_state": "ready",
        "queue_depth": 0,
        "gpu": None,
    }
    assert (await http.get("/health/live")).json() == {"status": "ok"}
    assert (await http.get("/health/ready")).json() == {"status": "ready"}


async def test_service_is_not_ready_while_models_load(services: Services, models: FakeModels) -> None:
    async def not_yet() -> bool:
        return False

    models.become("tiny.en", ModelState.LOADING, Reason.PRELOAD)
    async with client_of(dataclasses.replace(services, ready=not_yet)) as http:
        health, ready = await http.get("/health"), await http.get("/health/ready")

    assert (health.status_code, health.json()["model_state"]) == (200, "loading")
    assert (ready.status_code, ready.json()["status"]) == (503, "loading")
    assert "models" in ready.json()["reason"]


async def test_service_that_stops_is_alive_but_not_ready_and_begins_nothing_new(services: Services) -> None:
    app = create_app(services)
    app.state.limiter.drain()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        live, ready = await http.get("/health/live"), await http.get("/health/ready")
        refused = await http.post("/v1/audio/transcriptions", data={"model": "whisper-1"}, files={"file": WAV})

    assert live.status_code == 200
    assert (ready.status_code, ready.json()["status"]) == (503, "draining")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) > 0


async def test_health_answers_when_what_is_behind_it_does_not(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never() -> Never:
        await asyncio.Event().wait()
        raise AssertionError

    class AwayModels(FakeModels):
        async def status(self) -> ClusterModels:
            await never()

    monkeypatch.setattr("serve_app.api.system.ASKING_S", 0.0)
    async with client_of(dataclasses.replace(services, ready=never, models=AwayModels())) as http:
        health, ready = await http.get("/health"), await http.get("/health/ready")

    assert (health.status_code, health.json()["status"], health.json()["model_state"]) == (200, "degraded", None)
    assert ready.status_code == 503


@pytest.mark.parametrize("state", list(ModelState))
async def test_health_shows_the_state_of_the_default_model(
    http: httpx.AsyncClient, models: FakeModels, state: ModelState
) -> None:
    models.become("tiny.en", state)

    assert (await http.get("/health")).json()["model_state"] == state


async def test_health_is_degraded_and_answers_while_the_states_of_models_are_not_told(services: Services) -> None:
    class AwayModels(FakeModels):
        async def status(self) -> ClusterModels:
            raise CoordinatorUnavailable("starting again")

    async with client_of(dataclasses.replace(services, models=AwayModels())) as http:
        health, ready = await http.get("/health"), await http.get("/health/ready")

    assert (health.status_code, health.json()["status"], health.json()["model_state"]) == (200, "degraded", None)
    assert ready.status_code == 200


async def test_health_shows_the_gpu_and_its_memory(services: Services, models: FakeModels) -> None:
    models.gpus = (("replica-1", GpuMemory(total_bytes=24_000, free_bytes=20_000, ours_bytes=3_000)),)
    settings = SETTINGS.model_copy(update={"recognizer": RecognizerSettings(num_gpus=0.5)})
    async with client_of(dataclasses.replace(services, settings=settings)) as http:
        health = await http.get("/health")

    assert health.json()["gpu"] == {
        "reserved": 0.5,
        "memory": [{"total_bytes": 24_000, "free_bytes": 20_000, "ours_bytes": 3_000}],
    }


async def test_document_names_the_states_of_health(http: httpx.AsyncClient) -> None:
    schemas = (await http.get("/openapi.json")).json()["components"]["schemas"]

    assert schemas["ModelState"]["enum"] == list(ModelState)
    assert {"$ref": "#/components/schemas/ModelState"} in schemas["Health"]["properties"]["model_state"]["anyOf"]


async def test_health_counts_the_queue_depth(services: Services, http: httpx.AsyncClient) -> None:
    app = http._transport.app  # type: ignore[attr-defined]
    with app.state.limiter.place(None):
        health = await http.get("/health")

    assert health.json()["queue_depth"] == 1


@pytest.mark.parametrize("path", ["/v1/models/acme/large", "/v1/models/acme%2Flarge"])
async def test_model_id_with_a_slash_is_found_raw_and_escaped(http: httpx.AsyncClient, path: str) -> None:
    response = await http.get(path)

    assert response.json() == {
        "id": "acme/large",
        "object": "model",
        "created": 0,
        "owned_by": "rayscribe",
        "aliases": [],
        "languages": [],
        "tasks": ["transcribe", "translate"],
        "state": "unloaded",
    }


async def test_unknown_model_is_a_404(http: httpx.AsyncClient) -> None:
    response = await http.get("/v1/models/nobody/nothing")

    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("name", "state"),
    [("shutil.disk_usage", lambda _: SimpleNamespace(free=1000)), ("os.access", lambda *_: False)],
    ids=["full", "read-only"],
)
async def test_service_is_not_ready_while_its_disk_takes_nothing(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, state: Callable[..., object]
) -> None:
    settings = services.settings.model_copy(update={"data_dir": str(tmp_path)})
    async with client_of(dataclasses.replace(services, settings=settings)) as http:
        with monkeypatch.context() as disk:
            disk.setattr(name, state)
            without_room = await http.get("/health/ready")
        with_room = await http.get("/health/ready")

    assert (without_room.status_code, without_room.json()["status"]) == (503, "unavailable")
    assert "full or read-only" in without_room.json()["reason"]
    assert str(tmp_path) not in without_room.text
    assert with_room.status_code == 200


async def test_list_is_of_the_shape_openai_has(http: httpx.AsyncClient) -> None:
    answer = (await http.get("/v1/models")).json()

    assert answer["object"] == "list"
    assert [model["id"] for model in answer["data"]] == ["tiny.en", "acme/large"]
    assert answer["data"][0]["aliases"] == ["whisper-1"]


async def test_document_shows_the_form_with_openai_s_names(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    form = document["components"]["schemas"]["TranscriptionForm"]

    assert form["required"] == ["file", "model"]
    assert {"timestamp_granularities[]", "include[]", "keywords[]", "languages[]", "stream"} <= set(form["properties"])
    assert document["components"]["schemas"]["Format"]["enum"] == [
        "json",
        "text",
        "srt",
        "verbose_json",
        "vtt",
        "diarized_json",
    ]


async def test_document_shows_both_forms_of_chunking_strategy(http: httpx.AsyncClient) -> None:
    schemas = (await http.get("/openapi.json")).json()["components"]["schemas"]

    assert schemas["TranscriptionForm"]["properties"]["chunking_strategy"]["anyOf"] == [
        {"const": "auto"},
        {"$ref": "#/components/schemas/ServerVad"},
    ]


async def test_document_names_every_status(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    post = document["paths"]["/v1/audio/transcriptions"]["post"]

    assert sorted(post["responses"]) == ["200", "400", "401", "403", "404", "408", "413", "429", "500", "503"]
    assert sorted(document["paths"]["/v1/models"]["get"]["responses"]) == ["200", "401"]
    assert "422" not in str(document)
