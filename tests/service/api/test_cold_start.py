"""`lifecycle.cold_start: reject`: who comes for a model that is not loaded is told when to come again, and it loads."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from serve_app.api.application import Services
from serve_app.errors import CoordinatorUnavailable
from serve_app.models.types import SERVING, ModelOverview, ModelState, Reason
from serve_app.settings.lifecycle import LifecycleSettings
from serve_app.testing import FakeModels, FakeTranscriber, InMemoryMediaStore
from tests.service.api.conftest import LONG_WAV, SETTINGS, WAV, client_of
from tests.service.api.job_house import House
from tests.service.api.test_errors import error_of

REJECT = SETTINGS.model_copy(update={"lifecycle": LifecycleSettings(cold_start="reject")})
PATHS = ("/v1/audio/transcriptions", "/v1/audio/translations")


class UnaskedModels(FakeModels):
    async def overview(self, model_id: str) -> ModelOverview:
        raise AssertionError("nobody should ask")


class AwayModels(FakeModels):
    async def overview(self, model_id: str) -> ModelOverview:
        raise CoordinatorUnavailable("starting again")


@pytest.fixture
async def http(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(dataclasses.replace(services, settings=REJECT)) as client:
        yield client


async def transcribed(http: httpx.AsyncClient, path: str = PATHS[0], model: str = "acme/large") -> httpx.Response:
    return await http.post(path, files={"file": LONG_WAV}, data={"model": model})


async def test_job_while_its_model_is_unloaded_is_a_503_with_retry_after_and_begins_the_load(tmp_path: Path) -> None:
    house = House(tmp_path, settings=REJECT)
    house.models.become("tiny.en", ModelState.UNLOADED, Reason.IDLE)
    async with house.client() as client:
        rejected = await client.post("/jobs", files={"audio": WAV})
        jobs = (await client.get("/jobs")).json()["data"]
        house.models.become("tiny.en", ModelState.READY)
        accepted = await client.post("/jobs", files={"audio": WAV})

    assert (rejected.status_code, error_of(rejected)["code"]) == (503, "model_not_ready")
    assert rejected.headers["retry-after"] == "7"
    assert (jobs, house.models.wants) == ([], ["tiny.en"])
    assert (accepted.status_code, house.media.saved) == (202, 1)


async def test_repeated_submit_gets_its_job_though_the_model_has_gone_and_loads_nothing(tmp_path: Path) -> None:
    house = House(tmp_path, settings=REJECT)
    key = {"idempotency-key": "k1"}
    async with house.client() as client:
        house.models.become("tiny.en", ModelState.READY)
        first = await client.post("/jobs", files={"audio": WAV}, headers=key)
        house.models.become("tiny.en", ModelState.UNLOADED, Reason.IDLE)
        again = await client.post("/jobs", files={"audio": WAV}, headers=key)
        wants = list(house.models.wants)
        new = await client.post("/jobs", files={"audio": WAV}, headers={"idempotency-key": "k2"})

    assert (again.status_code, again.json()["job_id"]) == (202, first.json()["job_id"])
    assert (wants, new.status_code) == ([], 503)


@pytest.mark.parametrize("path", PATHS)
async def test_request_for_a_model_that_is_unloaded_is_rejected_before_its_audio_is_kept(
    http: httpx.AsyncClient, models: FakeModels, store: InMemoryMediaStore, path: str
) -> None:
    rejected = await transcribed(http, path)
    state, saved = (await models.overview("acme/large")).state, store.saved
    models.become("acme/large", ModelState.READY)
    answered = await transcribed(http, path)

    assert (rejected.status_code, error_of(rejected)["code"]) == (503, "model_not_ready")
    assert (error_of(rejected)["param"], rejected.headers["retry-after"]) == ("model", "7")
    assert (state, models.wants, saved) == (ModelState.LOADING, ["acme/large"], 0)
    assert answered.status_code == 200


async def test_model_that_waits_for_memory_has_an_error_of_its_own(http: httpx.AsyncClient, models: FakeModels) -> None:
    models.become("acme/large", ModelState.WAITING_FOR_GPU, Reason.OUT_OF_MEMORY)
    response = await transcribed(http)

    assert (response.status_code, error_of(response)["code"]) == (503, "out_of_memory")
    assert response.headers["retry-after"] == "7"


async def test_model_that_could_not_load_says_why_and_is_tried_again(
    http: httpx.AsyncClient, models: FakeModels
) -> None:
    models.become("acme/large", ModelState.FAILED, Reason.ERROR, error="The file is damaged.")
    response = await transcribed(http)

    assert (response.status_code, error_of(response)["code"]) == (500, "model_load_failed")
    assert "The file is damaged." in error_of(response)["message"]
    assert models.wants == ["acme/large"]


async def test_model_whose_weights_could_not_be_had_just_now_is_worth_another_try(
    http: httpx.AsyncClient, models: FakeModels
) -> None:
    models.become("acme/large", ModelState.FAILED, Reason.ERROR, error="The hub is away.", error_passes=True)
    response = await transcribed(http)

    assert (response.status_code, error_of(response)["code"]) == (503, "model_not_ready")
    assert response.headers["retry-after"] == "7"
    assert "The hub is away." in error_of(response)["message"]
    assert models.wants == ["acme/large"]


@pytest.mark.parametrize("state", sorted(SERVING))
async def test_model_that_is_there_is_used(http: httpx.AsyncClient, models: FakeModels, state: ModelState) -> None:
    models.become("acme/large", state)

    assert (await transcribed(http)).status_code == 200
    assert models.wants == []


@pytest.mark.parametrize("model", ["nobody/nothing", "tiny.en"])
async def test_wrong_request_is_told_so_and_loads_nothing(
    http: httpx.AsyncClient, models: FakeModels, model: str
) -> None:
    models.become("tiny.en", ModelState.UNLOADED, Reason.IDLE)
    response = await transcribed(http, "/v1/audio/translations", model)

    assert response.status_code in (400, 404)
    assert models.wants == []


async def test_request_goes_on_while_nobody_can_tell_of_models(services: Services) -> None:
    away = dataclasses.replace(services, settings=REJECT, models=AwayModels())
    async with client_of(away) as http:
        assert (await transcribed(http)).status_code == 200


async def test_who_may_wait_asks_nobody(services: Services, transcriber: FakeTranscriber, tmp_path: Path) -> None:
    house = House(tmp_path)
    house.services = dataclasses.replace(house.services, models=UnaskedModels())
    async with client_of(dataclasses.replace(services, models=UnaskedModels())) as http, house.client() as client:
        answer, job = await transcribed(http), await client.post("/jobs", files={"audio": WAV})

    assert (answer.status_code, job.status_code) == (200, 202)
    assert [options.decoding.model_id for _, options in transcriber.calls] == ["acme/large"]
