"""Requests that are made to do harm: each is answered, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import hmac
import io
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.settings import ApiKey, LimitSettings
from serve_app.telemetry import configure_logging
from tests.service.api.conftest import SETTINGS
from tests.service.api.job_house import House
from tests.service.api.test_errors import FILES, TRANSCRIPTIONS, error_of
from tests.service.api.test_resumable_uploads import VERSION

FORGED = "x\r\n2026-01-01 ERROR forged\x1b[31m\u2028"
AS_PATH = "x%0D%0A2026-01-01%20ERROR%20forged%1B%5B31m"
UPWARDS = ("..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e%2fetc", "..%5c..%5cetc", "%2fetc%2fpasswd", "x%00.json")


@pytest.fixture
def house(tmp_path: Path) -> House:
    (tmp_path / "secret.json").write_text("{}")
    return House(tmp_path, settings=SETTINGS.model_copy(update={"limits": LimitSettings()}))


@pytest.fixture
async def http(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with house.client() as client:
        yield client


def form(parts: int, *, file: bool) -> bytes:
    name = b'name="file"; filename="a"' if file else b'name="x"'
    return (b"--b\r\nContent-Disposition: form-data; " + name + b"\r\n\r\nx\r\n") * parts + b"--b--\r\n"


def find(folder: Path, pattern: str) -> list[Path]:
    return [*folder.parent.rglob(pattern)]


@pytest.mark.parametrize("at_once", [0, 3], ids=["first", "last"])
async def test_every_key_is_compared_whichever_is_right(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at_once: int
) -> None:
    """To stop at the right one would tell how far down the list it is."""
    keys = ("sk-0", "sk-1", "sk-2", "sk-3")
    lengths: list[tuple[int, int]] = []

    def compare(a: bytes, b: bytes) -> bool:
        lengths.append((len(a), len(b)))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare)
    async with House(tmp_path, keys=keys).client(keys[at_once]) as http:
        response = await http.get("/v1/models")

    assert response.status_code == 200
    assert lengths == [(32, 32)] * 4, "of digests, so that no length is told either"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What operators see."""
    logger = logging.getLogger("serve_app")
    before = logger.handlers[:], logger.propagate, logger.level
    with contextlib.redirect_stderr(io.StringIO()) as lines:
        configure_logging("TRACE")
        yield lines
    logger.handlers[:], logger.propagate, level = before
    logger.setLevel(level)


async def test_what_clients_send_forges_no_line_of_the_log(http: httpx.AsyncClient, log: io.StringIO) -> None:
    asked: list[dict[str, Any]] = [
        {"method": "GET", "url": f"/jobs/{AS_PATH}"},
        {"method": "GET", "url": f"/{AS_PATH}"},
        {"method": "DELETE", "url": f"/uploads/{AS_PATH}", "headers": VERSION},
        {"method": "POST", "url": f"/v1/models/{AS_PATH}"},
        {"method": "GET", "url": "/v1/models", "headers": {"x-request-id": "x\tERROR forged"}},
        {"method": "POST", "url": "/model/load", "json": {"model": FORGED}},
        {"method": "POST", "url": TRANSCRIPTIONS, "files": {"file": (FORGED, b"x")}, "data": {"model": "whisper-1"}},
        {"method": "POST", "url": TRANSCRIPTIONS, "files": FILES, "data": {"model": FORGED, "language": FORGED}},
        {"method": "POST", "url": "/jobs", "json": {"url": f"https://example.com/{FORGED}", "webhook_url": FORGED}},
        {
            "method": "POST",
            "url": "/jobs",
            "files": {"audio": (FORGED, b"x")},
            "headers": {"idempotency-key": "\tforged"},
        },
    ]
    statuses = [(await http.request(**request)).status_code for request in asked]

    assert all(status < 500 for status in statuses)
    assert "POST /jobs" in log.getvalue()
    assert "forged" not in log.getvalue()


@pytest.mark.parametrize("name", UPWARDS)
@pytest.mark.parametrize("path", ["/static/{}", "/docs/static/{}", "/jobs/{}", "/jobs/{}/stream", "/uploads/{}"])
async def test_no_path_leads_out_of_its_folder(http: httpx.AsyncClient, path: str, name: str) -> None:
    response = await http.get(path.format(name), headers=VERSION)

    assert response.status_code in (301, 307, 404, 405)


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
@pytest.mark.parametrize("name", ["..%2fsecret", "%2e%2e%2fsecret", "a" * 31 + "%00", "A" * 32])
async def test_id_of_an_upload_is_no_path(http: httpx.AsyncClient, tmp_path: Path, method: str, name: str) -> None:
    headers = {**VERSION, "content-type": "application/offset+octet-stream", "upload-offset": "0"}
    response = await http.request(method, f"/uploads/{name}", headers=headers)

    assert response.status_code == 404
    assert (tmp_path / "secret.json").read_text() == "{}"


