"""A key of scope `admin`, which sees the jobs and uploads of all keys, and what it submits is its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.api.job_house import KEYS, House, submitted
from tests.service.api.test_errors import error_of
from tests.service.api.test_job_events import read
from tests.service.api.test_resumable_uploads import AUDIO, VERSION, created, offset_of, send, uploaded

ROOT_KEY = "root-key"
HOOK = "https://example.com/hook"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, keys=KEYS, admin_keys=(ROOT_KEY,))


@pytest.fixture
async def ada(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with house.client(KEYS[0]) as client:
        yield client


@pytest.fixture
async def admin(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with house.client(ROOT_KEY) as client:
        yield client


async def ids(client: httpx.AsyncClient) -> list[str]:
    return [job["id"] for job in (await client.get("/jobs")).json()["data"]]


async def test_admin_lists_and_reads_the_jobs_of_all_keys(
    house: House, ada: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    of_ada = await submitted(ada)
    async with house.client(KEYS[1]) as bob:
        of_bob = await submitted(bob)
    async with house.dispatching():
        events = await read(admin, of_ada)
    job = await admin.get(f"/jobs/{of_ada}")

    assert await ids(admin) == [of_bob, of_ada]
    assert events[-1].json()["job"]["id"] == of_ada
    assert (job.json()["status"], job.json()["segments"] != []) == ("done", True)


async def test_admin_cancels_and_purges_the_job_of_another_key(
    ada: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    job_id = await submitted(ada)
    cancelled = await admin.delete(f"/jobs/{job_id}")
    seen_by_ada = (await ada.get(f"/jobs/{job_id}")).json()["status"]
    purged = await admin.delete(f"/jobs/{job_id}", params={"purge": "true"})

    assert (cancelled.json()["status"], seen_by_ada) == ("cancelled", "cancelled")
    assert (purged.status_code, (await ada.get(f"/jobs/{job_id}")).status_code) == (204, 404)


async def test_admin_sends_the_webhook_of_another_key_again(ada: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    job_id = await submitted(ada, webhook_url=HOOK)
    await ada.delete(f"/jobs/{job_id}")
    (delivery,) = (await admin.get(f"/jobs/{job_id}/deliveries")).json()["data"]
    again = await admin.post(f"/jobs/{job_id}/deliveries/{delivery['id']}/resend")

    assert (again.status_code, again.json()["id"]) == (202, delivery["id"])


async def test_admin_goes_on_with_and_ends_the_upload_of_another_key(
    ada: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    path = await created(ada)
    await send(admin, path, 0, AUDIO[:10])
    seen = await offset_of(admin, path)
    ended = await admin.delete(path, headers=VERSION)

    assert (seen, ended.status_code) == (10, 204)
    assert (await ada.head(path, headers=VERSION)).status_code == 404


async def test_what_an_admin_submits_is_its_own(ada: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "once"}
    url = {"url": "https://example.com/a.mp3"}
    of_ada = (await ada.post("/jobs", json=url, headers=headers)).json()["job_id"]
    of_admin = (await admin.post("/jobs", json=url, headers=headers)).json()["job_id"]
    upload = await created(admin)

    assert of_ada != of_admin, "an idempotency key is its owner's alone"
    assert await ids(ada) == [of_ada]
    assert (await ada.get(f"/jobs/{of_admin}")).status_code == 404
    assert (await ada.head(upload, headers=VERSION)).status_code == 404


async def test_upload_of_another_key_becomes_no_job_of_an_admin(
    ada: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    upload = {"upload_id": await uploaded(ada)}
    taken = await admin.post("/jobs", json=upload)
    own = await ada.post("/jobs", json=upload)

    assert (taken.status_code, own.status_code) == (404, 202)


async def test_admin_sees_jobs_from_before_there_were_keys(tmp_path: Path, house: House) -> None:
    open_house = House(tmp_path)
    open_house.jobs = house.service
    async with open_house.client() as anyone, house.client(KEYS[0]) as ada, house.client(ROOT_KEY) as admin:
        job_id = await submitted(anyone)

        assert (await ids(ada), await ids(admin)) == ([], [job_id])


EVERYBODYS = [
    ("POST", "/model/unload", {"force": True}),
    ("POST", "/model/load", {"ttl_s": -1}),
    ("POST", "/v1/models/nobody/nothing", {}),
    ("DELETE", "/v1/models/nobody/nothing", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), EVERYBODYS)
async def test_what_everybody_feels_needs_an_admin_key_where_there_is_one(
    ada: httpx.AsyncClient, method: str, path: str, body: dict[str, Any]
) -> None:
    response = await ada.request(method, path, json=body)

    error = error_of(response)
    assert (response.status_code, error["type"], error["code"]) == (403, "invalid_request_error", "permission_denied")
    assert "needs an API key of scope admin" in error["message"]


@pytest.mark.parametrize(("method", "path", "body"), EVERYBODYS)
async def test_admin_and_where_there_is_none_every_key_may_do_it(
    admin: httpx.AsyncClient, tmp_path: Path, method: str, path: str, body: dict[str, Any]
) -> None:
    async with House(tmp_path / "without", keys=KEYS).client(KEYS[0]) as without:
        responses = [await client.request(method, path, json=body) for client in (admin, without)]

    assert all(response.status_code not in (401, 403) for response in responses)


@pytest.mark.parametrize(("path", "body"), [("/model/unload", {}), ("/model/load", {"ttl_s": 60})])
async def test_every_key_may_load_and_unload(ada: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
    assert (await ada.post(path, json=body)).status_code in (200, 202)
