"""What browsers are told, and which of their pages are let in."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from serve_app.api.application import Services
from serve_app.errors import ConfigError
from serve_app.settings import ApiKey, HttpSettings, load_settings
from tests.service.api.conftest import client_of
from tests.service.api.test_errors import FILES, TRANSCRIPTIONS, error_of

APP = "https://app.example.com"
EVIL = "https://evil.example.com"
ASKS = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-stainless-os"}


def with_origins(services: Services, *origins: str) -> Services:
    return dataclasses.replace(
        services, settings=services.settings.model_copy(update={"http": HttpSettings(cors_origins=origins)})
    )


@pytest.fixture
async def alone(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """For this machine, without a key."""
    async with client_of(dataclasses.replace(services, local_only=True)) as client:
        client.base_url = httpx.URL("http://127.0.0.1:8000")
        yield client


@pytest.mark.parametrize("path", ["/", "/docs", "/static/app.js", "/health", "/v1/models", "/nowhere"])
async def test_every_answer_has_the_headers_that_keep_browsers_safe(http: httpx.AsyncClient, path: str) -> None:
    headers = (await http.get(path)).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy


async def test_no_page_may_run_a_script_that_did_not_come_with_it(http: httpx.AsyncClient) -> None:
    page, docs = await http.get("/"), await http.get("/docs")
    inside = re.findall(r"<script>", page.text), re.findall(r"<script>", docs.text)

    assert [len(scripts) for scripts in inside] == [0, 1]
    for answer in (page, docs):
        sources = re.findall(r"script-src ([^;]*)", answer.headers["content-security-policy"])[0].split()
        assert "'self'" in sources
        assert not {"'unsafe-inline'", "'unsafe-eval'", "*"} & {*sources}
    assert docs.headers["content-security-policy"].count("'sha256-") == 1


async def test_pages_of_other_origins_are_told_nothing_by_default(http: httpx.AsyncClient) -> None:
    preflight = await http.options(TRANSCRIPTIONS, headers={"origin": APP, **ASKS})
    answer = await http.get("/v1/models", headers={"origin": APP})

    assert preflight.status_code == 405
    assert [name for name in (*preflight.headers, *answer.headers) if name.startswith("access-control")] == []


async def test_pages_of_a_named_origin_may_ask_and_read(services: Services) -> None:
    guarded = dataclasses.replace(with_origins(services, APP), api_keys=lambda: [ApiKey("sk")])
    async with client_of(guarded) as http:
        preflight = await http.options(TRANSCRIPTIONS, headers={"origin": APP, **ASKS})
        refused = await http.get("/v1/models", headers={"origin": APP})

    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == APP
    assert "x-stainless-os" in preflight.headers["access-control-allow-headers"]
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == APP
    assert {"x-request-id", "retry-after", "upload-offset"} <= {
        *refused.headers["access-control-expose-headers"].split(", ")
    }
    assert "access-control-allow-credentials" not in refused.headers


async def test_pages_of_an_origin_that_is_not_named_are_told_nothing(services: Services) -> None:
    async with client_of(with_origins(services, APP)) as http:
        preflight = await http.options(TRANSCRIPTIONS, headers={"origin": EVIL, **ASKS})
        answer = await http.get("/v1/models", headers={"origin": f"{APP}.evil.example.com"})

    assert preflight.status_code == 400
    assert "access-control-allow-origin" not in {*preflight.headers, *answer.headers}


@pytest.mark.parametrize("origin", ["app.example.com", f"{APP}/", f"{APP}/path", "https://*.example.com", "null", ""])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError, match="is no origin: it looks like https://app"):
        load_settings({"http": {"cors_origins": [origin]}}, {})


def test_origins_come_from_the_environment_too() -> None:
    settings = load_settings({}, {"RAYSCRIBE_HTTP__CORS_ORIGINS": f'["{APP}"]'})

    assert settings.http.cors_origins == (APP,)


@pytest.mark.parametrize(
    "origin", [EVIL, "null", "http://127.0.0.1:9000", "http://127.0.0.1:8000.evil.example.com", "http://["]
)
async def test_page_of_another_origin_cannot_use_a_service_without_keys(alone: httpx.AsyncClient, origin: str) -> None:
    """A form needs no preflight: the browser would send it, and the work would be done."""
    response = await alone.post(TRANSCRIPTIONS, files=FILES, data={"model": "whisper-1"}, headers={"origin": origin})

    assert (response.status_code, error_of(response)["code"]) == (403, "permission_denied")


@pytest.mark.parametrize("host", ["evil.example.com", "evil.example.com:8000", "127.0.0.1.evil.example.com", "[::", ""])
async def test_name_that_was_pointed_at_this_machine_is_refused(alone: httpx.AsyncClient, host: str) -> None:
    response = await alone.get("/jobs", headers={"host": host})

    assert response.status_code == 403
    assert "auth.mode: none" in error_of(response)["message"]


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "localhost", "[::1]:8000", "127.0.0.5"])
async def test_this_machine_may_use_it_by_each_of_its_names(alone: httpx.AsyncClient, host: str) -> None:
    plain = await alone.get("/v1/models", headers={"host": host})
    from_its_page = await alone.get("/v1/models", headers={"host": host, "origin": f"http://{host}"})

    assert (plain.status_code, from_its_page.status_code) == (200, 200)


async def test_named_origin_may_use_a_service_without_keys(services: Services) -> None:
    async with client_of(dataclasses.replace(with_origins(services, APP), local_only=True)) as http:
        response = await http.get("/v1/models", headers={"host": "localhost:8000", "origin": APP})

    assert response.status_code == 200
