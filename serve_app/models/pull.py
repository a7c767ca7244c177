"""
Download a model from the hub: verified, resumed where it was cut, and seen by others only when it is whole.

The hub's library says what there is and sends it; what it keeps of a file that was cut, it keeps only until it gives up, so
the files are put together here.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import huggingface_hub
from huggingface_hub import errors
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers, disable_progress_bars  # type: ignore[attr-defined]

from serve_app.errors import PullFailed, RayscribeError
from serve_app.models.manifest import FILES, NEEDED_FILES, FileSum, Manifest, abilities, check_name, sha256_of
from serve_app.models.store import Pulled, WeightStore, size_on_disk

FREE_BYTES = 64 * 1024 * 1024  # left for the jobs, which share the disk
_META_S = 30.0
_PART = ".part"
# The bases are errors of the library's HTTP client, which is another one in each of its major versions.
_FAILURES = cast(tuple[type[Exception], ...], (*errors.HfHubHTTPError.__bases__, OSError, errors.HFValidationError))
_FULL = (errno.ENOSPC, errno.EDQUOT)


class NothingToPull(PullFailed):
    """The hub has no such model, or it is none for this service: trying again would not help."""


class PullCancelled(PullFailed):
    """Somebody stopped the pull; the next one goes on where it was."""


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a pull is, in bytes."""

    done_bytes: int
    total_bytes: int


Tell = Callable[[PullProgress], None]


@dataclass(frozen=True, slots=True)
class _Remote:
    """A file as the hub describes it."""

    name: str
    size_bytes: int
    git_sha1: str  # of large files, that of the pointer that git has in their place
    sha256: str | None  # of large files only


