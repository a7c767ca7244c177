"""
Weights that were pulled or imported, each in a directory of its own with its manifest.

    DATA_DIR/models/Systran%2Ffaster-whisper-small/      published: whole and verified
    DATA_DIR/models/.work/Systran%2Ffaster-whisper-small/<commit>/   half of it, to be gone on with
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO
from urllib.parse import quote

from pydantic import ValidationError

from serve_app.models.manifest import MANIFEST, Manifest, check_name

_WAIT_S = 0.2
_ABANDONED_NS = 86_400 * 10**9  # a folder so old belongs to a process that was killed
_RACY_NS = 2_000_000_000  # a directory that changed so recently may change again without a new mtime

Nothing = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model in the store."""

    manifest: Manifest
    directory: Path


class WeightStore:
    """
    Any number of processes may read and write it at the same time.

    Args:
        root: `DATA_DIR/models`; need not exist yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._work = root / ".work"
        self._seen: tuple[int, int] = (-1, -1)  # mtime, and when it was looked at, in ns
        self._all: Mapping[str, Pulled] = MappingProxyType({})

    def find(self, model_id: str, revision: str | None = None) -> Pulled | None:
        """
        Args:
            revision: What was asked for when it was pulled; None: nothing in particular.
        """
        return self.all().get(_name(model_id, revision))

    def all(self) -> Mapping[str, Pulled]:
        """By directory name. Costs one `stat` as long as nothing changes."""
        seen_mtime_ns, looked_ns = self._seen
        now = (_mtime_ns(self.root), time.time_ns())
        if now[0] != seen_mtime_ns or looked_ns - seen_mtime_ns < _RACY_NS:
            self._all = MappingProxyType(dict(_published(self.root)))
            self._seen = now
        return self._all

    def half_done(self, model_id: str, revision: str | None, commit: str) -> Path:
        """Where a pull collects its files; may not be there."""
        return self._work / _name(model_id, revision) / commit

    def begin(self, model_id: str, revision: str | None, commit: str) -> Path:
        """That folder, with what an earlier pull of the same commit left in it; what one of another left is deleted."""
        folder = self.half_done(model_id, revision, commit)
        folder.mkdir(parents=True, exist_ok=True)
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other)
        return folder

    def has_half_done(self, model_id: str, revision: str | None = None) -> bool:
        return (self._work / _name(model_id, revision)).is_dir()

    def forget_half_done(self, model_id: str, revision: str | None = None) -> None:
        """Delete what an interrupted pull left."""
        shutil.rmtree(self._work / _name(model_id, revision), ignore_errors=True)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder on the same disk, deleted at the end with what is still in it."""
        self._work.mkdir(parents=True, exist_ok=True)
        for other in self._work.glob("scratch.*"):
            if time.time_ns() - _mtime_ns(other) > _ABANDONED_NS:
                shutil.rmtree(other, ignore_errors=True)
        folder = self._work / f"scratch.{uuid.uuid4().hex}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path, manifest: Manifest) -> Pulled:
        """Make the verified files of a folder a model of the store, in place of one that was there; the folder is gone then."""
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
        for path in folder.iterdir():
            _sync(path)  # else a power cut leaves an empty file under a name that says it is whole
        place = self.root / _name(manifest.id, manifest.pinned)
        with self.scratch() as trash:
            if place.exists():
                place.rename(trash / "old")
            folder.rename(place)
        _sync(self.root)
        return Pulled(manifest, place)

    def remove(self, model_id: str, revision: str | None = None) -> None:
        """Delete a model; it is gone at once and whole, even if the deletion is cut short."""
        with self.scratch() as trash:
            (self.root / _name(model_id, revision)).rename(trash / "old")

    @contextlib.contextmanager
    def locked(self, model_id: str, revision: str | None = None, *, waiting: Nothing | None = None) -> Iterator[None]:
        """
        Be the only one, of all processes, that changes this model.

        Args:
            waiting: Called again and again while another one does; what it raises ends the wait. None: don't wait.

        Raises:
            BlockingIOError: Another one does, and `waiting` is None.
        """
        self._work.mkdir(parents=True, exist_ok=True)
        with (self._work / f"{_name(model_id, revision)}.lock").open("a") as file:
            while not _lock(file):
                if waiting is None:
                    raise BlockingIOError
                waiting()
                time.sleep(_WAIT_S)
            yield


def size_on_disk(folder: Path) -> int:
    """What lies in a folder, in bytes."""
    with contextlib.suppress(FileNotFoundError):
        return sum(path.stat().st_size for path in folder.iterdir())
    return 0


def _name(model_id: str, revision: str | None) -> str:
    check_name(model_id)
    if revision is not None:
        check_name(revision, "revision")
    return quote(model_id, safe="") + ("" if revision is None else f"@{quote(revision, safe='')}")


def _published(root: Path) -> Iterator[tuple[str, Pulled]]:
    for manifest_path in root.glob(f"*/{MANIFEST}"):
        with contextlib.suppress(OSError, ValidationError):  # removed meanwhile, or not ours
            manifest = Manifest.model_validate_json(manifest_path.read_text(encoding="utf-8"))
            if _is_whole(manifest_path.parent, manifest):
                yield manifest_path.parent.name, Pulled(manifest, manifest_path.parent)


def _is_whole(directory: Path, manifest: Manifest) -> bool:
    return all((directory / file.name).stat().st_size == file.size_bytes for file in manifest.files)


def _mtime_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
