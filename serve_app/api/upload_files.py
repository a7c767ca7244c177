"""
The disk under resumable uploads.

An upload is three files: `ID.json` says what it is and how many bytes count, `ID.part` has the bytes, `ID.lock` is locked by
whoever works on it, in whatever process. Bytes beyond what the state counts are no part of the upload, so a crash in the
middle of a write, or a part whose checksum was wrong, needs no repair: the next part is written over them.

The file `folder` holds the mark of the directory, with which the ids of its uploads begin. So a process that sees another
directory under the same path, because it is not shared between nodes, can say so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any

from serve_app.media.disk import sync

UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
FOLDER = "folder"
MARK_CHARACTERS = 8
SUFFIXES = ("json", "draft", "part", "link", "lock")


@dataclass(frozen=True, slots=True)
class Upload:
    upload_id: str
    owner: str
    length: int  # bytes
    offset: int  # bytes that have come and are on disk
    metadata: str  # as the client sent it
    expires_at: datetime
    job_id: str | None = None  # of the job that it became; the bytes are gone from here


class UploadFiles:
    """What uploads are on disk. Every call may raise an OSError."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextlib.contextmanager
    def creating(self) -> Iterator[str]:
        """Nobody else creates an upload meanwhile; gives an id for a new one."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / FOLDER).open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            new = uuid.uuid4().hex
            mark = file.read()
            if not mark:
                mark = new[:MARK_CHARACTERS]
                file.write(mark)
                file.flush()
                os.fsync(file.fileno())
            yield mark + new[len(mark) :]

    def create(self, upload: Upload) -> None:
        self._path(upload.upload_id, "lock").touch()
        self.part(upload.upload_id).touch()
        self.write(upload)

    def load(self, upload_id: str) -> Upload | None:
        """None if there is none, or its state cannot be read."""
        if not UPLOAD_ID.fullmatch(upload_id):
            return None
        try:
            return _from_json(json.loads(self._path(upload_id, "json").read_bytes()))
        except (FileNotFoundError, ValueError, KeyError):
            return None

    def unused(self) -> Iterator[Upload]:
        """Those that have not become jobs."""
        for part in self._directory.glob("*.part"):
            upload = self.load(part.stem)
            if upload and upload.job_id is None:
                yield upload

    def grew_since(self, instant: datetime) -> bool:
        """Whether bytes came for one that has not become a job."""
        with contextlib.suppress(FileNotFoundError):  # one has become a job, or was deleted, in this moment
            return any(part.stat().st_mtime > instant.timestamp() for part in self._directory.glob("*.part"))
        return True

    def is_elsewhere(self, upload_id: str) -> bool:
        """Whether the id is that of an upload in another directory."""
        if not UPLOAD_ID.fullmatch(upload_id):
            return False
        try:
            return not upload_id.startswith((self._directory / FOLDER).read_text())
        except FileNotFoundError:
            return True

    def part(self, upload_id: str) -> Path:
        return self._path(upload_id, "part")

    def open_part(self, upload_id: str, offset: int) -> FileIO:
        """The bytes, to go on at an offset; what is beyond it is cut off."""
        file = FileIO(self.part(upload_id), "r+")
        file.truncate(offset)
        file.seek(offset)
        return file

    def open_lock(self, upload_id: str) -> FileIO | None:
        """What `locked` takes; None if there is none."""
        try:
            return _open_lock(self._path(upload_id, "lock"))
        except FileNotFoundError:
            return None

    def save(self, upload: Upload, file: FileIO) -> None:
        """Have the bytes on disk, and then the state that counts them."""
        os.fsync(file.fileno())
        self.write(upload)

    def write(self, upload: Upload) -> None:
        """Have the state on disk."""
        path = self._path(upload.upload_id, "json")
        draft = path.with_suffix(".draft")
        with draft.open("w") as file:
            json.dump(dataclasses.asdict(upload) | {"expires_at": upload.expires_at.timestamp()}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync(self._directory)  # the name, too

    def second_name(self, upload_id: str) -> Path:
        """Another name for the bytes, or a copy, to be given away."""
        path, link = self.part(upload_id), self._path(upload_id, "link")
        link.unlink(missing_ok=True)
        try:
            os.link(path, link)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, link)
        return link

    def remove(self, upload_id: str) -> None:
        for suffix in SUFFIXES:
            self._path(upload_id, suffix).unlink(missing_ok=True)

    def sweep(self, now: datetime, expires_s: float) -> None:
        """Delete what has expired, and what a crash left without a state."""
        for lock_path in self._directory.glob("*.lock"):
            with contextlib.suppress(FileNotFoundError), _open_lock(lock_path) as lock:
                began_at = datetime.fromtimestamp(os.fstat(lock.fileno()).st_mtime, UTC)
                upload = self.load(lock_path.stem)
                expires_at = upload.expires_at if upload else began_at + timedelta(seconds=expires_s)
                if expires_at <= now and locked(lock):
                    self.remove(lock_path.stem)

    def _path(self, upload_id: str, suffix: str) -> Path:
        return self._directory / f"{upload_id}.{suffix}"


def _open_lock(path: Path) -> FileIO:
    return FileIO(path, "r+")  # for writing, because NFS locks no other


def locked(lock: FileIO) -> bool:
    """Take the lock if it is free; it ends with the file's closing, and with the process."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _from_json(state: dict[str, Any]) -> Upload:
    return Upload(**state | {"expires_at": datetime.fromtimestamp(state["expires_at"], UTC)})
