"""Objects that clients name, from an S3 server into the store."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from serve_app.errors import AudioTooLarge, ConfigError, InvalidAudio, MediaUnavailable
from serve_app.media.object_fetch import ObjectFetcher
from serve_app.media.objects import ObjectMediaStore
from serve_app.media.source import open_media
from serve_app.media.store import DurableDirectoryMediaStore
from serve_app.transcript.protocols import StoredMedia
from tests.s3 import BUCKET
from tests.service.api.conftest import WAV
from tests.service.api.job_house import House
from tests.service.api.test_errors import error_of
from tests.service.media.servers import answer, listening

pytestmark = pytest.mark.server

READABLE = (f"s3://{BUCKET}/incoming/",)
KEY = "incoming/2024/a b#c?d=é%20.wav"
URL = f"s3://{BUCKET}/{KEY}"
LARGE = bytes(9 * 1024 * 1024)  # more than one block


@pytest.fixture
def store(tmp_path: Path) -> DurableDirectoryMediaStore:
    return DurableDirectoryMediaStore(tmp_path)


@pytest.fixture
def fetcher(s3: Any, store: DurableDirectoryMediaStore) -> ObjectFetcher:
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=WAV)
    return ObjectFetcher(READABLE, store, max_bytes=len(LARGE))


async def read(media: StoredMedia) -> bytes:
    with os.fdopen(await open_media(media), "rb") as file:
        return file.read()


@pytest.mark.parametrize("content", [b"", WAV, LARGE], ids=len)
async def test_an_object_is_copied_with_its_size(fetcher: ObjectFetcher, s3: Any, content: bytes) -> None:
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=content)

    media, size_bytes = await fetcher.fetch(URL)

    assert size_bytes == len(content)
    assert await read(media) == content


async def test_an_object_outlives_its_copy_in_the_same_bucket(s3: Any) -> None:
    key = f"audio-{'0' * 31}/talk.wav"  # as much like a name of ours as it gets
    s3.put_object(Bucket=BUCKET, Key=key, Body=WAV)
    store = ObjectMediaStore(f"s3://{BUCKET}")
    media, _ = await ObjectFetcher([f"s3://{BUCKET}/audio-{'0' * 31}/"], store, max_bytes=len(WAV)).fetch(
        f"s3://{BUCKET}/{key}"
    )

    assert await store.older_than(-60) == [media]
    await store.delete(media)
    assert [listed["Key"] for listed in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == [key]


async def test_a_missing_object_is_a_fault_of_the_request(fetcher: ObjectFetcher) -> None:
    with pytest.raises(InvalidAudio) as refused:
        await fetcher.fetch(f"s3://{BUCKET}/incoming/hidden.wav")

    assert refused.value.message == f"The audio cannot be fetched: s3://{BUCKET} has no such object."


@pytest.mark.parametrize("status", ["403 Forbidden", "401 Unauthorized"])
async def test_an_object_that_the_service_may_not_read_is_a_fault_of_the_request(
    fetcher: ObjectFetcher, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    async with listening(answer(status)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        with pytest.raises(InvalidAudio, match=f"s3://{BUCKET} does not let the service read it"):
            await fetcher.fetch(URL)


async def test_a_bucket_that_fails_is_worth_another_try(
    fetcher: ObjectFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(answer("400 Expired")) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        with pytest.raises(MediaUnavailable) as failed:
            await fetcher.fetch(URL)

    assert failed.value.message == f"s3://{BUCKET} did not send the audio (GenericError)."


async def test_too_large_an_object_is_refused_and_leaves_nothing(
    fetcher: ObjectFetcher, s3: Any, tmp_path: Path
) -> None:
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=LARGE + b"!")

    with pytest.raises(AudioTooLarge, match="9,437,185 bytes or more; at most 9,437,184 are fetched"):
        await fetcher.fetch(URL)

    assert os.listdir(tmp_path) == []


async def test_an_object_that_is_replaced_meanwhile_is_worth_another_try(s3: Any, tmp_path: Path) -> None:
    class Slow(DurableDirectoryMediaStore):
        async def save(self, blocks: AsyncIterable[bytes]) -> StoredMedia:
            async def meddled() -> AsyncIterator[bytes]:
                async for block in blocks:
                    yield block
                    s3.put_object(Bucket=BUCKET, Key=KEY, Body=LARGE[::-1] + b"!")

            return await super().save(meddled())

    s3.put_object(Bucket=BUCKET, Key=KEY, Body=LARGE)
    with pytest.raises(MediaUnavailable, match="PreconditionError"):
        await ObjectFetcher(READABLE, Slow(tmp_path), max_bytes=2**30).fetch(URL)

    assert os.listdir(tmp_path) == []


async def test_a_copy_between_buckets_that_breaks_off_says_why(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=WAV)
    fetcher = ObjectFetcher(READABLE, ObjectMediaStore("s3://missing"), max_bytes=len(WAV))

    with pytest.raises(MediaUnavailable, match="The media store s3://missing is missing or away"):
        await fetcher.fetch(URL)


def test_an_environment_that_makes_no_sense_is_found_at_start(
    store: DurableDirectoryMediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "maybe")

    with pytest.raises(ConfigError, match=r"media\.readable s3://audio/incoming/ cannot be used"):
        ObjectFetcher(READABLE, store, max_bytes=1)


@pytest.fixture
def house(s3: Any, tmp_path: Path) -> House:
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=WAV)
    return House(tmp_path, fetcher=lambda media: ObjectFetcher(READABLE, media, max_bytes=len(WAV)))


async def test_a_job_of_an_object_is_done_and_only_the_copy_is_ever_deleted(house: House, s3: Any) -> None:
    async with house.client() as client:
        job_id = (await client.post("/jobs", json={"url": URL})).json()["job_id"]
        async with house.dispatching():
            await client.get(f"/jobs/{job_id}/stream")
        job = (await client.get(f"/jobs/{job_id}")).json()
        await client.delete(f"/jobs/{job_id}", params={"purge": "true"})

    assert (job["status"], job["size_bytes"]) == ("done", len(WAV))
    assert (house.media.saved, house.media.files) == (1, {})
    assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == WAV


async def test_a_job_of_a_missing_object_fails_with_its_reason(house: House) -> None:
    async with house.client() as client:
        job_id = (await client.post("/jobs", data={"url": f"{URL}.gone"})).json()["job_id"]
        async with house.dispatching():
            await client.get(f"/jobs/{job_id}/stream")
        job = (await client.get(f"/jobs/{job_id}")).json()

    assert job["status"] == "failed"
    assert "has no such object" in str(job["error"])


async def test_a_job_of_an_object_elsewhere_is_refused_at_once(house: House) -> None:
    async with house.client() as client:
        response = await client.post("/jobs", json={"url": f"s3://{BUCKET}/jobs/audio-1"})

    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (400, "url", "invalid_value")
    assert "media.readable" in error["message"]


async def test_no_webhook_goes_to_an_object(house: House) -> None:
    async with house.client() as client:
        response = await client.post("/jobs", json={"url": URL, "webhook_url": URL.replace(" ", "")})

    assert (response.status_code, error_of(response)["param"]) == (400, "webhook_url")


def test_a_large_object_is_copied_with_bounded_memory(s3: Any, tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import asyncio, re, sys
        from pathlib import Path
        from serve_app.media.object_fetch import ObjectFetcher
        from serve_app.media.store import DurableDirectoryMediaStore

        def peak_kib():
            return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

        async def main(folder):
            prefix = "s3://audio/incoming/"
            fetcher = ObjectFetcher([prefix], DurableDirectoryMediaStore(Path(folder)), max_bytes=2**32)
            await fetcher.fetch(prefix + "small")  # loads all that is loaded once
            before = peak_kib()
            _, size_bytes = await fetcher.fetch(prefix + "large")
            print(size_bytes, peak_kib() - before)

        asyncio.run(main(*sys.argv[1:]))
    """)
    for key, size_bytes in (("small", 10), ("large", 100 * 2**20)):
        s3.put_object(Bucket=BUCKET, Key=f"incoming/{key}", Body=bytes(size_bytes))
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    copied_bytes, grown_kib = map(int, done.stdout.split())

    assert copied_bytes == 100 * 2**20
    assert grown_kib < 60 * 1024
