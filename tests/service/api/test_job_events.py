"""The stream of a job, read by someone else's parser, over connections and processes that break."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent, aconnect_sse

from serve_app.errors import CoordinatorUnavailable
from serve_app.jobs.job import Event
from serve_app.jobs.service import JobService
from serve_app.testing import SENTENCES
from tests.service.api.job_house import KEYS, House, submitted
from tests.service.api.test_errors import error_of
from tests.service.api.test_streaming import Gate
from tests.service.api.wire import cut_connections, served

LAST = ("done", "failed", "cancelled")
FORTY = [f" Sentence {n}." for n in range(40)]


class Watched(JobService):
    """Jobs that do, before each slice of events, what a test says."""

    def __init__(self, house: House, before: Any) -> None:
        self.__dict__ |= house.service.__dict__
        self._before = before

    async def events(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Event, None]:
        await self._before()
        async for event in super().events(*args, **kwargs):
            yield event


async def read(client: httpx.AsyncClient, job_id: str, **headers: str) -> list[ServerSentEvent]:
    """The whole of a stream that ends."""
    async with aconnect_sse(client, "GET", f"/jobs/{job_id}/stream", headers=headers) as source:
        return [event async for event in source.aiter_sse()]


async def read_on(url: str, job_id: str, cut: Callable[[], None]) -> list[ServerSentEvent]:
    """The whole of a stream over connections that break, each after the last event of the one before; tells of each cut."""
    got: list[ServerSentEvent] = []
    while not got or got[-1].event not in LAST:
        headers = {"Last-Event-ID": got[-1].id} if got else {}
        async with httpx.AsyncClient(base_url=url) as client:
            try:
                async with aconnect_sse(client, "GET", f"/jobs/{job_id}/stream", headers=headers) as source:
                    async for event in source.aiter_sse():
                        got.append(event)
            except httpx.TransportError:
                cut()
    return got


async def finished(house: House, client: httpx.AsyncClient) -> list[ServerSentEvent]:
    job_id = await submitted(client)
    async with house.dispatching():
        return await read(client, job_id)


async def recorded(client: httpx.AsyncClient, job_id: str) -> None:
    """Until the first chunk is, which is a moment after the second one has begun."""
    async with asyncio.timeout(10):
        while not (await client.get(f"/jobs/{job_id}")).json()["segments"]:  # noqa: ASYNC110  # over HTTP nobody is told
            await asyncio.sleep(0)


async def test_stream_tells_the_past_the_present_and_the_end(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.client() as client:
        events = await finished(house, client)
        job = (await client.get("/jobs")).json()["data"][0]

    kinds = [event.event for event in events]
    data = [event.json() for event in events]
    assert kinds[0] == "queued"
    assert [d["text"] for d in data if d["type"] == "segment"] == list(SENTENCES)
    assert [kind for kind in kinds if kind in LAST] == [kinds[-1]] == ["done"]
    assert [d["type"] for d in data] == kinds
    percents = [d["percent"] for d in data if d["type"] == "progress"]
    assert percents == sorted(set(percents))
    assert (data[-1]["job"]["id"], data[-1]["job"]["status"]) == (job["id"], "done")
    assert [s["text"] for s in data[-1]["job"]["segments"]] == list(SENTENCES)
    assert [int(event.id) for event in events] == list(range(1, len(events) + 1))


@pytest.mark.parametrize("where", ["header", "query"])
async def test_stream_goes_on_after_the_last_event_that_was_read(tmp_path: Path, where: str) -> None:
    house = House(tmp_path)
    async with house.client() as client:
        whole = await finished(house, client)
        job_id = whole[-1].json()["job"]["id"]
        if where == "header":
            rest = await read(client, job_id, **{"Last-Event-ID": "3"})
        else:
            response = await client.get(f"/jobs/{job_id}/stream", params={"last_event_id": "3"})
            rest = [event async for event in EventSource(response).aiter_sse()]

    assert [event.id for event in rest] == [event.id for event in whole[3:]]


@pytest.mark.parametrize("after", ["last", "1000000"])
async def test_finished_job_yields_its_end_at_once_to_whoever_had_it(tmp_path: Path, after: str) -> None:
    house = House(tmp_path, slice_s=3600)
    async with house.client() as client:
        whole = await finished(house, client)
        again = await read(
            client, whole[-1].json()["job"]["id"], **{"Last-Event-ID": whole[-1].id if after == "last" else after}
        )

    assert (again[-1].event, again[-1].id) == ("done", whole[-1].id)


async def test_cancelled_job_ends_its_streams(tmp_path: Path) -> None:
    gate = Gate(1)
    house = House(tmp_path, before_chunk=gate)
    async with house.client() as client, house.dispatching():
        job_id = await submitted(client)
        reading = asyncio.create_task(read(client, job_id))
        await gate.reached.wait()
        await recorded(client, job_id)
        await client.delete(f"/jobs/{job_id}")
        events = await reading

    assert events[-1].event == "cancelled"
    assert events[-1].json()["job"]["segments"][0]["text"] == SENTENCES[0]


async def test_every_event_comes_once_over_a_connection_that_breaks_within_an_event(tmp_path: Path) -> None:
    house = House(tmp_path, sentences=FORTY)
    cuts: list[None] = []
    async with served(house.app) as url, cut_connections(url, received=[2500] * 6) as bad, house.dispatching():
        async with httpx.AsyncClient(base_url=url) as client:
            job_id = await submitted(client)
        got = await read_on(bad, job_id, lambda: cuts.append(None))

    assert len(cuts) >= 3
    assert [int(event.id) for event in got] == list(range(1, len(got) + 1))
    assert [event.json()["text"] for event in got if event.event == "segment"] == FORTY


@pytest.mark.server
@pytest.mark.timeout(60)
async def test_every_event_comes_once_through_a_proxy_that_cuts_the_connection_every_second(tmp_path: Path) -> None:
    cuts = asyncio.Semaphore(0)

    async def after_a_cut(chunk: int) -> None:
        if chunk in (10, 20, 30):  # so that there is something left to say after each of three cuts
            await cuts.acquire()

    house = House(tmp_path, sentences=FORTY, before_chunk=after_a_cut)
    async with served(house.app) as url, cut_connections(url, after_s=1.0) as bad, house.dispatching():
        async with httpx.AsyncClient(base_url=url) as client:
            job_id = await submitted(client)
        got = await read_on(bad, job_id, cuts.release)

    assert [int(event.id) for event in got] == list(range(1, len(got) + 1))
    assert [event.json()["text"] for event in got if event.event == "segment"] == FORTY


async def test_coordinator_that_is_away_costs_a_pause_and_no_event(tmp_path: Path) -> None:
    house = House(tmp_path)
    asked = 0

    async def away_at_first() -> None:
        nonlocal asked
        asked += 1
        if asked < 4:
            raise CoordinatorUnavailable("It is starting again.")

    house.jobs = Watched(house, away_at_first)
    async with house.client() as client:
        events = await finished(house, client)

    assert asked == 4
    assert [int(event.id) for event in events] == list(range(1, len(events) + 1))
    assert events[-1].event == "done"


@pytest.mark.parametrize(("limit", "status"), [("MAX_STREAMS", 503), ("MAX_STREAMS_PER_KEY", 429)])
async def test_one_stream_too_many_is_told_when_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, status: int
) -> None:
    monkeypatch.setattr(f"serve_app.api.application.{limit}", 1)
    gate = Gate(1)
    house = House(tmp_path, keys=KEYS, before_chunk=gate)
    following = asyncio.Event()

    async def has_its_place() -> None:
        following.set()

    house.jobs = Watched(house, has_its_place)
    async with house.client(KEYS[0]) as client, house.dispatching():
        job_id = await submitted(client)
        reading = asyncio.create_task(read(client, job_id))
        await following.wait()
        refused = await client.get(f"/jobs/{job_id}/stream")
        gate.open.set()
        await reading
        later = await client.get(f"/jobs/{job_id}/stream")

    assert (refused.status_code, later.status_code) == (status, 200)
    assert "1 streams" in error_of(refused)["message"]
    assert int(refused.headers["retry-after"]) >= 1


async def test_short_slices_make_one_stream(tmp_path: Path) -> None:
    house = House(tmp_path, slice_s=0.001)
    async with house.client() as client:
        events = await finished(house, client)

    assert [int(event.id) for event in events] == list(range(1, len(events) + 1))


async def test_job_purged_while_it_is_followed_ends_the_stream_with_the_error(tmp_path: Path) -> None:
    house = House(tmp_path)
    asked, purged = asyncio.Event(), asyncio.Event()

    async def purge_first() -> None:
        asked.set()
        await purged.wait()

    house.jobs = Watched(house, purge_first)
    async with house.client() as client:
        job_id = await submitted(client)
        reading = asyncio.create_task(read(client, job_id))
        await asked.wait()
        await client.delete(f"/jobs/{job_id}?purge=true")
        purged.set()
        events = await reading

    assert [event.json()["error"]["code"] for event in events[-1:]] == ["job_not_found"]


async def test_gateway_that_stops_ends_its_streams_and_the_reader_goes_on_elsewhere(tmp_path: Path) -> None:
    gate = Gate(1)
    house = House(tmp_path, before_chunk=gate, slice_s=0.01)
    first, second = house.app, house.app
    async with house.dispatching(), house.client(app=first) as old, house.client(app=second) as new:
        job_id = await submitted(old)
        reading = asyncio.create_task(read(old, job_id))
        await gate.reached.wait()
        first.state.limiter.drain()
        early = await reading
        gate.open.set()
        late = await read(new, job_id, **{"Last-Event-ID": early[-1].id})

    assert early[-1].event not in LAST
    assert late[-1].event == "done"
    assert [int(event.id) for event in early + late] == list(range(1, len(early + late) + 1))


async def test_silent_stream_shows_that_it_is_alive(tmp_path: Path) -> None:
    gate = Gate(0)
    house = House(tmp_path, before_chunk=gate)
    house.services = dataclasses.replace(house.services, heartbeat_s=0.001)
    async with served(house.app) as url, house.dispatching(), httpx.AsyncClient(base_url=url) as client:
        job_id = await submitted(client)
        async with client.stream("GET", f"/jobs/{job_id}/stream") as response:
            lines = response.aiter_lines()
            async for line in lines:
                if line.startswith(":"):
                    break
            gate.open.set()
            rest = [line async for line in lines]

    assert any(line == "event: done" for line in rest)


async def test_answer_is_an_event_stream_that_no_proxy_keeps(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.client() as client:
        job_id = await submitted(client)
        await client.delete(f"/jobs/{job_id}")
        response = await client.get(f"/jobs/{job_id}/stream")

    assert EventSource(response).response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    assert response.text.startswith("event: queued\nid: 1\ndata: ")
    assert json.loads(response.text.splitlines()[-2].removeprefix("data: "))["job"]["status"] == "cancelled"


@pytest.mark.parametrize("last", ["x", "-1", "1" * 20, "1.5"])
async def test_id_that_no_event_can_have_is_a_400(tmp_path: Path, last: str) -> None:
    house = House(tmp_path)
    async with house.client() as client:
        response = await client.get(f"/jobs/{await submitted(client)}/stream", headers={"Last-Event-ID": last})

    assert (response.status_code, error_of(response)["param"]) == (400, "Last-Event-ID")