@dataclass(frozen=True, slots=True)
class _Plan:
    commit: str
    files: tuple[_Remote, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def pull(
    store: WeightStore,
    repository: str,
    revision: str | None = None,
    *,
    token: str | None = None,
    tell: Tell | None = None,
    stop: threading.Event | None = None,
) -> Pulled:
    """
    Have a repository's model in the store as it is on the hub now. Blocks for as long as that takes.

    Of pulls of the same model, in whatever process, one downloads, and the others wait for it and report its progress.

    Args:
        revision: Commit, branch or tag; None: the main branch.
        token: Sent to the hub and nobody else; None: what `hf auth login` or HF_TOKEN left for the hub's library.
        tell: Called every few megabytes, in this thread.
        stop: Set it to end the pull, within some megabytes; what came is kept for the next one.

    Raises:
        PullFailed: It cannot be had now; says what to do.
        NothingToPull: It can never be had so.
        PullCancelled: `stop` was set.
    """
    check_name(repository)
    with _translated(repository, revision, store.root):
        plan = _plan(repository, revision, token)
        download = _Download(repository, plan, token, tell or (lambda _: None), stop or threading.Event())
        with store.locked(repository, revision, waiting=lambda: download.wait(store, revision)):
            pulled = store.find(repository, revision)
            if pulled is None or pulled.manifest.revision != plan.commit:
                pulled = download.run(store, revision)
        return pulled


def is_allowed(repository: str, patterns: tuple[str, ...]) -> bool:
    """Whether clients may have a repository pulled."""
    return any(fnmatch.fnmatchcase(repository, pattern) for pattern in patterns)


def _plan(repository: str, revision: str | None, token: str | None) -> _Plan:
    info = huggingface_hub.HfApi(token=token).model_info(
        repository, revision=revision, files_metadata=True, timeout=_META_S
    )
    files = tuple(_remote(file) for file in info.siblings or () if FILES.fullmatch(file.rfilename))
    missing = [name for name in NEEDED_FILES if name not in {file.name for file in files}]
    if missing:
        raise NothingToPull(
            f"{repository} has no {' and no '.join(missing)}, so it is no Whisper model in CTranslate2's format. Look for a"
            " conversion of it, such as Systran/faster-whisper-large-v3, or make one with `ct2-transformers-converter"
            " --copy_files tokenizer.json preprocessor_config.json`."
        )
    if info.sha is None:
        raise PullFailed(f"The hub names no commit of {repository}: check HF_ENDPOINT.")
    return _Plan(info.sha, files)


def _remote(file: RepoSibling) -> _Remote:
    if file.size is None or file.blob_id is None:
        raise PullFailed(
            f"The hub tells no size or checksum of {file.rfilename}, so it cannot be trusted: check HF_ENDPOINT."
        )
    return _Remote(file.rfilename, file.size, file.blob_id, file.lfs.sha256 if file.lfs else None)


class _Download:
    """One pull's work."""

    def __init__(self, repository: str, plan: _Plan, token: str | None, tell: Tell, stop: threading.Event) -> None:
        self._repository = repository
        self._plan = plan
        # Compressed, a file could not be gone on with from where it was cut.
        self._headers = {**build_hf_headers(token=token), "Accept-Encoding": "identity"}
        self._tell = tell
        self._stop = stop

    def wait(self, store: WeightStore, revision: str | None) -> None:
        """Another one downloads it: report what came so far."""
        self.report(size_on_disk(store.half_done(self._repository, revision, self._plan.commit)))

    def report(self, done_bytes: int) -> None:
        if self._stop.is_set():
            raise PullCancelled(f"The pull of {self._repository} was stopped; the next one goes on where it was.")
        self._tell(PullProgress(min(done_bytes, self._plan.size_bytes), self._plan.size_bytes))

    def run(self, store: WeightStore, revision: str | None) -> Pulled:
        folder = store.begin(self._repository, revision, self._plan.commit)
        self._check_room(folder)
        try:
            sums = [self._file(folder, file) for file in self._plan.files]
        except OSError as error:
            if error.errno in _FULL:
                store.forget_half_done(self._repository, revision)  # the jobs need the room
            raise
        languages, tasks = abilities(folder / "tokenizer.json")
        manifest = Manifest(
            id=self._repository,
            source=self._repository,
            revision=self._plan.commit,
            pinned=revision,
            languages=languages,
            tasks=tasks,
            files=tuple(sums),
        )
        pulled = store.publish(folder, manifest)
        store.forget_half_done(self._repository, revision)
        self.report(self._plan.size_bytes)
        return pulled

    def _check_room(self, folder: Path) -> None:
        needed_bytes = self._plan.size_bytes - size_on_disk(folder) + FREE_BYTES
        free_bytes = shutil.disk_usage(folder).free
        if free_bytes < needed_bytes:
            raise PullFailed(
                f"{self._repository} needs {needed_bytes / 1e6:.0f} MB and the disk of data_dir has {free_bytes / 1e6:.0f} MB"
                " free: make room, for instance with `rayscribe models rm`, and pull it again."
            )

    def _file(self, folder: Path, file: _Remote) -> FileSum:
        whole, part = folder / file.name, folder / (file.name + _PART)
        path = whole if whole.exists() else part
        if path is part:
            self._fetch(part, file, size_on_disk(folder) - _size(part))
        sha256 = _verified(path, file)
        path.rename(whole)
        return FileSum(name=file.name, size_bytes=file.size_bytes, sha256=sha256)

    def _fetch(self, part: Path, file: _Remote, before_bytes: int) -> None:
        if _size(part) > file.size_bytes:
            part.unlink()
        with part.open("ab"):
            pass  # there must be one to go on with
        with part.open("r+b") as opened:
            have_bytes = opened.seek(0, 2)
            self.report(before_bytes + have_bytes)
            http_get(
                huggingface_hub.hf_hub_url(self._repository, file.name, revision=self._plan.commit),
                _Watched(opened, lambda: self.report(before_bytes + opened.tell())),  # type: ignore[arg-type]
                resume_size=have_bytes,
                headers=dict(self._headers),
                expected_size=file.size_bytes,
            )


class _Watched:
    """As much of a file as a download needs; calls back after each write."""

    def __init__(self, file: BinaryIO, written: Callable[[], None]) -> None:
        self._file = file
        self._written = written
        self.seek = file.seek
        self.tell = file.tell
        self.truncate = file.truncate

    def write(self, data: bytes) -> int:
        count = self._file.write(data)
        self._file.flush()  # so that who waits for the same model sees how far it is
        self._written()
        return count


def _verified(path: Path, file: _Remote) -> str:
    """The SHA-256 of a file that is as the hub describes it; of another one nothing is kept."""
    sha256 = sha256_of(path)
    good = sha256 == file.sha256 if file.sha256 is not None else _git_sha1(path) == file.git_sha1
    if not good:
        path.unlink()
        raise PullFailed(
            f"{file.name} did not come as the hub describes it: its checksum is another. Pull again; if it happens again, a"
            " proxy or a mirror changes what it sends."
        )
    return sha256


def _git_sha1(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextlib.contextmanager
def _translated(repository: str, revision: str | None, root: Path) -> Iterator[None]:
    """Errors of the hub's library, of its HTTP client and of the disk, in our words."""
    disable_progress_bars("huggingface_hub.http_get")  # they are for a terminal, and would fill a log
    try:
        yield
    except RayscribeError:
        raise
    except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
        raise NothingToPull(
            f"The hub shows no model {repository}: check the name, and if it is private or gated set HF_TOKEN to a token that"
            " may read it."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise NothingToPull(f"{repository} has no revision {revision}: correct `revision`.") from error
    except _FAILURES as error:
        raise PullFailed(_failure(error, repository, root)) from error


def _failure(error: Exception, repository: str, root: Path) -> str:
    number = getattr(error, "errno", None)
    if number in _FULL:
        return f"The disk of data_dir is full ({root}): make room and pull {repository} again."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{root} cannot be written: give this user the right to, or change data_dir."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{root} cannot be used: {error.strerror}. {repository} was not pulled."
    status = getattr(getattr(error, "response", None), "status_code", None)
    # Without the error's text: it may hold the signed address of a file.
    what = f"answered {status}" if status else f"cannot be reached ({type(error).__name__})"
    return f"The model hub {what}: {repository} was not pulled. Try again, or set HF_ENDPOINT to a mirror."
