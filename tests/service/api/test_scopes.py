"""What a key may do, by its scopes."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from serve_app.api.application import create_app
from serve_app.settings import ApiKey, Scope
from tests.service.api.job_house import House, submitted
from tests.service.api.test_errors import error_of

TRANSCRIBER = ApiKey("sk-transcribe", frozenset({Scope.TRANSCRIBE}), "app")
SUBMITTER = ApiKey("sk-jobs", frozenset({Scope.JOBS}), "batch")
ROUTES = {
    Scope.TRANSCRIBE: [("POST", "/v1/audio/transcriptions"), ("POST", "/v1/audio/translations")],
    Scope.JOBS: [
        ("POST", "/jobs"),
        ("GET", "/jobs"),
        ("GET", "/jobs/{id}"),
        ("GET", "/jobs/{id}/stream"),
        ("DELETE", "/jobs/{id}"),
        ("GET", "/jobs/{id}/deliveries"),
        ("POST", "/jobs/{id}/deliveries/x/resend"),
        ("POST", "/uploads"),
        ("HEAD", "/uploads/{id}"),
        ("PATCH", "/uploads/{id}"),
        ("POST", "/uploads/{id}"),
        ("DELETE", "/uploads/{id}"),
    ],
}
CASES = [(scope, method, path) for scope, routes in ROUTES.items() for method, path in routes]
UNKNOWN = "00000000-0000-4000-8000-000000000000"
VERSION = {"Tus-Resumable": "1.0.0"}


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    house.services = replace(house.services, api_keys=lambda: [TRANSCRIBER, SUBMITTER])
    return house


def client(house: House, key: ApiKey) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    return house.client(key.secret)


@pytest.mark.parametrize(("scope", "method", "path"), CASES)
async def test_key_without_the_scope_is_told_which_one_it_lacks(
    house: House, scope: Scope, method: str, path: str
) -> None:
    lacking, having = (SUBMITTER, TRANSCRIBER) if scope is Scope.TRANSCRIBE else (TRANSCRIBER, SUBMITTER)
    async with client(house, lacking) as one, client(house, having) as other:
        refused = await one.request(method, path.format(id=UNKNOWN), headers=VERSION)
        allowed = await other.request(method, path.format(id=UNKNOWN), headers=VERSION)

    assert refused.status_code == 403
    assert allowed.status_code not in (401, 403)
    if method != "HEAD":
        error = error_of(refused)
        assert (error["type"], error["code"]) == ("invalid_request_error", "permission_denied")
        assert f"scope {scope}" in error["message"]


@pytest.mark.parametrize("key", [TRANSCRIBER, SUBMITTER], ids=lambda key: key.name)
@pytest.mark.parametrize("path", ["/v1/models", "/model/status"])
async def test_any_key_may_ask_about_models(house: House, key: ApiKey, path: str) -> None:
    async with client(house, key) as http:
        assert (await http.get(path)).status_code == 200


async def test_each_guarded_route_is_in_this_table(house: House) -> None:
    """A new route must be thought about here."""
    open_to_each = ("/v1/models", "/model/", "/health", "/metrics", "/openapi", "/docs", "/static")
    routes = {path.split("{")[0] for path in create_app(house.services).openapi()["paths"]}
    known = {path.split("{")[0] for _, _, path in CASES}

    assert {path for path in routes if path not in known and not path.startswith(open_to_each) and path != "/"} == set()


async def test_new_key_of_the_same_name_sees_the_jobs_of_the_old_one(house: House) -> None:
    async with client(house, SUBMITTER) as old:
        job_id = await submitted(old)
    house.services = replace(house.services, api_keys=lambda: [replace(SUBMITTER, secret="sk-new"), ApiKey("sk-other")])
    async with house.client("sk-new") as new, house.client("sk-other") as other, client(house, SUBMITTER) as old:
        seen = [(await http.get(f"/jobs/{job_id}")).status_code for http in (new, other, old)]

    assert seen == [200, 404, 401]