async def test_name_of_a_file_names_nothing_here(http: httpx.AsyncClient, tmp_path: Path) -> None:
    response = await http.post("/jobs", files={"audio": ("../../../stolen", b"x")})

    assert response.status_code == 202
    assert find(tmp_path, "*stolen*") == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "x-gzip"])
@pytest.mark.parametrize("path", [TRANSCRIPTIONS, "/jobs", "/model/load", "/uploads"])
async def test_compressed_body_is_refused_unread(http: httpx.AsyncClient, path: str, encoding: str) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    response = await http.post(path, content=never(), headers={"content-encoding": encoding, **VERSION})

    assert (response.status_code, error_of(response)["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "headers",
    [[("x-a", "b")] * 200, [("x-a", "b" * 40_000)], [("x" * 40_000, "b")], [(f"x-{n}", "b" * 1000) for n in range(50)]],
    ids=["many", "long value", "long name", "together"],
)
async def test_large_head_is_a_431(http: httpx.AsyncClient, headers: Iterable[tuple[str, str]]) -> None:
    response = await http.get("/health", headers=[*headers])

    assert (response.status_code, error_of(response)["code"]) == (431, "headers_too_large")


async def test_long_address_is_a_431(http: httpx.AsyncClient) -> None:
    assert (await http.get("/jobs", params={"cursor": "a" * 40_000})).status_code == 431


@pytest.mark.parametrize(
    "bomb", [b"[" * 60_000, b'{"a":' * 12_000, b'{"ttl_s": ' + b"9" * 60_000 + b"}", b'{"ttl_s": 1e999}']
)
@pytest.mark.parametrize("path", ["/model/load", "/model/unload", "/jobs"])
async def test_deep_or_endless_json_is_a_400(http: httpx.AsyncClient, path: str, bomb: bytes) -> None:
    response = await http.post(path, content=bomb, headers={"content-type": "application/json"})

    assert response.status_code == 400 or (path, b"1e999" in bomb) == ("/model/unload", True)  # which knows no ttl_s


@pytest.mark.parametrize("file", [True, False])
@pytest.mark.parametrize("path", [TRANSCRIPTIONS, "/jobs", "/model/load"])
async def test_ten_thousand_parts_are_a_400(http: httpx.AsyncClient, path: str, file: bool) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    response = await http.post(path, content=form(10_000, file=file), headers=headers)

    assert response.status_code == 400
    assert "Too many" in error_of(response)["message"]


@pytest.mark.parametrize(
    "head",
    [
        b"X-A: b\r\n" * 100_000,
        b"X-A: " + b"b" * 1_000_000 + b"\r\n",
        b'Content-Disposition: form-data; name="' + b"[" * 100_000,
    ],
    ids=["headers", "long header", "long name"],
)
async def test_large_head_of_a_part_is_a_400(http: httpx.AsyncClient, head: bytes) -> None:
    body = b"--b\r\n" + head + b"\r\n\r\n\r\n--b--\r\n"
    response = await http.post(
        TRANSCRIPTIONS, content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )

    assert response.status_code == 400


@pytest.mark.timeout(30)
@pytest.mark.parametrize("text", ["a" * 900_000, " " * 900_000, "a, " * 300_000, "[" * 900_000, "\u0301" * 400_000])
@pytest.mark.parametrize("field", ["prompt", "hotwords", "keywords[]", "language", "temperature", "chunking_strategy"])
async def test_no_text_takes_long_to_read(http: httpx.AsyncClient, field: str, text: str) -> None:
    """Quadratic in this length would be hours."""
    response = await http.post(TRANSCRIPTIONS, files=FILES, data={"model": "whisper-1", field: text})

    assert response.status_code in (200, 400)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["x[" + "a" * 900, "x" + "[]" * 450, "x" + "[" * 900, "x" + "[a" * 450])
async def test_no_name_of_a_field_takes_long_to_read(http: httpx.AsyncClient, name: str) -> None:
    response = await http.post(
        TRANSCRIPTIONS, files=FILES, data={"model": "whisper-1", **{f"{name}{n}": "1" for n in range(400)}}
    )

    assert response.status_code == 200


async def test_key_is_not_told_back(tmp_path: Path) -> None:
    house = House(tmp_path, keys=("sk-right",))
    async with house.client("sk-hidden") as wrong, house.client("sk-right") as right:
        answers = [await wrong.get("/jobs"), await right.post("/model/load", json={"model": "nobody"})]

    assert all("sk-" not in answer.text + str(answer.headers) for answer in answers)
    assert "sk-right" not in repr(house.services)
    assert "sk-right" not in repr(ApiKey("sk-right"))
