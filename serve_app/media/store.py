"""Audio as files in a directory: of requests, and of jobs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import time
import uuid
from collections.abc import AsyncIterable, Sequence
from io import FileIO
from pathlib import Path
from typing import Protocol

from serve_app.errors import ConfigError
from serve_app.media.disk import blocks_of, gone, on_disk, sync, unavailable, write
from serve_app.settings import Settings
from serve_app.transcript.protocols import MediaStore, StoredMedia

PARTIAL = ".part"
OWN = re.compile(r"audio-[0-9a-f]{32}(\.part)?")  # and nothing else, because other files may lie in the same directory


class DurableMediaStore(MediaStore, Protocol):
    """Where audio of jobs lies. What was saved is still there after a power cut."""

    async def adopt(self, path: Path) -> StoredMedia:
        """
        Take over a file that lies elsewhere; it is no longer there afterwards.

        Raises:
            InvalidAudio: There is no such file.
        """
        ...


def open_media_store(settings: Settings) -> DurableMediaStore:
    """
    Where the settings say that audio of jobs lies.

    Raises:
        ConfigError: It cannot be made, is of an unknown kind, or needs a library that is not installed.
    """
    location = settings.media.store
    if location.startswith("s3://"):
        return _open_object_store(location)
    if "://" in location:
        raise ConfigError("media.store is a directory or s3://bucket/prefix; there are no others")
    return DurableDirectoryMediaStore(Path(location) if location else Path(settings.data_dir) / "media")


def open_request_store(settings: Settings) -> MediaStore:
    """
    Where audio of requests lies while they last, if it is too large for a call.

    A Pipeline may be on another node than its Gateway: what `media.store` names is there for both. It is a place of its own, so
    that what a dead Gateway left there is known by its age.

    Raises:
        ConfigError: As `open_media_store`, which has looked at the kind before.
    """
    location = settings.media.store
    if location.startswith("s3://"):
        return _open_object_store(f"{location.rstrip('/')}/requests")
    return DirectoryMediaStore(Path(location) / "requests" if location else Path(settings.data_dir) / "uploads")


def _open_object_store(location: str) -> DurableMediaStore:
    try:
        from serve_app.media.objects import ObjectMediaStore
    except ModuleNotFoundError as error:
        raise ConfigError(f"media.store is {location}, which needs: pip install 'rayscribe[s3]'") from error
    return ObjectMediaStore(location)


class DirectoryMediaStore(MediaStore):
    """
    A file for each upload; what is not yet complete has another name.

    Names begin with the process that wrote them, because an upload lives no longer than its request: what a dead process
    of this machine left is garbage, and is removed at start.

    Raises:
        ConfigError: The directory cannot be made.
        MediaUnavailable: By every verb: the disk is full, read-only or away.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        try:
            self._prepare()
        except OSError as error:
            raise ConfigError(f"{self._directory}, for audio, cannot be used: {error.strerror}") from error

    async def save(self, blocks: AsyncIterable[bytes]) -> StoredMedia:
        """Keep the bytes; when `blocks` raises or the call is cancelled, nothing stays behind."""
        path = self._new_path()
        partial = path.with_name(path.name + PARTIAL)
        try:
            # Unbuffered, because a buffer would be written by `close`, whose errors come too late.
            with await on_disk(FileIO, partial, "xb") as file:
                async for block in blocks:
                    await on_disk(write, file, block)
                await on_disk(self._complete, file, path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
                path.unlink(missing_ok=True)
            raise
        return StoredMedia(str(path))

    async def delete(self, media: StoredMedia) -> None:
        """Forget the bytes; to delete twice is no error."""
        await on_disk(Path(media.path).unlink, missing_ok=True)

    async def older_than(self, age_s: float) -> Sequence[StoredMedia]:
        """What has lain there for so long, complete or not; whoever knows which of it is still needed deletes the rest."""
        return await on_disk(self._older_than, time.time() - age_s)

    def _prepare(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        for path in self._directory.iterdir():
            if _is_orphan(path.name):
                path.unlink(missing_ok=True)

    def _new_path(self) -> Path:
        return self._directory / f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex}"

    def _complete(self, file: FileIO, path: Path) -> None:
        os.rename(os.fsdecode(file.name), path)

    def _owns(self, name: str) -> bool:
        return True

    def _older_than(self, instant_s: float) -> list[StoredMedia]:
        with os.scandir(self._directory) as entries:
            ours = [entry for entry in entries if self._owns(entry.name)]
        return [StoredMedia(entry.path) for entry in ours if _modified_s(entry) < instant_s]


class DurableDirectoryMediaStore(DirectoryMediaStore):
    """
    Audio of jobs: a file, and its name in the directory, are on disk before `save` returns.

    Files belong to no process, and several nodes may share the directory, so nothing is removed at start: what was left
    half-written is found by its age. Only names of our own making are ever listed, because the directory may hold files that
    are none of our business.
    """

    async def adopt(self, path: Path) -> StoredMedia:
        """Take over a file by renaming it, or by a copy where it lies on another disk."""
        target = self._new_path()
        try:
            await asyncio.to_thread(self._rename, path, target)
        except FileNotFoundError as error:
            raise gone() from error
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise unavailable(error) from error
            media = await self.save(blocks_of(path))
            await on_disk(path.unlink, missing_ok=True)
            return media
        return StoredMedia(str(target))

    def _prepare(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        sync(self._directory.parent)

    def _new_path(self) -> Path:
        return self._directory / f"audio-{uuid.uuid4().hex}"

    def _complete(self, file: FileIO, path: Path) -> None:
        os.fsync(file.fileno())
        super()._complete(file, path)
        sync(self._directory)

    def _owns(self, name: str) -> bool:
        return OWN.fullmatch(name) is not None

    def _rename(self, path: Path, target: Path) -> None:
        sync(path)
        os.utime(path)  # its age counts from now: an upload may have taken days
        os.rename(path, target)
        sync(self._directory)


def _modified_s(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:  # deleted since it was listed
        return float("inf")


def _is_orphan(name: str) -> bool:
    machine, _, rest = name.rpartition("-")[0].rpartition("-")
    return machine == os.uname().nodename and rest.isdigit() and not Path(f"/proc/{rest}").exists()
