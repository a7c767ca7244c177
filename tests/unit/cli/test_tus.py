"""A large file arrives whole, over cuts and restarts."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx
import pytest

from serve_app.cli.exits import NoService, Refused
from serve_app.cli.tus import LOST, upload, uploaded
from tests.unit.cli.client import PatientClient, problem

CONTENT = bytes(range(256)) * 40
LARGE = b"sound" * 200_000
PART = 3000


class TusServer:
    """Keeps what comes; `mishaps` happen to the PATCHes of these numbers: a cut after some bytes, or an answer."""

    def __init__(self, mishaps: dict[int, int | httpx.Response] | None = None) -> None:
        self.received = b""
        self.forgotten = False
        self.requests: list[httpx.Request] = []
        self._mishaps = mishaps or {}
        self._patches = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        assert request.headers["tus-resumable"] == "1.0.0"
        if request.method == "POST":
            self.received = b""
            return httpx.Response(201, headers={"location": "https://behind.a.proxy/prefix/uploads/u1"})
        assert request.url.path == "/uploads/u1"
        if request.method == "DELETE":
            self.forgotten = True
            return httpx.Response(204)
        return self._patch(request) if request.method == "PATCH" else self._told()

    def _patch(self, request: httpx.Request) -> httpx.Response:
        self._patches += 1
        assert len(request.content) == int(request.headers["content-length"])
        match self._mishaps.get(self._patches):
            case int(kept):
                self.received += request.content[:kept]
                raise httpx.WriteError("cut")
            case httpx.Response() as answer:
                return answer
        if int(request.headers["upload-offset"]) != len(self.received):
            return problem(409)
        self.received += request.content
        return self._told()

    def _told(self) -> httpx.Response:
        return httpx.Response(204, headers={"upload-offset": str(len(self.received))})


async def itself(upload_id: str) -> str:
    return upload_id


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "große Rede.wav"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.wav"
    path.write_bytes(LARGE)
    return path


async def test_file_goes_up_in_parts(file: Path) -> None:
    server, told = TusServer(), []
    async with PatientClient(server) as client:
        assert await upload(client, file, told.append, part_bytes=PART) == "u1"

    created, *parts = server.requests
    assert server.received == CONTENT
    assert created.headers["upload-length"] == str(len(CONTENT))
    assert base64.b64decode(created.headers["upload-metadata"].split()[1]).decode() == "große Rede.wav"
    assert [int(part.headers["content-length"]) for part in parts] == [3000, 3000, 3000, 1240]
    assert told[-1] == len(CONTENT)
    assert told == sorted(told)


@pytest.mark.parametrize("mishap", [0, 1234, problem(503), problem(500), problem(409), problem(429, retry_after="2")])
async def test_upload_goes_on_from_what_the_service_has(file: Path, mishap: int | httpx.Response) -> None:
    server = TusServer({2: mishap, 3: 99})
    async with PatientClient(server) as client:
        await upload(client, file, lambda _: None, part_bytes=PART)

    assert server.received == CONTENT
    assert [r.method for r in server.requests].count("HEAD") == 2


@pytest.mark.parametrize("answer", [problem(404, code=LOST), httpx.Response(404)], ids=["told", "of a HEAD"])
async def test_upload_that_the_service_has_lost_begins_anew(file: Path, answer: httpx.Response) -> None:
    server = TusServer({1: answer})
    async with PatientClient(server) as client:
        assert await uploaded(client, file, lambda _: None, itself) == "u1"

    assert server.received == CONTENT
    assert [r.method for r in server.requests].count("POST") == 2


async def test_upload_that_is_lost_while_it_becomes_a_job_begins_anew(file: Path) -> None:
    server, answers = TusServer(), [Refused("lost", status=404, code=LOST)]

    async def submitted(upload_id: str) -> str:
        if answers:
            raise answers.pop()
        return f"job of {upload_id}"

    async with PatientClient(server) as client:
        assert await uploaded(client, file, lambda _: None, submitted) == "job of u1"

    assert [r.method for r in server.requests].count("POST") == 2


async def test_upload_that_is_lost_again_and_again_is_given_up(file: Path) -> None:
    server = TusServer(dict.fromkeys(range(1, 99), problem(404, code=LOST)))
    async with PatientClient(server) as client:
        with pytest.raises(Refused):
            await uploaded(client, file, lambda _: None, itself)

    assert [r.method for r in server.requests].count("POST") == 3


async def test_model_that_is_not_there_is_no_lost_upload(file: Path) -> None:
    server = TusServer()

    async def submitted(upload_id: str) -> str:
        raise Refused("no such model", status=404, code="model_not_found")

    async with PatientClient(server) as client:
        with pytest.raises(Refused):
            await uploaded(client, file, lambda _: None, submitted)

    assert [r.method for r in server.requests].count("POST") == 1


@pytest.mark.parametrize("status", [400, 401, 410])
async def test_what_will_not_work_ends_it(file: Path, status: int) -> None:
    server = TusServer({1: problem(status)})
    async with PatientClient(server) as client:
        with pytest.raises(Refused):
            await upload(client, file, lambda _: None)

    assert server.forgotten


async def test_parts_become_smaller_where_a_proxy_takes_less(large: Path) -> None:
    server = TusServer({1: problem(413)})
    async with PatientClient(server) as client:
        await upload(client, large, lambda _: None, part_bytes=len(LARGE))

    assert server.received == LARGE
    assert [r.headers.get("content-length") for r in server.requests[2:]] == ["250000"] * 4
    assert client.waits == []


async def test_upload_that_never_gets_on_is_given_up(file: Path) -> None:
    async with PatientClient(TusServer(dict.fromkeys(range(1, 99), 0))) as client:
        with pytest.raises(NoService, match="stopped answering"):
            await upload(client, file, lambda _: None, part_bytes=PART)

    assert 100 < sum(client.waits) <= 300
