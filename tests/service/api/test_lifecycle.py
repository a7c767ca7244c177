"""`/model/status`, `/model/load` and `/model/unload`, over models that change when a test says so."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.api.application import Services
from serve_app.errors import Unavailable
from serve_app.models.types import (
    FOREVER,
    GpuMemory,
    ModelSnapshot,
    ModelState,
    PlacementChoice,
    Reason,
    ReplicaModel,
    VramUse,
)
from serve_app.settings import ApiKey
from serve_app.testing import FakeClock, FakeModels
from tests.service.api.conftest import client_of
from tests.service.api.job_house import House, submitted
from tests.service.api.test_errors import error_of

NOW = FakeClock().utc()
VERSION = {"tus-resumable": "1.0.0"}


def on_replica(replica_id: str = "replica-1", **its: Any) -> ReplicaModel:
    return ReplicaModel(replica_id, ModelSnapshot("tiny.en", ModelState.READY, NOW, Reason.LOADED, **its))


@pytest.fixture
async def http(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(services) as client:
        yield client


async def test_service_that_starts_shows_its_models_unloaded(services: Services) -> None:
    models = FakeModels(("tiny.en", "acme/large"))
    async with client_of(dataclasses.replace(services, models=models)) as http:
        status = (await http.get("/model/status")).json()

    assert {key: status[key] for key in ("model", "state", "vram", "in_flight", "queued", "safe_to_stop")} == {
        "model": "tiny.en",
        "state": "unloaded",
        "vram": None,
        "in_flight": 0,
        "queued": 0,
        "safe_to_stop": True,
    }
    assert [(model["model"], model["state"]) for model in status["models"]] == [
        ("tiny.en", "unloaded"),
        ("acme/large", "unloaded"),
    ]
    assert models.wants == models.loads == []


async def test_status_shows_a_model_in_each_of_its_replicas(http: httpx.AsyncClient, models: FakeModels) -> None:
    replica = on_replica(
        last_used_at=NOW - timedelta(seconds=30),
        unloads_at=NOW + timedelta(seconds=270),
        vram=VramUse(3_000, 100, 3_100),
        choice=PlacementChoice("cuda", "float16", "Capability 8.0."),
        load_s=2.5,
    )
    models.become("tiny.en", ModelState.READY, replicas=(replica, on_replica("replica-2")))
    models.gpus = (("replica-1", GpuMemory(24_000, 20_000, 3_100)),)
    status = (await http.get("/model/status")).json()
    first, second = status["models"][0]["replicas"]

    assert first == {
        "replica": "replica-1",
        "state": "ready",
        "since": NOW.isoformat().replace("+00:00", "Z"),
        "reason": "loaded",
        "in_flight": 0,
        "queued": 0,
        "idle_seconds": 30.0,
        "unloads_in_seconds": 270.0,
        "pinned": False,
        "vram": {"need_bytes": 3_000, "before_bytes": 100, "loaded_bytes": 3_100, "after_bytes": None},
        "placement": {"device": "cuda", "compute_type": "float16", "why": "Capability 8.0."},
        "load_seconds": 2.5,
        "last_error": None,
    }
    assert (second["vram"], second["placement"], second["unloads_in_seconds"]) == (None, None, None)
    assert status["vram"] == first["vram"]
    assert status["gpus"] == [
        {"replica": "replica-1", "total_bytes": 24_000, "free_bytes": 20_000, "ours_bytes": 3_100}
    ]


@pytest.mark.parametrize(
    ("known", "idle_s"),
    [
        ({"last_used_at": NOW - timedelta(seconds=12)}, 12.0),
        ({"last_used_at": NOW - timedelta(seconds=12), "in_flight": 1}, 0.0),
        ({"since": NOW - timedelta(seconds=40)}, 40.0),
    ],
    ids=["used", "in use", "never used"],
)
async def test_idle_seconds_count_from_the_last_use(
    http: httpx.AsyncClient, models: FakeModels, known: dict[str, Any], idle_s: float
) -> None:
    models.become("tiny.en", ModelState.READY, **known)

    assert (await http.get("/model/status")).json()["idle_seconds"] == idle_s


@pytest.mark.parametrize(
    ("until", "shown"),
    [
        (None, (False, None)),
        (FOREVER, (True, None)),
        (NOW + timedelta(seconds=60), (True, (NOW + timedelta(seconds=60)).isoformat().replace("+00:00", "Z"))),
    ],
    ids=["not pinned", "for ever", "a minute"],
)
async def test_status_says_how_long_a_model_is_pinned(
    http: httpx.AsyncClient, models: FakeModels, until: Any, shown: tuple[bool, str | None]
) -> None:
    models.become("tiny.en", ModelState.READY, pinned_until=until)
    model = (await http.get("/model/status")).json()["models"][0]

    assert (model["pinned"], model["pinned_until"]) == shown


@pytest.mark.parametrize("work", [{"in_flight": 1}, {"queued": 1}])
async def test_it_is_not_safe_to_stop_while_any_model_has_work(
    http: httpx.AsyncClient, models: FakeModels, work: dict[str, int]
) -> None:
    models.become("acme/large", ModelState.BUSY, **work)

    assert (await http.get("/model/status")).json()["safe_to_stop"] is False


async def test_it_is_not_safe_to_stop_while_a_request_is_in_progress(http: httpx.AsyncClient) -> None:
    app = http._transport.app  # type: ignore[attr-defined]
    with app.state.limiter.place(None):
        during = (await http.get("/model/status")).json()["safe_to_stop"]

    assert during is False
    assert (await http.get("/model/status")).json()["safe_to_stop"] is True


@pytest.mark.parametrize(("elsewhere", "safe"), [(0, True), (1, False), (None, False)])
async def test_it_is_not_safe_to_stop_while_another_gateway_has_requests_or_does_not_answer(
    services: Services, elsewhere: int | None, safe: bool
) -> None:
    async def in_progress() -> int:
        if elsewhere is None:
            raise Unavailable("away")
        return elsewhere

    async with client_of(dataclasses.replace(services, in_progress_elsewhere=in_progress)) as http:
        assert (await http.get("/model/status")).json()["safe_to_stop"] is safe


async def test_it_is_not_safe_to_stop_before_every_job_has_ended(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.client() as client:
        job_id = await submitted(client)
        queued = (await client.get("/model/status")).json()["safe_to_stop"]
        await client.delete(f"/jobs/{job_id}")
        ended = (await client.get("/model/status")).json()["safe_to_stop"]

    assert (queued, ended) == (False, True)


async def test_it_is_not_safe_to_stop_while_an_upload_comes(tmp_path: Path) -> None:
    house = House(tmp_path)
    name = base64.b64encode(b"talk.wav").decode()
    async with house.client() as client:
        headers = {**VERSION, "upload-length": "10", "upload-metadata": f"filename {name}"}
        upload = (await client.post("/uploads", headers=headers)).headers["location"]
        coming = (await client.get("/model/status")).json()["safe_to_stop"]
        await client.delete(upload, headers=VERSION)
        gone = (await client.get("/model/status")).json()["safe_to_stop"]

    assert (coming, gone) == (False, True)


async def test_upload_that_was_left_lying_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    clock = FakeClock()
    house = House(tmp_path, clock=lambda: clock.utc() + timedelta(days=36_500))
    async with house.client() as client:
        await client.post("/uploads", headers={**VERSION, "upload-length": "10"})

        assert (await client.get("/model/status")).json()["safe_to_stop"] is True


async def test_load_is_accepted_and_then_answered_as_ready(http: httpx.AsyncClient, models: FakeModels) -> None:
    begun = await http.post("/model/load", json={"model": "acme/large"})
    models.become("acme/large", ModelState.READY)
    again = await http.post("/model/load", json={"model": "acme/large"})

    assert (begun.status_code, begun.json()["model"], begun.json()["state"]) == (202, "acme/large", "loading")
    assert begun.json()["reason"] == "load"
    assert begun.json()["retry_after_seconds"] > 0
    assert (again.status_code, again.json()["state"], again.json()["retry_after_seconds"]) == (200, "ready", 0)


async def test_many_loads_at_once_are_one_load(http: httpx.AsyncClient, models: FakeModels) -> None:
    answers = await asyncio.gather(*[http.post("/model/load", json={"model": "acme/large"}) for _ in range(20)])

    assert {answer.status_code for answer in answers} == {202}
    assert {answer.json()["state"] for answer in answers} == {"loading"}
    assert (await models.overview("acme/large")).state is ModelState.LOADING


async def test_load_of_a_parked_model_is_not_answered_as_ready(http: httpx.AsyncClient, models: FakeModels) -> None:
    models.become("tiny.en", ModelState.PARKED, Reason.IDLE)

    assert (await http.post("/model/load")).status_code == 202


FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("JSON", {"json": {"model": "acme/large", "ttl_s": 60}}),
    ("form", {"data": {"model": "acme/large", "ttl_s": "60"}}),
    ("multipart", {"files": {"model": (None, "acme/large"), "ttl_s": (None, "60")}}),
    ("query", {"params": {"model": "acme/large", "ttl_s": "60"}}),
    (
        "JSON that curl calls a form",
        {
            "content": b' {"model": "acme/large", "ttl_s": 60}',
            "headers": {"content-type": "application/x-www-form-urlencoded"},
        },
    ),
]


@pytest.mark.parametrize("sent", [sent for _, sent in FIELDS], ids=[name for name, _ in FIELDS])
async def test_fields_come_in_whatever_way_a_client_sends_them(
    http: httpx.AsyncClient, models: FakeModels, sent: dict[str, Any]
) -> None:
    response = await http.post("/model/load", **sent)

    assert response.status_code == 202, response.text
    assert models.loads == [("acme/large", 60.0)]


@pytest.mark.parametrize("sent", [{}, {"json": {}}, {"json": {"model": None}}, {"json": {"model": "whisper-1"}}])
async def test_default_model_is_meant_by_its_alias_and_by_nothing(
    http: httpx.AsyncClient, models: FakeModels, sent: dict[str, Any]
) -> None:
    await http.post("/model/load", **sent)
    await http.post("/model/unload", **sent)

    assert (models.loads, models.unloads) == ([("tiny.en", None)], [("tiny.en", False)])


@pytest.mark.parametrize("ttl_s", [-1, 0, 0.5, 1e9])
async def test_time_to_live_is_handed_on(http: httpx.AsyncClient, models: FakeModels, ttl_s: float) -> None:
    await http.post("/model/load", json={"ttl_s": ttl_s})

    assert models.loads == [("tiny.en", ttl_s)]


@pytest.mark.parametrize("ttl_s", ["-2", "-0.5", "soon", "NaN", "inf"])
async def test_time_that_is_none_is_refused(http: httpx.AsyncClient, models: FakeModels, ttl_s: str) -> None:
    response = await http.post("/model/load", data={"ttl_s": ttl_s})

    assert (response.status_code, error_of(response)["param"]) == (400, "ttl_s")
    assert models.loads == []


@pytest.mark.parametrize(
    ("body", "why"),
    [(b"{", "not JSON"), (b"[1]", "JSON object"), (b"\xff\xfe=1", "JSON object or a form"), (b"a" * 70_000, "bytes")],
)
@pytest.mark.parametrize("path", ["/model/load", "/model/unload", "/v1/models/acme/large"])
async def test_body_that_cannot_be_read_is_refused(http: httpx.AsyncClient, path: str, body: bytes, why: str) -> None:
    response = await http.post(path, content=body)

    assert response.status_code == 400
    assert why in error_of(response)["message"]


@pytest.mark.parametrize("path", ["/model/load", "/model/unload"])
async def test_unknown_model_is_not_found(http: httpx.AsyncClient, path: str) -> None:
    response = await http.post(path, json={"model": "nobody/nothing"})

    assert (response.status_code, error_of(response)["code"]) == (404, "model_not_found")


async def test_unload_frees_what_is_not_used_at_once(http: httpx.AsyncClient) -> None:
    first, again = await http.post("/model/unload"), await http.post("/model/unload")

    assert (first.status_code, first.json()["state"], first.json()["reason"]) == (200, "unloaded", "unload")
    assert (again.status_code, again.json()["state"]) == (200, "unloaded")


async def test_unload_of_a_model_in_use_is_accepted_and_drains(http: httpx.AsyncClient, models: FakeModels) -> None:
    models.become("tiny.en", ModelState.BUSY, in_flight=1)
    response = await http.post("/model/unload")

    assert (response.status_code, response.json()["state"]) == (202, "draining")


@pytest.mark.parametrize("state", [ModelState.LOADING, ModelState.WAITING_FOR_GPU])
async def test_model_that_is_not_there_yet_can_be_unloaded(
    http: httpx.AsyncClient, models: FakeModels, state: ModelState
) -> None:
    models.become("tiny.en", state, Reason.LOAD)
    await http.post("/model/unload", json={"force": True})

    assert models.unloads == [("tiny.en", True)]
    assert (await http.get("/model/status")).json()["state"] == "unloaded"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/model/status"),
        ("POST", "/model/load"),
        ("POST", "/model/unload"),
        ("GET", "/model/events"),
        ("POST", "/v1/models/acme/large"),
        ("DELETE", "/v1/models/acme/large"),
    ],
)
async def test_lifecycle_needs_a_key_where_there_are_any(services: Services, method: str, path: str) -> None:
    guarded = dataclasses.replace(services, api_keys=lambda: [ApiKey("sk-one")])
    async with client_of(guarded) as http:
        assert (await http.request(method, path)).status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/model/status"), ("POST", "/model/load"), ("POST", "/model/unload"), ("GET", "/model/events")],
)
async def test_service_without_a_lifecycle_has_no_such_routes(services: Services, method: str, path: str) -> None:
    async with client_of(dataclasses.replace(services, models=None)) as http:
        assert (await http.request(method, path)).status_code == 404
