"""
Uploads that arrive in parts and can go on after a cut, as files in a directory.

An upload is three files: `ID.json` says what it is and how many bytes count, `ID.part` has the bytes, `ID.lock` is locked by
whoever works on it, in whatever process. Bytes beyond what the state counts are no part of the upload, so a crash in the
middle of a write, or a part whose checksum was wrong, needs no repair: the next part is written over them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import json
import os
import re
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from serve_app.api.checksums import Checksum
from serve_app.errors import AudioTooLarge, InvalidRequest, UploadNotFound
from serve_app.jobs.protocols import Clock, Sleep
from serve_app.media.disk import blocks_of, on_disk, sync, write
from serve_app.transcript.protocols import MediaStore, StoredMedia

UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
LOCK_POLL_S = 0.1
LOCK_POLLS = 50  # the part before is written in less, unless its client is slow
SWEEP_S = 600.0


@runtime_checkable
class AdoptsFiles(Protocol):
    """A media store that may take a file over without copying it."""

    async def adopt(self, path: Path) -> StoredMedia:
        """The file is no longer there afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class Use:
    """The job that an upload became."""

    job_id: str
    fingerprint: str  # of the request that made it
    media: StoredMedia
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Upload:
    upload_id: str
    owner: str
    length: int  # bytes
    offset: int  # bytes that have come and are on disk
    metadata: str  # as the client sent it
    expires_at: datetime
    use: Use | None = None


