"""How much one owner may have on the way, and what frees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serve_app.api.resumable import ResumableUploads
from serve_app.api.upload_files import Upload, UploadFiles
from serve_app.api.upload_limits import UploadLimits
from serve_app.errors import AudioTooLarge, RateLimited, UploadNotFound
from serve_app.testing import FakeClock

LIMITS = UploadLimits(max_uploads=2, max_bytes=100)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def uploads(tmp_path: Path, clock: FakeClock) -> ResumableUploads:
    return limited(tmp_path, clock)


def limited(directory: Path, clock: FakeClock, limits: UploadLimits = LIMITS) -> ResumableUploads:
    return ResumableUploads(directory, expires_s=60, now=clock.utc, limits=limits)


async def announce(uploads: ResumableUploads, *lengths: int, owner: str = "ada") -> list[Upload]:
    return [await uploads.create(owner, length, "") for length in lengths]


async def once(block: bytes) -> AsyncIterator[bytes]:
    yield block


async def test_one_upload_too_many_is_told_when_the_first_expires(uploads: ResumableUploads, clock: FakeClock) -> None:
    await announce(uploads, 1)
    clock.advance(20)
    await announce(uploads, 1)

    with pytest.raises(RateLimited, match="2 uploads are no jobs yet, and one API key may have 2") as refused:
        await announce(uploads, 1)
    assert refused.value.retry_after_s == 40


async def test_bytes_are_counted_as_announced(uploads: ResumableUploads) -> None:
    await announce(uploads, 60)

    with pytest.raises(RateLimited, match=r"Uploads of 60 bytes .* may have 100 bytes"):
        await announce(uploads, 41)
    await announce(uploads, 40)


async def test_upload_that_fits_under_no_circumstances_is_too_large(uploads: ResumableUploads) -> None:
    with pytest.raises(AudioTooLarge, match=r"101 bytes, .* may be 100 bytes together") as refused:
        await announce(uploads, 101)
    assert refused.value.param == "Upload-Length"


async def test_other_keys_have_room_of_their_own(uploads: ResumableUploads) -> None:
    await announce(uploads, 50, 50)

    await announce(uploads, 50, 50, owner="bob")


async def test_upload_that_was_ended_frees_its_room(uploads: ResumableUploads) -> None:
    first, _ = await announce(uploads, 50, 50)
    await uploads.delete(first.upload_id, "ada")

    await announce(uploads, 50)


async def test_upload_that_expired_frees_its_room(uploads: ResumableUploads, clock: FakeClock) -> None:
    await announce(uploads, 50, 50)
    clock.advance(60)

    await announce(uploads, 50, 50)


async def test_upload_frees_its_room_when_it_becomes_a_job_and_not_when_it_is_complete(
    uploads: ResumableUploads,
) -> None:
    first, _ = await announce(uploads, 1, 99)
    await uploads.append(first.upload_id, "ada", 0, once(b"a"))
    with pytest.raises(RateLimited):
        await announce(uploads, 1)
    async with uploads.finished(first.upload_id, "ada") as whole:
        await uploads.spend(whole, "job")

    await announce(uploads, 1)


async def test_uploads_announced_at_once_do_not_slip_past_the_limit(tmp_path: Path, clock: FakeClock) -> None:
    gateways = [limited(tmp_path, clock) for _ in range(4)]
    answers = await asyncio.gather(*(announce(gateways[n % 4], 1) for n in range(12)), return_exceptions=True)

    assert [type(answer) for answer in answers].count(RateLimited) == 10


async def test_no_limit_is_none(tmp_path: Path, clock: FakeClock) -> None:
    await announce(limited(tmp_path, clock, UploadLimits()), *[10**15] * 5)


async def test_gateway_with_a_folder_of_its_own_says_that_it_must_be_shared(tmp_path: Path, clock: FakeClock) -> None:
    here, there = limited(tmp_path / "here", clock), limited(tmp_path / "there", clock)
    (upload,) = await announce(here, 1)

    for _ in range(2):  # the other's folder is missing, then it has uploads of its own
        with pytest.raises(UploadNotFound, match="must share `data_dir`"):
            await there.append(upload.upload_id, "ada", 0, once(b"a"))
        await announce(there, 1)


async def test_gateways_that_share_a_folder_say_of_an_upload_that_is_gone_only_that(
    tmp_path: Path, clock: FakeClock
) -> None:
    one, other = limited(tmp_path, clock), limited(tmp_path, clock)
    (upload,) = await announce(one, 1)
    await one.delete(upload.upload_id, "ada")

    with pytest.raises(UploadNotFound, match="perhaps it has expired"):
        await other.append(upload.upload_id, "ada", 0, once(b"a"))


async def test_lock_is_open_for_writing_because_nfs_refuses_others(uploads: ResumableUploads, tmp_path: Path) -> None:
    (upload,) = await announce(uploads, 1)
    lock = UploadFiles(tmp_path).open_lock(upload.upload_id)

    assert lock
    with lock:
        assert lock.writable()
