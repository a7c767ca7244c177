"""The media store in a bucket, against an S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from serve_app.errors import AudioTooLarge, ConfigError, InvalidAudio, MediaUnavailable
from serve_app.media.objects import ObjectMediaStore
from serve_app.media.source import open_media
from serve_app.media.store import open_media_store, open_request_store
from serve_app.settings import MediaSettings, Settings
from serve_app.transcript.protocols import StoredMedia
from tests.s3 import BUCKET

pytestmark = pytest.mark.server

PART = bytes(6 * 1024 * 1024)


async def blocks(*parts: bytes, error: BaseException | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if error is not None:
        raise error


async def read(media: StoredMedia) -> bytes:
    with os.fdopen(await open_media(media), "rb") as file:
        return file.read()


def keys(s3: Any) -> list[str]:
    return [listed["Key"] for listed in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ())]


def unfinished(s3: Any) -> list[str]:
    return [upload["Key"] for upload in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())]


@pytest.fixture
def store(s3: Any) -> ObjectMediaStore:
    return ObjectMediaStore(f"s3://{BUCKET}/jobs/")


@pytest.mark.parametrize("parts", [(), (b"one", b"two"), (PART, PART, PART, b"end")])
async def test_audio_can_be_read_back_and_deleted(store: ObjectMediaStore, s3: Any, parts: tuple[bytes, ...]) -> None:
    media = await store.save(blocks(*parts))
    assert media.path.startswith(f"s3://{BUCKET}/jobs/audio-")
    assert await read(media) == b"".join(parts)

    await store.delete(media)
    await store.delete(media)

    assert keys(s3) == []
    with pytest.raises(InvalidAudio, match="no longer stored"):
        await open_media(media)


@pytest.mark.parametrize("error", [AudioTooLarge("Too large."), ConnectionError("reset"), ValueError("odd")])
async def test_an_upload_that_breaks_off_leaves_nothing(store: ObjectMediaStore, s3: Any, error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        await store.save(blocks(PART, PART, PART, error=error))

    assert (keys(s3), unfinished(s3)) == ([], [])


async def test_an_upload_that_is_cancelled_leaves_nothing(store: ObjectMediaStore, s3: Any) -> None:
    stalled = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield PART
        stalled.set()
        await asyncio.Event().wait()

    saving = asyncio.create_task(store.save(stalling()))
    await stalled.wait()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving

    assert (keys(s3), unfinished(s3)) == ([], [])


async def test_a_finished_upload_is_adopted(store: ObjectMediaStore, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(b"sound")

    media = await store.adopt(upload)

    assert await read(media) == b"sound"
    assert not upload.exists()
    with pytest.raises(InvalidAudio, match="no longer stored"):
        await store.adopt(upload)


@pytest.mark.parametrize("location", [f"s3://{BUCKET}", f"s3://{BUCKET}/jobs"])
async def test_only_audio_of_our_own_is_ever_listed(s3: Any, location: str) -> None:
    store = ObjectMediaStore(location)
    media = await store.save(blocks(b"sound"))
    for key in ("holiday.mp3", "jobs/holiday.mp3", "other/audio-1"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"")

    assert await store.older_than(-60) == [media]
    assert await store.older_than(3600) == []


async def test_a_missing_bucket_is_said_in_one_line(s3: Any) -> None:
    with pytest.raises(MediaUnavailable) as away:
        await ObjectMediaStore("s3://missing").save(blocks(b"sound"))

    assert away.value.message == "The media store s3://missing is missing or away, or refuses (FileNotFoundError)."


def test_an_environment_that_makes_no_sense_is_a_mistake_of_the_settings(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not a url")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "maybe")

    with pytest.raises(ConfigError, match=r"media\.store s3://audio cannot be used"):
        open_media_store(Settings(media=MediaSettings(store="s3://audio")))


async def test_audio_of_requests_goes_to_the_bucket_because_a_pipeline_may_be_on_another_node(s3: Any) -> None:
    settings = Settings(media=MediaSettings(store=f"s3://{BUCKET}/jobs"))
    store = open_request_store(settings)

    saved = await store.save(blocks(b"sound"))

    assert saved.path.startswith(f"s3://{BUCKET}/jobs/requests/audio-")
    assert await open_media_store(settings).older_than(-60) == []
    assert await store.older_than(-60) == [saved]
    assert keys(s3) == [saved.path.removeprefix(f"s3://{BUCKET}/")]


@pytest.mark.usefixtures("s3")
def test_a_large_file_goes_through_with_bounded_memory() -> None:
    program = textwrap.dedent("""
        import asyncio, hashlib, os, re
        from pathlib import Path
        from serve_app.media.objects import ObjectMediaStore
        from serve_app.media.source import open_media

        async def blocks(count):
            for n in range(count):
                yield bytes([n % 256]) * 65536

        async def send(store, count):
            media = await store.save(blocks(count))
            with os.fdopen(await open_media(media), "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

        def peak_kib():  # not ru_maxrss, which begins with the parent's
            return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

        async def main():
            store = ObjectMediaStore("s3://audio/large")
            await send(store, 16)  # loads all that is loaded once
            before = peak_kib()
            print(await send(store, 1600))
            print(peak_kib() - before)

        asyncio.run(main())
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    digest, grown_kib = done.stdout.split()

    assert digest == hashlib.sha256(b"".join(bytes([n % 256]) * 65536 for n in range(1600))).hexdigest()
    assert int(grown_kib) < 60 * 1024, "of 100 MiB"
