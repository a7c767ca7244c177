"""Uploads in parts: by someone else's tus client over a real port, and the corners of the protocol one by one."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import io
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed

from serve_app.api.tus import PART_TYPE
from serve_app.errors import MediaUnavailable, StoreUnavailable
from serve_app.media.store import DurableDirectoryMediaStore
from serve_app.testing import FakeClock, silent_wav
from serve_app.transcript.protocols import StoredMedia
from tests.service.api.job_house import KEYS, House
from tests.service.api.test_errors import error_of
from tests.service.api.test_jobs import Failing
from tests.service.api.wire import cut_connections, served

AUDIO = silent_wav(3.0)  # 96 044 bytes
PART_BYTES = 40_000
VERSION = {"tus-resumable": "1.0.0"}
PART = {**VERSION, "content-type": PART_TYPE}
FOREVER = "0" * 32


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def house(tmp_path: Path, clock: FakeClock) -> House:
    return House(tmp_path, clock=clock.utc, max_part_bytes=PART_BYTES, upload_expires_s=3600)


@pytest.fixture
async def http(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with house.client() as client:
        yield client


async def created(client: httpx.AsyncClient, length: int = len(AUDIO), **headers: str) -> str:
    """The path of a new upload."""
    response = await client.post("/uploads", headers={**VERSION, "upload-length": str(length), **headers})
    assert response.status_code == 201, response.text
    return response.headers["location"]


async def send(
    client: httpx.AsyncClient, path: str, offset: int, data: bytes | AsyncIterator[bytes], **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.patch(path, content=data, headers={**PART, "upload-offset": str(offset), **named})


async def uploaded(client: httpx.AsyncClient, data: bytes = AUDIO) -> str:
    """The id of a finished upload."""
    path = await created(client, len(data))
    for offset in range(0, len(data), PART_BYTES):
        assert (await send(client, path, offset, data[offset : offset + PART_BYTES])).status_code == 204
    return path.rpartition("/")[2]


async def offset_of(client: httpx.AsyncClient, path: str) -> int:
    return int((await client.head(path, headers=VERSION)).headers["upload-offset"])


async def noticed(client: httpx.AsyncClient, path: str) -> None:
    """Wait until the service has seen the end of a connection: then it no longer holds the upload."""
    while (await send(client, path, 0, b"")).status_code == 423:
        pass


def files_of(house: House) -> list[str]:
    directory = Path(house.services.settings.data_dir) / "uploads-tus"
    return sorted(path.suffix for path in directory.glob("*.*"))


def checksum(data: bytes, algorithm: str = "sha1") -> str:
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


async def test_someone_elses_client_uploads_what_becomes_a_job(house: House) -> None:
    async with served(house.app) as url, httpx.AsyncClient(base_url=url) as client:
        tus = TusClient(f"{url}/uploads")
        uploader = tus.uploader(
            file_stream=io.BytesIO(AUDIO), chunk_size=PART_BYTES, upload_checksum=True, metadata={"filename": "ä"}
        )
        await asyncio.to_thread(uploader.upload)
        response = await client.post("/jobs", json={"upload_id": uploader.url.rpartition("/")[2]})

    assert response.status_code == 202
    assert response.json()["size_bytes"] == len(AUDIO)
    assert list(house.media.files.values()) == [AUDIO]
    assert ".part" not in files_of(house)


async def test_upload_goes_on_after_its_connection_was_cut(house: House) -> None:
    async with served(house.app) as url, cut_connections(url, sent=[None, None, 20_000]) as bad:
        tus = TusClient(f"{bad}/uploads")
        uploader = tus.uploader(file_stream=io.BytesIO(AUDIO), chunk_size=PART_BYTES)
        with pytest.raises((TusCommunicationError, TusUploadFailed)):
            await asyncio.to_thread(uploader.upload)
        async with httpx.AsyncClient(base_url=url) as client:
            await noticed(client, uploader.url.removeprefix(bad))
            again = partial(tus.uploader, file_stream=io.BytesIO(AUDIO), chunk_size=PART_BYTES, url=uploader.url)
            resumed = await asyncio.to_thread(again)  # which asks for the offset
            offset = resumed.offset
            await asyncio.to_thread(resumed.upload)
            await client.post("/jobs", json={"upload_id": uploader.url.rpartition("/")[2]})

    assert PART_BYTES <= offset < 2 * PART_BYTES, "a finished part was lost, or the broken one counted as whole"
    assert list(house.media.files.values()) == [AUDIO]


async def test_someone_elses_client_is_told_that_its_parts_are_too_large(house: House) -> None:
    async with served(house.app) as url:
        uploader = TusClient(f"{url}/uploads").uploader(file_stream=io.BytesIO(AUDIO))
        with pytest.raises((TusCommunicationError, TusUploadFailed)):
            await asyncio.to_thread(uploader.upload)


async def test_options_say_what_the_server_can_do_without_a_key(tmp_path: Path) -> None:
    async with House(tmp_path, keys=KEYS).client() as client:
        response = await client.options("/uploads")

    assert response.status_code == 204
    assert response.headers["tus-version"] == "1.0.0"
    assert response.headers["tus-extension"] == "creation,termination,checksum,expiration"
    assert "sha1" in response.headers["tus-checksum-algorithm"].split(",")


async def test_head_tells_how_much_has_come_and_what_was_said(http: httpx.AsyncClient) -> None:
    path = await created(http, **{"upload-metadata": "filename dGFsaw=="})
    await send(http, path, 0, AUDIO[:100])
    response = await http.head(path, headers=VERSION)

    assert response.status_code == 200
    assert (response.headers["upload-offset"], response.headers["upload-length"]) == ("100", str(len(AUDIO)))
    assert response.headers["upload-metadata"] == "filename dGFsaw=="
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["upload-expires"].endswith("GMT")


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512", "md5"])
async def test_part_counts_only_with_the_right_checksum(http: httpx.AsyncClient, algorithm: str) -> None:
    path, part = await created(http), AUDIO[:1000]
    wrong = await send(http, path, 0, part, upload_checksum=checksum(b"other", algorithm))
    after = await offset_of(http, path)
    right = await send(http, path, 0, part, upload_checksum=checksum(part, algorithm))

    assert (wrong.status_code, error_of(wrong)["code"], after) == (460, "checksum_mismatch", 0)
    assert (right.status_code, right.headers["upload-offset"]) == (204, "1000")


@pytest.mark.parametrize("header", ["crc32 AAAA", "sha1", "sha1 ###", "sha1 ä"])
async def test_checksum_that_cannot_be_checked_is_a_400(http: httpx.AsyncClient, header: str) -> None:
    path = await created(http)
    response = await http.patch(
        path,
        content=b"x",
        headers={**PART, "upload-offset": "0", "upload-checksum": header.encode()},  # type: ignore[dict-item]
    )

    assert (response.status_code, error_of(response)["param"]) == (400, "Upload-Checksum")


async def test_part_at_another_offset_is_a_409(http: httpx.AsyncClient) -> None:
    path = await created(http)
    response = await send(http, path, 5, b"x")

    assert (response.status_code, error_of(response)["code"]) == (409, "offset_mismatch")
    assert await offset_of(http, path) == 0


async def test_part_that_declares_too_much_is_refused_unread(http: httpx.AsyncClient) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    response = await send(http, await created(http), 0, unread(), content_length=str(PART_BYTES + 1))

    assert (response.status_code, error_of(response)["code"]) == (413, "audio_too_large")
    assert str(PART_BYTES) in error_of(response)["message"]


async def test_part_without_a_length_is_counted_while_it_comes(http: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    path = await created(http)
    response = await send(http, path, 0, endless())

    assert response.status_code == 413
    assert await offset_of(http, path) == 0


async def test_part_beyond_the_announced_length_counts_nothing(http: httpx.AsyncClient) -> None:
    path = await created(http, length=10)
    await send(http, path, 0, b"12345")
    long = await send(http, path, 5, b"123456")
    right = await send(http, path, 5, b"67890")

    assert (long.status_code, error_of(long)["code"]) == (413, "audio_too_large")
    assert (right.status_code, right.headers["upload-offset"]) == (204, "10")


async def test_second_writer_has_to_wait_and_is_then_refused(house: House, http: httpx.AsyncClient) -> None:
    writing, finish = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"12345"
        writing.set()
        await finish.wait()
        yield b"67890"

    path = await created(http)
    first = asyncio.create_task(send(http, path, 0, slow()))
    await writing.wait()
    second = await send(http, path, 0, b"other")
    finish.set()

    assert (second.status_code, error_of(second)["code"]) == (423, "upload_locked")
    assert (await first).headers["upload-offset"] == "10"


async def test_terminated_upload_leaves_nothing(house: House, http: httpx.AsyncClient) -> None:
    path = await created(http)
    await send(http, path, 0, b"x")
    response = await http.delete(path, headers=VERSION)

    assert (response.status_code, response.headers["tus-resumable"]) == (204, "1.0.0")
    assert (await http.head(path, headers=VERSION)).status_code == 404
    assert files_of(house) == []


async def test_expired_upload_is_gone_and_its_bytes_are_deleted(
    house: House, http: httpx.AsyncClient, clock: FakeClock
) -> None:
    path = await created(http)
    await send(http, path, 0, b"x")
    clock.advance(3600)
    late = await send(http, path, 1, b"x")
    await created(http)

    assert (late.status_code, error_of(late)["code"]) == (404, "upload_not_found")
    assert files_of(house) == [".json", ".lock", ".part"], "only those of the new one"


async def test_upload_survives_a_new_process_and_what_it_left_half_written(tmp_path: Path, house: House) -> None:
    async with house.client() as old:
        path = await created(old)
        await send(old, path, 0, AUDIO[:1000])
    part = next((tmp_path / "uploads-tus").glob("*.part"))
    part.write_bytes(part.read_bytes() + b"written, but not counted before the crash")
    async with House(tmp_path, clock=house.services.now).client() as new:
        offset = await offset_of(new, path)
        await send(new, path, offset, AUDIO[1000:])
        await new.post("/jobs", json={"upload_id": path.rpartition("/")[2]})

    assert offset == 1000
    assert part.exists() is False


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_method_can_be_named_in_a_header(http: httpx.AsyncClient, method: str) -> None:
    path = await created(http)
    response = await http.post(
        path, content=b"x", headers={**PART, "upload-offset": "0", "x-http-method-override": method}
    )

    assert response.status_code == 204
    assert (await http.post(path, headers=VERSION)).status_code == 405


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"tus-resumable": "0.2.2"}, 412, "tus_version"),
        ({"content-type": "audio/wav"}, 415, "unsupported_media_type"),
        ({"upload-offset": "-1"}, 400, "invalid_value"),
        ({"upload-offset": ""}, 400, "invalid_value"),
    ],
)
async def test_part_that_breaks_the_protocol_is_refused(
    http: httpx.AsyncClient, headers: dict[str, str], status: int, code: str
) -> None:
    path = await created(http)
    response = await http.patch(path, content=b"x", headers={**PART, "upload-offset": "0", **headers})

    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert response.headers["tus-resumable"] == "1.0.0"


@pytest.mark.parametrize(
    "headers",
    [{}, {"upload-length": "x"}, {"upload-length": "9" * 30}, {"upload-length": "1", "upload-metadata": "a" * 5000}],
)
async def test_announcement_without_a_sane_length_is_a_400(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await http.post("/uploads", headers=VERSION | headers)

    assert response.status_code == 400
    assert error_of(response)["param"].startswith("Upload-")


@pytest.mark.parametrize("upload_id", [FOREVER, "..%2F..%2Fetc", "x", "%00"])
@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
async def test_unknown_upload_is_a_404(http: httpx.AsyncClient, method: str, upload_id: str) -> None:
    response = await http.request(method, f"/uploads/{upload_id}", headers={**PART, "upload-offset": "0"})

    assert response.status_code == 404


async def test_keys_do_not_see_one_anothers_uploads(tmp_path: Path) -> None:
    house = House(tmp_path, keys=KEYS)
    async with house.client(KEYS[0]) as ada, house.client(KEYS[1]) as bob:
        upload_id = await uploaded(ada)
        path = f"/uploads/{upload_id}"
        foreign = [
            await bob.request(method, path, headers={**PART, "upload-offset": "0"})
            for method in ("HEAD", "PATCH", "DELETE")
        ]
        stolen = await bob.post("/jobs", json={"upload_id": upload_id})
        own = await ada.post("/jobs", json={"upload_id": upload_id})

    assert {response.status_code for response in foreign} == {404}
    assert (stolen.status_code, error_of(stolen)["code"]) == (404, "upload_not_found")
    assert error_of(stolen)["param"] == "upload_id"
    assert own.status_code == 202


async def test_uploads_need_a_key_where_there_are_any(tmp_path: Path) -> None:
    async with House(tmp_path, keys=KEYS).client() as client:
        response = await client.post("/uploads", headers={**VERSION, "upload-length": "1"})

    assert (response.status_code, error_of(response)["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("headers", [{"Idempotency-Key": "once"}, {}], ids=["with-key", "without"])
async def test_same_request_with_the_same_upload_is_the_same_job(
    house: House, http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    upload_id = await uploaded(http)
    first = await http.post("/jobs", json={"upload_id": upload_id}, headers=headers)
    again = await http.post("/jobs", data={"upload_id": upload_id}, headers=headers)

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["job_id"] == again.json()["job_id"]
    assert list(house.media.files.values()) == [AUDIO]


async def test_upload_becomes_one_job_only(http: httpx.AsyncClient) -> None:
    upload_id = await uploaded(http)
    job_id = (await http.post("/jobs", json={"upload_id": upload_id})).json()["job_id"]
    other = await http.post("/jobs", json={"upload_id": upload_id, "prompt": "Hi"})

    assert (other.status_code, error_of(other)["param"]) == (400, "upload_id")
    assert job_id in error_of(other)["message"]


async def test_same_submit_is_the_same_job_also_when_the_upload_is_gone(http: httpx.AsyncClient) -> None:
    upload_id = await uploaded(http)
    submit = partial(http.post, "/jobs", json={"upload_id": upload_id}, headers={"Idempotency-Key": "once"})
    first = await submit()
    await http.delete(f"/uploads/{upload_id}", headers=VERSION)
    again = await submit()

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["job_id"] == again.json()["job_id"]


@pytest.mark.parametrize("headers", [{"Idempotency-Key": "other"}, {}], ids=["another-key", "without"])
async def test_used_upload_with_another_key_is_a_400_that_names_the_job(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    upload = {"upload_id": await uploaded(http)}
    first = await http.post("/jobs", json=upload, headers={"Idempotency-Key": "once"})
    other = await http.post("/jobs", json=upload, headers=headers)

    assert (other.status_code, error_of(other)["param"]) == (400, "upload_id")
    assert first.json()["job_id"] in error_of(other)["message"]


async def test_upload_outlives_a_submit_that_was_refused_and_the_sweep_after_it(
    house: House, http: httpx.AsyncClient
) -> None:
    upload_id = await uploaded(http)
    house.jobs = Failing(house, StoreUnavailable("The disk is full."))
    refused = await http.post("/jobs", json={"upload_id": upload_id})
    house.jobs, house.media.files = house.service, {}  # the sweep deletes what no job refers to
    again = await http.post("/jobs", json={"upload_id": upload_id})

    assert (refused.status_code, again.status_code) == (503, 202)
    assert list(house.media.files.values()) == [AUDIO]


async def test_upload_whose_key_was_used_for_something_else_can_be_submitted_with_another(
    house: House, http: httpx.AsyncClient
) -> None:
    headers = {"Idempotency-Key": "once"}
    await http.post("/jobs", json={"url": "https://example.com/a.mp3"}, headers=headers)
    upload = {"upload_id": await uploaded(http)}
    refused = await http.post("/jobs", json=upload, headers=headers)
    kept = len(house.media.files)
    right = await http.post("/jobs", json=upload)

    assert (error_of(refused)["code"], kept, right.status_code) == ("idempotency_mismatch", 0, 202)
    assert list(house.media.files.values()) == [AUDIO]


async def test_upload_whose_job_was_deleted_is_gone_with_it(http: httpx.AsyncClient) -> None:
    upload = {"upload_id": await uploaded(http)}
    job_id = (await http.post("/jobs", json=upload)).json()["job_id"]
    await http.delete(f"/jobs/{job_id}", params={"purge": "true"})
    again = await http.post("/jobs", json=upload)

    assert (again.status_code, error_of(again)["code"]) == (404, "upload_not_found")
    assert (await http.get("/jobs")).json()["data"] == []


async def test_same_submit_twice_at_once_is_one_job(house: House) -> None:
    house.services = dataclasses.replace(house.services, sleep=lambda _: asyncio.sleep(0.01))
    async with house.client() as client:
        upload_id = await uploaded(client)
        answers = await asyncio.gather(*(client.post("/jobs", json={"upload_id": upload_id}) for _ in range(2)))

    assert len({answer.json()["job_id"] for answer in answers}) == 1
    assert list(house.media.files.values()) == [AUDIO]


async def test_upload_outlives_a_refused_submit_where_there_are_no_hard_links(
    tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("There are no hard links here.")

    monkeypatch.setattr(os, "link", refuse)
    house.services = dataclasses.replace(house.services, job_media=DurableDirectoryMediaStore(tmp_path / "media"))
    async with house.client() as client:
        upload_id = await uploaded(client)
        house.jobs = Failing(house, StoreUnavailable("The disk is full."))
        refused = await client.post("/jobs", json={"upload_id": upload_id})
        house.jobs = house.service
        again = await client.post("/jobs", json={"upload_id": upload_id})

    assert (refused.status_code, again.status_code) == (503, 202)


async def test_upload_that_became_a_job_takes_no_more(http: httpx.AsyncClient) -> None:
    upload_id = await uploaded(http)
    await http.post("/jobs", json={"upload_id": upload_id})
    response = await send(http, f"/uploads/{upload_id}", len(AUDIO), b"")

    assert (response.status_code, error_of(response)["code"]) == (409, "offset_mismatch")


async def test_unfinished_upload_is_no_audio_yet(house: House, http: httpx.AsyncClient) -> None:
    path = await created(http)
    await send(http, path, 0, AUDIO[:1000])
    response = await http.post("/jobs", json={"upload_id": path.rpartition("/")[2]})

    assert (response.status_code, error_of(response)["param"]) == (400, "upload_id")
    assert f"1000 of {len(AUDIO)} bytes" in error_of(response)["message"]
    assert house.media.saved == 0


async def test_refused_fields_leave_the_upload_unused(http: httpx.AsyncClient) -> None:
    upload_id = await uploaded(http)
    refused = await http.post("/jobs", json={"upload_id": upload_id, "model": "nobody"})
    right = await http.post("/jobs", json={"upload_id": upload_id})

    assert (refused.status_code, right.status_code) == (404, 202)


async def test_upload_is_moved_and_not_copied_within_one_disk(tmp_path: Path, house: House) -> None:
    store = DurableDirectoryMediaStore(tmp_path / "media")
    house.services = dataclasses.replace(house.services, job_media=store)
    async with house.client() as client:
        upload_id = await uploaded(client)
        inode = os.stat(tmp_path / "uploads-tus" / f"{upload_id}.part").st_ino
        await client.post("/jobs", json={"upload_id": upload_id})

    (kept,) = (tmp_path / "media").iterdir()
    assert (kept.stat().st_ino, kept.read_bytes()) == (inode, AUDIO)


async def test_upload_outlives_a_failure_between_its_move_and_the_note_of_it(tmp_path: Path, house: House) -> None:
    class Failing(DurableDirectoryMediaStore):
        async def adopt(self, path: Path) -> StoredMedia:
            await super().adopt(path)
            raise MediaUnavailable("The power went.")

    house.services = dataclasses.replace(house.services, job_media=Failing(tmp_path / "media"))
    async with house.client() as client:
        upload_id = await uploaded(client)
        failed = await client.post("/jobs", json={"upload_id": upload_id})
    house.services = dataclasses.replace(house.services, job_media=DurableDirectoryMediaStore(tmp_path / "media"))
    async with house.client() as client:
        again = await client.post("/jobs", json={"upload_id": upload_id})

    assert (failed.status_code, again.status_code) == (503, 202)


async def test_disk_that_takes_nothing_is_a_503_that_names_no_path(tmp_path: Path, house: House) -> None:
    (tmp_path / "uploads-tus").write_text("a file where the directory should be")
    async with house.client() as client:
        response = await client.post("/uploads", headers={**VERSION, "upload-length": "1"})

    assert (response.status_code, error_of(response)["code"]) == (503, "media_unavailable")
    assert str(tmp_path) not in response.text


async def test_uploads_are_for_jobs(house: House) -> None:
    house.services = dataclasses.replace(house.services, jobs=None)
    async with house.client() as client:
        response: Any = await client.post("/uploads", headers={**VERSION, "upload-length": "1"})

    assert response.status_code == 404


async def test_one_upload_too_many_is_a_429_until_another_has_ended(tmp_path: Path) -> None:
    house = House(tmp_path, keys=KEYS, max_uploads_per_key=1)
    announcement = {**VERSION, "upload-length": "1"}
    async with house.client(KEYS[0]) as ada, house.client(KEYS[1]) as bob:
        path = await created(ada)
        refused = await ada.post("/uploads", headers=announcement)
        of_bob = await bob.post("/uploads", headers=announcement)
        await ada.delete(path, headers=VERSION)
        later = await ada.post("/uploads", headers=announcement)

    assert (refused.status_code, error_of(refused)["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert (of_bob.status_code, later.status_code) == (201, 201)


async def test_upload_larger_than_a_key_may_have_is_a_413(tmp_path: Path) -> None:
    async with House(tmp_path, max_uploads_per_key_bytes=10).client() as client:
        response = await client.post("/uploads", headers={**VERSION, "upload-length": "11"})

    assert (response.status_code, error_of(response)["code"]) == (413, "audio_too_large")
    assert error_of(response)["param"] == "Upload-Length"
