"""`GET /metrics`: the whole cluster, whatever is wrong behind it, and no series that a client could add."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve_app import __version__
from serve_app.api.application import Services
from serve_app.api.metrics import ASKING_S
from serve_app.errors import CoordinatorUnavailable, StoreUnavailable
from serve_app.jobs.job import QueueStats
from serve_app.models.types import ClusterModels, GpuMemory, ModelState, Reason
from serve_app.settings import ApiKey, AuthSettings, Settings
from serve_app.telemetry.metrics import CHUNKS
from serve_app.telemetry.tally import Counts, Tally
from serve_app.telemetry.totals import Totals
from serve_app.testing import FakeClock, FakeModels
from tests.service.api.conftest import SETTINGS, WAV, client_of

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(http: httpx.AsyncClient, **headers: str) -> Samples:
    answer = await http.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(answer.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"rayscribe_{name}", frozenset(labels.items())))


class Moody(Totals):
    """A Coordinator that is away when it likes to be."""

    def __init__(self, own: Tally) -> None:
        super().__init__(own)
        self.is_away = False
        self.asked = 0

    async def totals(self) -> Counts:
        self.asked += 1
        if self.is_away:
            raise CoordinatorUnavailable("away")
        return await super().totals()


async def test_requests_are_counted_by_template_of_their_route_and_status(http: httpx.AsyncClient) -> None:
    await http.post("/v1/audio/transcriptions", data={"model": "tiny.en"}, files={"file": ("a.wav", WAV)})
    await http.get("/v1/models/secret-name")
    await http.get("/health/live")
    await http.get("/health/live")

    seen = await scrape(http)

    requests = "http_requests_total"
    assert value(seen, requests, method="POST", route="/v1/audio/transcriptions", status="200") == 1
    assert value(seen, requests, method="GET", route="/health/live", status="200") == 2
    assert value(seen, "http_request_duration_seconds_count", method="GET", route="/health/live") == 2
    assert [dict(labels) for name, labels in seen if "models" in dict(labels).get("route", "") and "total" in name] == [
        {"method": "GET", "route": "/v1/models/{model:path}", "status": "404"}
    ]


async def test_no_client_can_add_a_series(services: Services) -> None:
    clock = FakeClock()
    async with client_of(dataclasses.replace(services, clock=clock)) as http:
        await http.get("/first/unknown/path")
        before = await scrape(http)
        for n in range(20):
            await http.get(f"/unknown/{n}?key={n}")
            await http.request(f"M{n}", f"/{n}")
        clock.advance(1)
        after = await scrape(http)

    assert value(after, "http_requests_total", method="GET", route="other", status="404") == 21
    new = {
        (name, dict(labels).get("route"), dict(labels).get("method")) for name, labels in after.keys() - before.keys()
    }
    assert {route for _, route, _ in new} <= {"other", "/metrics"}
    assert {method for _, _, method in new} <= {"other", "GET"}


async def test_models_and_gpus_are_shown_as_they_are(services: Services, models: FakeModels) -> None:
    models.become("tiny.en", ModelState.FAILED, Reason.ERROR)
    gpu = GpuMemory(total_bytes=8, free_bytes=5, ours_bytes=2)

    class WithGpu(FakeModels):
        async def status(self) -> ClusterModels:
            return dataclasses.replace(await models.status(), gpus=(("r1", gpu),))

    async with client_of(dataclasses.replace(services, models=WithGpu())) as http:
        seen = await scrape(http)

    assert value(seen, "build_info", version=__version__) == 1
    assert value(seen, "coordinator_up") == 1
    assert value(seen, "model_state", model="tiny.en", state="failed") == 1
    assert value(seen, "model_state", model="tiny.en", state="ready") == 0
    assert value(seen, "model_state", model="acme/large", state="unloaded") == 1
    assert value(seen, "gpu_memory_bytes", replica="r1", kind="free") == 5


async def test_counts_of_all_processes_are_shown(services: Services) -> None:
    tally = Tally()
    tally.count(CHUNKS, "tiny.en", by=7)
    async with client_of(dataclasses.replace(services, total_keeper=Totals(tally))) as http:
        assert value(await scrape(http), "chunks_total", model="tiny.en") == 7


async def test_while_the_coordinator_is_away_the_last_picture_is_shown(services: Services) -> None:
    tally, clock = Tally(), FakeClock()
    keeper = Moody(tally)
    tally.count(CHUNKS, "tiny.en", by=7)
    async with client_of(dataclasses.replace(services, total_keeper=keeper, clock=clock)) as http:
        await scrape(http)
        keeper.is_away = True
        clock.advance(2)
        away = await scrape(http)
        keeper.is_away = False
        clock.advance(2)
        back = await scrape(http)

    assert (value(away, "coordinator_up"), value(back, "coordinator_up")) == (0, 1)
    assert value(away, "chunks_total", model="tiny.en") == 7
    assert value(away, "model_state", model="tiny.en", state="ready") == 1


async def test_a_gateway_that_never_heard_of_the_coordinator_says_so(services: Services) -> None:
    class Away(FakeModels):
        async def status(self) -> ClusterModels:
            raise CoordinatorUnavailable("away")

    keeper = Moody(Tally())
    keeper.is_away = True
    async with client_of(dataclasses.replace(services, total_keeper=keeper, models=Away())) as http:
        seen = await scrape(http)

    assert value(seen, "coordinator_up") == 0
    assert value(seen, "build_info", version=__version__) == 1
    assert not [name for name, _ in seen if "model" in name or name.endswith("_total")]


async def test_a_store_that_is_away_is_shown(services: Services) -> None:
    class NoStore:
        async def stats(self) -> QueueStats:
            raise StoreUnavailable("The disk is full.")

    async with client_of(dataclasses.replace(services, jobs=NoStore())) as http:  # type: ignore[arg-type]
        assert value(await scrape(http), "job_store_up") == 0


async def test_the_age_of_the_oldest_job_grows_while_it_waits(services: Services) -> None:
    clock = FakeClock()
    began = clock.utc() - timedelta(seconds=60)

    class Waiting:
        async def stats(self) -> QueueStats:
            return QueueStats(3, 1, began)

    async with client_of(dataclasses.replace(services, jobs=Waiting(), clock=clock, now=clock.utc)) as http:  # type: ignore[arg-type]
        first = await scrape(http)
        clock.advance(30)
        then = await scrape(http)

    assert (value(first, "jobs", state="queued"), value(first, "jobs", state="running")) == (3, 1)
    assert value(first, "oldest_queued_job_age_seconds") == 60
    assert value(then, "oldest_queued_job_age_seconds") == 90


async def test_however_many_scrape_the_coordinator_is_asked_once_a_second(services: Services) -> None:
    keeper, clock = Moody(Tally()), FakeClock()
    async with client_of(dataclasses.replace(services, total_keeper=keeper, clock=clock)) as http:
        for _ in range(5):
            await scrape(http)
        assert keeper.asked == 1

        clock.advance(1)
        await scrape(http)

    assert keeper.asked == 2


async def test_however_many_scrape_a_coordinator_that_is_away_is_waited_for_once(services: Services) -> None:
    clock = FakeClock()

    class Silent(Moody):
        async def totals(self) -> Counts:
            self.asked += 1
            await asyncio.sleep(0)
            clock.advance(ASKING_S)
            raise TimeoutError

    keeper = Silent(Tally())
    async with client_of(dataclasses.replace(services, total_keeper=keeper, clock=clock)) as http:
        await asyncio.gather(*(scrape(http) for _ in range(6)))

    assert keeper.asked == 1


@pytest.mark.parametrize(("metrics", "status"), [("open", 200), ("key", 401)])
async def test_a_key_is_needed_where_the_settings_say_so(services: Services, metrics: str, status: int) -> None:
    settings = Settings(**{**SETTINGS.model_dump(), "auth": AuthSettings(metrics=metrics)})  # type: ignore[arg-type]
    guarded = dataclasses.replace(services, settings=settings, api_keys=lambda: [ApiKey("sk-1")])
    async with client_of(guarded) as http:
        assert (await http.get("/metrics")).status_code == status
        assert value(await scrape(http, Authorization="Bearer sk-1"), "coordinator_up") == 1
