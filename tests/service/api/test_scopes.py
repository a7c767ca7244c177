"""What a key may do, by its scopes."""

from __future__ import annotations

import re
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.api.application import create_app
from serve_app.settings import ApiKey, Scope
from tests.service.api.job_house import House, submitted
from tests.service.api.test_errors import error_of

TRANSCRIBER = ApiKey("sk-transcribe", frozenset({Scope.TRANSCRIBE}), "app")
SUBMITTER = ApiKey("sk-jobs", frozenset({Scope.JOBS}), "batch")
STEERER = ApiKey("sk-models", frozenset({Scope.MODELS}), "night")
ROOT = ApiKey("sk-root", frozenset({Scope.ADMIN}), "ops")
KEYS = {Scope.TRANSCRIBE: TRANSCRIBER, Scope.JOBS: SUBMITTER, Scope.MODELS: STEERER, Scope.ADMIN: ROOT}
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
    Scope.MODELS: [("POST", "/model/load"), ("POST", "/model/unload")],
    Scope.ADMIN: [("POST", "/v1/models/{id}"), ("DELETE", "/v1/models/{id}")],
}
OPEN_TO_EACH_KEY = {
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{}"),
    ("GET", "/model/status"),
    ("GET", "/model/events"),
    ("GET", "/metrics"),
}
OPEN_TO_ALL = {("GET", "/health"), ("GET", "/health/live"), ("GET", "/health/ready"), ("OPTIONS", "/uploads")}
CASES = [(scope, method, path) for scope, routes in ROUTES.items() for method, path in routes]
UNKNOWN = "00000000-0000-4000-8000-000000000000"
VERSION = {"Tus-Resumable": "1.0.0"}


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    house.services = replace(house.services, api_keys=lambda: [*KEYS.values()])
    return house


def client(house: House, key: ApiKey) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    return house.client(key.secret)


@pytest.mark.parametrize(("scope", "method", "path"), CASES)
async def test_key_without_the_scope_is_told_which_one_it_lacks(
    house: House, scope: Scope, method: str, path: str
) -> None:
    others = frozenset(Scope) - {scope, Scope.ADMIN}
    lacking = ApiKey("sk-lacking", others, "lacking")
    house.services = replace(house.services, api_keys=lambda: [lacking, *KEYS.values()])
    async with client(house, lacking) as one, client(house, KEYS[scope]) as other:
        refused = await one.request(method, path.format(id=UNKNOWN), headers=VERSION)
        allowed = await other.request(method, path.format(id=UNKNOWN), headers=VERSION)

    assert refused.status_code == 403
    assert allowed.status_code not in (401, 403)
    if method != "HEAD":
        error = error_of(refused)
        assert (error["type"], error["code"]) == ("invalid_request_error", "permission_denied")
        assert f"scope {scope}" in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/models/nobody/nothing", {}),
        ("DELETE", "/v1/models/nobody/nothing", {}),
        ("POST", "/model/unload", {"force": True}),
        ("POST", "/model/load", {"ttl_s": -1}),
    ],
)
async def test_key_with_narrow_scopes_is_no_admin_where_there_is_none(
    house: House, method: str, path: str, body: dict[str, Any]
) -> None:
    every = ApiKey("sk-every", frozenset(Scope) - {Scope.ADMIN}, "every")
    house.services = replace(house.services, api_keys=lambda: [every, ApiKey("sk-bare")])
    async with client(house, every) as narrow, house.client("sk-bare") as bare:
        refused = await narrow.request(method, path, json=body)
        allowed = await bare.request(method, path, json=body)

    assert (refused.status_code, allowed.status_code in (401, 403)) == (403, False)
    assert "needs an API key of scope admin" in error_of(refused)["message"]


@pytest.mark.parametrize("key", KEYS.values(), ids=lambda key: key.name)
@pytest.mark.parametrize("path", ["/v1/models", "/model/status"])
async def test_any_key_may_ask_about_models(house: House, key: ApiKey, path: str) -> None:
    async with client(house, key) as http:
        assert (await http.get(path)).status_code == 200


async def test_each_guarded_route_is_in_this_table(house: House) -> None:
    """A new route must be thought about here."""
    paths = create_app(house.services).openapi()["paths"]
    routes = {(method.upper(), _nameless(path)) for path, methods in paths.items() for method in methods}
    known = {(method, _nameless(path.replace("/x/", "/{x}/"))) for _, method, path in CASES}

    assert routes - known - OPEN_TO_EACH_KEY - OPEN_TO_ALL == set()


async def test_new_key_of_the_same_name_sees_the_jobs_of_the_old_one(house: House) -> None:
    async with client(house, SUBMITTER) as old:
        job_id = await submitted(old)
    house.services = replace(house.services, api_keys=lambda: [replace(SUBMITTER, secret="sk-new"), ApiKey("sk-other")])
    async with house.client("sk-new") as new, house.client("sk-other") as other, client(house, SUBMITTER) as old:
        seen = [(await http.get(f"/jobs/{job_id}")).status_code for http in (new, other, old)]

    assert seen == [200, 404, 401]


def _nameless(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path)