class ResumableUploads:
    """
    The uploads of this service. Several processes may work on the same directory.

    Args:
        expires_s: How long an upload may take, from its creation.
    """

    def __init__(self, directory: Path, *, expires_s: float, now: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self._directory = directory
        self._expires_s = expires_s
        self._now = now
        self._sleep = sleep
        self._swept_at: datetime | None = None

    async def create(self, owner: str, length: int, metadata: str) -> Upload:
        """
        Raises:
            MediaUnavailable: The disk is full or read-only.
        """
        await self._sweep_now_and_then()
        expires_at = self._now() + timedelta(seconds=self._expires_s)
        upload = Upload(uuid.uuid4().hex, owner, length, 0, metadata, expires_at)
        await on_disk(self._create, upload)
        return upload

    async def get(self, upload_id: str, owner: str) -> Upload:
        """
        Raises:
            UploadNotFound: There is none, or it has expired, or it is somebody else's.
        """
        return await on_disk(self._read, upload_id, owner)

    async def append(
        self, upload_id: str, owner: str, offset: int, blocks: AsyncIterable[bytes], checksum: Checksum | None = None
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
            with await on_disk(_opened_at, self._part(upload_id), offset) as file:
                return await self._append(upload, file, blocks, checksum)

    async def delete(self, upload_id: str, owner: str) -> None:
        """
        Raises:
            UploadNotFound: As `get`.
        """
        async with self._held(upload_id, owner):
            await on_disk(self._remove, upload_id)

    async def use(self, upload_id: str, owner: str, store: MediaStore, *, job_id: str, fingerprint: str) -> Use:
        """
        Make a finished upload the audio of a job, once: the same request gets the same job however often it comes.

        Args:
            job_id: The new job's, if this is the first use.
            fingerprint: Of the request.

        Raises:
            InvalidRequest: It is not finished, or became another job.
            UploadNotFound: As `get`.
        """
        with _about_upload():
            async with self._held(upload_id, owner) as upload:
                if upload.use is None:
                    return await self._use(_finished(upload), store, job_id, fingerprint)
                if upload.use.fingerprint != fingerprint:
                    raise InvalidRequest(f"The upload became the job {upload.use.job_id}. Upload the file again.")
                return upload.use

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
                await on_disk(write, file, block)
        except ClientDisconnect:
            if checksum is None:
                await on_disk(self._save, dataclasses.replace(upload, offset=end), file)
            raise
        if checksum and not checksum.matches():
            raise HTTPException(460, "The checksum is not that of the bytes that came. Send the part again.")
        grown = dataclasses.replace(upload, offset=end)
        await on_disk(self._save, grown, file)
        return grown

    async def _use(self, upload: Upload, store: MediaStore, job_id: str, fingerprint: str) -> Use:
        path = self._part(upload.upload_id)
        media = await _handed_over(path, store)
        use = Use(job_id, fingerprint, media, upload.length)
        await on_disk(self._write, dataclasses.replace(upload, use=use))
        await on_disk(path.unlink, missing_ok=True)
        return use

    @contextlib.asynccontextmanager
    async def _held(self, upload_id: str, owner: str) -> AsyncIterator[Upload]:
        """The upload, with nobody else at work on it."""
        await self.get(upload_id, owner)
        with await on_disk(self._open_lock, upload_id) as lock:
            for _ in range(LOCK_POLLS):
                if _locked(lock):
                    break
                await self._sleep(LOCK_POLL_S)
            else:
                raise HTTPException(423, "Another request writes to this upload. Try again in a moment.")
            yield await self.get(upload_id, owner)  # again: it may have changed, or be gone

    def _open_lock(self, upload_id: str) -> FileIO:
        try:
            return FileIO(self._path(upload_id, "lock"))
        except FileNotFoundError as error:
            raise _not_found() from error

    def _create(self, upload: Upload) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._path(upload.upload_id, "lock").touch()
        self._part(upload.upload_id).touch()
        self._write(upload)

    def _read(self, upload_id: str, owner: str) -> Upload:
        upload = self._load(upload_id) if UPLOAD_ID.fullmatch(upload_id) else None
        if upload is None or upload.owner != owner or upload.expires_at <= self._now():
            raise _not_found()
        return upload

    def _load(self, upload_id: str) -> Upload | None:
        try:
            return _from_json(json.loads(self._path(upload_id, "json").read_bytes()))
        except (FileNotFoundError, ValueError, KeyError):
            return None

    def _save(self, upload: Upload, file: FileIO) -> None:
        os.fsync(file.fileno())
        self._write(upload)

    def _write(self, upload: Upload) -> None:
        path = self._path(upload.upload_id, "json")
        draft = path.with_suffix(".draft")
        with draft.open("w") as file:
            json.dump(dataclasses.asdict(upload) | {"expires_at": upload.expires_at.timestamp()}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync(self._directory)  # the name, too

    def _remove(self, upload_id: str) -> None:
        for suffix in ("json", "draft", "part", "link", "lock"):
            self._path(upload_id, suffix).unlink(missing_ok=True)

    async def _sweep_now_and_then(self) -> None:
        now = self._now()
        if self._swept_at is None or now >= self._swept_at + timedelta(seconds=SWEEP_S):
            self._swept_at = now
            await on_disk(self._sweep)

    def _sweep(self) -> None:
        """Delete what has expired, and what a crash left without a state."""
        for lock_path in self._directory.glob("*.lock"):
            with contextlib.suppress(FileNotFoundError), FileIO(lock_path) as lock:
                began_at = datetime.fromtimestamp(os.fstat(lock.fileno()).st_mtime, UTC)
                upload = self._load(lock_path.stem)
                expires_at = upload.expires_at if upload else began_at + timedelta(seconds=self._expires_s)
                if expires_at <= self._now() and _locked(lock):
                    self._remove(lock_path.stem)

    def _part(self, upload_id: str) -> Path:
        return self._path(upload_id, "part")

    def _path(self, upload_id: str, suffix: str) -> Path:
        return self._directory / f"{upload_id}.{suffix}"


def _opened_at(path: Path, offset: int) -> FileIO:
    file = FileIO(path, "r+")
    file.truncate(offset)
    file.seek(offset)
    return file


def _locked(lock: FileIO) -> bool:
    """Take the lock if it is free; it ends with the file's closing, and with the process."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _handed_over(path: Path, store: MediaStore) -> StoredMedia:
    """The bytes are the store's; they stay here too, until the state says so, because a crash may come in between."""
    if not isinstance(store, AdoptsFiles):
        return await store.save(blocks_of(path))
    return await store.adopt(await on_disk(_second_name, path))


def _second_name(path: Path) -> Path:
    link = path.with_suffix(".link")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links: a crash just now costs the upload
        return path
    return link


def _finished(upload: Upload) -> Upload:
    if upload.offset < upload.length:
        raise InvalidRequest(f"The upload is not finished: {upload.offset} of {upload.length} bytes have come.")
    return upload


def _from_json(state: dict[str, Any]) -> Upload:
    use = state.pop("use")
    return Upload(
        **state | {"expires_at": datetime.fromtimestamp(state["expires_at"], UTC)},
        use=Use(**use | {"media": StoredMedia(**use["media"])}) if use else None,
    )


def _not_found() -> UploadNotFound:
    return UploadNotFound("There is no such upload: perhaps it has expired.")


@contextlib.contextmanager
def _about_upload() -> Iterator[None]:
    """The errors within are about the field `upload_id`."""
    try:
        yield
    except (InvalidRequest, UploadNotFound) as error:
        error.param = "upload_id"
        raise
