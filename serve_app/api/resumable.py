"""Uploads that arrive in parts and can go on after a cut."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterable, AsyncIterator, Callable
from datetime import datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar, runtime_checkable

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from serve_app.api.checksums import Checksum
from serve_app.api.upload_files import Upload, UploadFiles, locked
from serve_app.api.upload_limits import UploadLimits
from serve_app.errors import AudioTooLarge, InvalidRequest, UploadNotFound
from serve_app.jobs.job import Owner
from serve_app.jobs.protocols import Clock, Sleep
from serve_app.media.disk import blocks_of, on_disk, write
from serve_app.transcript.protocols import MediaStore, StoredMedia

LOCK_POLL_S = 0.1
LOCK_POLLS = 50  # the part before is written in less, unless its client is slow
SWEEP_S = 600.0
IN_PROGRESS_S = 60.0  # between two parts of an upload, or its last one and its job, less time passes
NO_LIMITS = UploadLimits()

P = ParamSpec("P")
T = TypeVar("T")


@runtime_checkable
class AdoptsFiles(Protocol):
    """A media store that may take a file over without copying it."""

    async def adopt(self, path: Path) -> StoredMedia:
        """The file is no longer there afterwards."""
        ...


class ResumableUploads:
    """
    The uploads of this service. Several processes may work on the same directory.

    Args:
        expires_s: How long an upload may take, from its creation.
    """

    def __init__(
        self,
        directory: Path,
        *,
        expires_s: float,
        now: Clock,
        sleep: Sleep = asyncio.sleep,
        limits: UploadLimits = NO_LIMITS,
    ) -> None:
        self._files = UploadFiles(directory)
        self._limits = limits
        self._expires_s = expires_s
        self._now = now
        self._sleep = sleep
        self._swept_at: datetime | None = None

    async def create(self, owner: str, length: int, metadata: str) -> Upload:
        """
        Raises:
            AudioTooLarge, RateLimited: As `UploadLimits.check`.
            MediaUnavailable: The disk is full or read-only.
        """
        await self._sweep_now_and_then()
        return await on_disk(self._create, owner, length, metadata)

    async def get(self, upload_id: str, owner: Owner) -> Upload:
        """
        Raises:
            UploadNotFound: There is none, or it has expired, or it is not the owner's; None owns all.
        """
        return await on_disk(self._read, upload_id, owner)

    async def append(
        self, upload_id: str, owner: Owner, offset: int, blocks: AsyncIterable[bytes], checksum: Checksum | None = None
    ) -> Upload:
        """
        Write a part; when this returns, it is on disk.

        Of a part that is cut off, what came counts, unless there is a checksum that it can't have.

        Raises:
            UploadNotFound: As `get`.
            AudioTooLarge: The upload would become longer than was said; nothing of the part counts.
            HTTPException: 409: it does not go on at `offset`. 423: somebody else writes. 460: the checksum is another one.
            MediaUnavailable: The disk is full or read-only.
        """
        async with self._held(upload_id, owner) as upload:
            if offset != upload.offset:
                raise HTTPException(409, f"The upload goes on at byte {upload.offset}, not {offset}.")
            if upload.job_id:
                raise HTTPException(409, f"The upload is finished, and became the job {upload.job_id}.")
            with await _to_its_end(self._files.open_part, upload_id, offset) as file:
                return await self._append(upload, file, blocks, checksum)

    async def delete(self, upload_id: str, owner: Owner) -> None:
        """
        Raises:
            UploadNotFound: As `get`.
        """
        async with self._held(upload_id, owner):
            await _to_its_end(self._files.remove, upload_id)

    async def in_progress(self) -> bool:
        """Whether some of an upload came a moment ago, and it is no job yet: a client is at work on it."""
        return await on_disk(self._files.grew_since, self._now() - timedelta(seconds=IN_PROGRESS_S))

    @contextlib.asynccontextmanager
    async def finished(self, upload_id: str, owner: str) -> AsyncIterator[Upload]:
        """
        A finished upload, with nobody else at work on it, so that it can become a job.

        Raises:
            InvalidRequest: It is not finished.
            UploadNotFound: As `get`.
        """
        async with self._held(upload_id, owner) as upload:
            yield _finished(upload)

    async def hand_over(self, upload: Upload, store: MediaStore) -> StoredMedia:
        """The bytes are the store's; they stay here too, until a job has them for sure."""
        if not isinstance(store, AdoptsFiles):
            return await store.save(blocks_of(self._files.part(upload.upload_id)))
        return await store.adopt(await on_disk(self._files.second_name, upload.upload_id))

    async def spend(self, upload: Upload, job_id: str) -> None:
        """The upload has become this job, and needs its bytes no more."""
        await _to_its_end(self._files.write, dataclasses.replace(upload, job_id=job_id))
        await on_disk(self._files.part(upload.upload_id).unlink, missing_ok=True)

    async def _append(
        self, upload: Upload, file: FileIO, blocks: AsyncIterable[bytes], checksum: Checksum | None
    ) -> Upload:
        end = upload.offset
        try:
            async for block in blocks:
                end += len(block)
                if end > upload.length:
                    raise AudioTooLarge(
                        f"The upload was announced as {upload.length} bytes, and this part goes beyond."
                    )
                if checksum:
                    checksum.update(block)
                await _to_its_end(write, file, block)
        except ClientDisconnect:
            if checksum is None:
                await _to_its_end(self._files.save, dataclasses.replace(upload, offset=end), file)
            raise
        if checksum and not checksum.matches():
            raise HTTPException(460, "The checksum is not that of the bytes that came. Send the part again.")
        grown = dataclasses.replace(upload, offset=end)
        await _to_its_end(self._files.save, grown, file)
        return grown

    @contextlib.asynccontextmanager
    async def _held(self, upload_id: str, owner: Owner) -> AsyncIterator[Upload]:
        """The upload, with nobody else at work on it."""
        await self.get(upload_id, owner)
        lock = await _to_its_end(self._files.open_lock, upload_id)
        if lock is None:
            raise _not_found()
        with lock:
            for _ in range(LOCK_POLLS):
                if locked(lock):
                    break
                await self._sleep(LOCK_POLL_S)
            else:
                raise HTTPException(423, "Another request writes to this upload. Try again in a moment.")
            yield await self.get(upload_id, owner)  # again: it may have changed, or be gone

    def _create(self, owner: str, length: int, metadata: str) -> Upload:
        now = self._now()
        with self._files.creating() as upload_id:
            others = [other for other in self._files.unused() if other.owner == owner and other.expires_at > now]
            self._limits.check(length, others, now)
            upload = Upload(upload_id, owner, length, 0, metadata, now + timedelta(seconds=self._expires_s))
            self._files.create(upload)
        return upload

    def _read(self, upload_id: str, owner: Owner) -> Upload:
        upload = self._files.load(upload_id)
        if upload is None and self._files.is_elsewhere(upload_id):
            raise _elsewhere()
        if upload is None or owner not in (None, upload.owner) or upload.expires_at <= self._now():
            raise _not_found()
        return upload

    async def _sweep_now_and_then(self) -> None:
        now = self._now()
        if self._swept_at is None or now >= self._swept_at + timedelta(seconds=SWEEP_S):
            self._swept_at = now
            await on_disk(self._files.sweep, now, self._expires_s)


async def _to_its_end(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    A thread goes on when its caller is cancelled. Whoever holds the lock waits for it, so that no two write; what it opened
    is closed.
    """
    work = asyncio.ensure_future(on_disk(call, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if work.exception() is None and isinstance(opened := work.result(), FileIO):
            opened.close()
        raise


def _finished(upload: Upload) -> Upload:
    if upload.offset < upload.length:
        raise InvalidRequest(
            f"The upload is not finished: {upload.offset} of {upload.length} bytes have come.", param="upload_id"
        )
    return upload


def _not_found() -> UploadNotFound:
    return UploadNotFound("There is no such upload: perhaps it has expired.", param="upload_id")


def _elsewhere() -> UploadNotFound:
    return UploadNotFound(
        "There is no such upload in the folder that this process sees. Where Gateways run on several nodes, these must share"
        " `data_dir`.",
        param="upload_id",
    )
