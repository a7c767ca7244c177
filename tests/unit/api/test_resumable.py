"""What counts of an upload whose connection, or whose process, dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.requests import ClientDisconnect

from serve_app.api.checksums import Checksum
from serve_app.api.resumable import ResumableUploads
from serve_app.errors import UploadNotFound
from serve_app.testing import FakeClock, InMemoryMediaStore

SHA1_OF_AB = "sha1 2iNhTgJGmg18e9G9q1ycR0sZBNw="


async def blocks(*given: bytes, cut: bool = False) -> AsyncIterator[bytes]:
    for block in given:
        yield block
    if cut:
        raise ClientDisconnect


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def uploads(tmp_path: Path, clock: FakeClock) -> ResumableUploads:
    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    return ResumableUploads(tmp_path / "uploads", expires_s=60, now=clock.utc, sleep=at_once)


async def test_what_came_before_a_cut_counts(uploads: ResumableUploads) -> None:
    upload = await uploads.create("ada", 4, "")
    with pytest.raises(ClientDisconnect):
        await uploads.append(upload.upload_id, "ada", 0, blocks(b"a", b"b", cut=True))
    await uploads.append(upload.upload_id, "ada", 2, blocks(b"cd"))

    store = InMemoryMediaStore()
    async with uploads.finished(upload.upload_id, "ada") as whole:
        assert store.read(await uploads.hand_over(whole, store)) == b"abcd"


async def test_nothing_counts_of_a_cut_part_whose_checksum_is_of_the_whole(uploads: ResumableUploads) -> None:
    upload = await uploads.create("ada", 4, "")
    with pytest.raises(ClientDisconnect):
        await uploads.append(upload.upload_id, "ada", 0, blocks(b"a", cut=True), Checksum(SHA1_OF_AB))

    assert (await uploads.get(upload.upload_id, "ada")).offset == 0
    assert (await uploads.append(upload.upload_id, "ada", 0, blocks(b"ab"), Checksum(SHA1_OF_AB))).offset == 2


async def test_damaged_state_is_no_upload(uploads: ResumableUploads, tmp_path: Path) -> None:
    upload = await uploads.create("ada", 4, "")
    (tmp_path / "uploads" / f"{upload.upload_id}.json").write_text("{")

    with pytest.raises(UploadNotFound):
        await uploads.get(upload.upload_id, "ada")


async def test_upload_that_is_written_to_is_not_swept(
    uploads: ResumableUploads, clock: FakeClock, tmp_path: Path
) -> None:
    upload = await uploads.create("ada", 4, "")

    async def for_ever() -> AsyncIterator[bytes]:
        yield b"a"
        clock.advance(3600)
        await uploads.create("bob", 1, "")
        yield b"b"

    await uploads.append(upload.upload_id, "ada", 0, for_ever())

    assert (tmp_path / "uploads" / f"{upload.upload_id}.part").read_bytes() == b"ab"


async def test_writer_that_dies_gives_its_lock_back(uploads: ResumableUploads) -> None:
    upload = await uploads.create("ada", 4, "")

    async def hanging() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    writing = asyncio.create_task(uploads.append(upload.upload_id, "ada", 0, hanging()))
    while not writing.done() and not await _is_locked(uploads, upload.upload_id):
        pass
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)

    assert (await uploads.append(upload.upload_id, "ada", 0, blocks(b"ab"))).offset == 2


async def _is_locked(uploads: ResumableUploads, upload_id: str) -> bool:
    try:
        await uploads.append(upload_id, "ada", 99, blocks())
    except Exception as error:
        return getattr(error, "status_code", 0) == 423
    return False
