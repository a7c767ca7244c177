import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from serve_app.errors import ConfigError, InvalidAudio, MediaUnavailable
from serve_app.media.source import open_media
from serve_app.media.store import DirectoryMediaStore, DurableDirectoryMediaStore, open_media_store, open_request_store
from serve_app.settings import MediaSettings, Settings
from serve_app.transcript.protocols import InlineMedia, MediaReference, StoredMedia


async def blocks(*parts: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if error is not None:
        raise error


async def read(media: MediaReference) -> bytes:
    with os.fdopen(await open_media(media), "rb") as file:
        return file.read()


@contextlib.contextmanager
def small_files(size_bytes: int) -> Iterator[None]:
    """What a full disk does, as far as an unprivileged test can make one: writing stops in the middle of a block."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


async def test_an_upload_can_be_read_back_and_deleted(tmp_path: Path) -> None:
    store = DirectoryMediaStore(tmp_path / "uploads")
    media = await store.save(blocks(b"one", b"two"))
    assert await read(media) == b"onetwo"

    await store.delete(media)
    await store.delete(media)

    assert names(tmp_path / "uploads") == set()
    with pytest.raises(InvalidAudio, match="no longer stored"):
        await open_media(media)


async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    store = DirectoryMediaStore(tmp_path)
    with pytest.raises(ConnectionError):
        await store.save(blocks(b"one", error=ConnectionError()))

    assert names(tmp_path) == set()


async def test_an_unfinished_upload_has_another_name(tmp_path: Path) -> None:
    during: set[str] = set()

    async def watched() -> AsyncIterator[bytes]:
        yield b"one"
        during.update(names(tmp_path))

    media = await DirectoryMediaStore(tmp_path).save(watched())

    assert during == {Path(media.path).name + ".part"}


async def test_what_a_dead_process_left_is_removed_at_start(tmp_path: Path, dead_pid: int) -> None:
    (tmp_path / f"{os.uname().nodename}-{dead_pid}-0123.part").touch()
    (tmp_path / "elsewhere-1-0123").touch()
    living = await DirectoryMediaStore(tmp_path).save(blocks(b"mine"))

    DirectoryMediaStore(tmp_path)

    assert names(tmp_path) == {Path(living.path).name, "elsewhere-1-0123"}


async def test_inline_media_is_read_without_a_file() -> None:
    assert await read(InlineMedia(b"sound")) == b"sound"


async def test_media_that_was_never_stored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidAudio):
        await open_media(StoredMedia(str(tmp_path / "missing")))


async def test_media_that_cannot_be_read_now_is_no_fault_of_the_audio(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")

    with pytest.raises(MediaUnavailable, match="symbolic links"):
        await open_media(StoredMedia(str(tmp_path / "loop")))


async def test_a_full_disk_is_said_in_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    store = DirectoryMediaStore(tmp_path)

    with small_files(100), pytest.raises(MediaUnavailable, match="Audio cannot be kept on disk now: File too large"):
        await store.save(blocks(bytes(64), bytes(64)))
    assert names(tmp_path) == set()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=r"file/media, for audio, cannot be used: Not a directory"):
        DurableDirectoryMediaStore(tmp_path / "file" / "media")


@pytest.mark.parametrize(
    ("media", "lies_in"), [(MediaSettings(), "data/media"), (MediaSettings(store="elsewhere"), "elsewhere")]
)
async def test_audio_of_jobs_lies_where_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, media: MediaSettings, lies_in: str
) -> None:
    monkeypatch.chdir(tmp_path)

    saved = await open_media_store(Settings(media=media)).save(blocks(b"sound"))

    assert Path(saved.path).parent == tmp_path / lies_in
    assert await read(saved) == b"sound"


@pytest.mark.parametrize(
    ("media", "lies_in"), [(MediaSettings(), "data/uploads"), (MediaSettings(store="elsewhere"), "elsewhere/requests")]
)
async def test_audio_of_requests_lies_where_other_nodes_see_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, media: MediaSettings, lies_in: str
) -> None:
    monkeypatch.chdir(tmp_path)

    saved = await open_request_store(Settings(media=media)).save(blocks(b"sound"))

    assert Path(saved.path).parent == tmp_path / lies_in
    assert await read(saved) == b"sound"


@pytest.mark.parametrize("location", ["ftp://host/audio", "s3://"])
def test_a_store_of_an_unknown_kind_is_refused(location: str) -> None:
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        open_media_store(Settings(media=MediaSettings(store=location)))


def test_a_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "serve_app.media.objects", raising=False)
    monkeypatch.setitem(sys.modules, "obstore", None)

    with pytest.raises(ConfigError, match=r"needs: pip install 'rayscribe\[s3\]'"):
        open_media_store(Settings(media=MediaSettings(store="s3://bucket/audio")))


async def test_audio_of_a_job_is_on_disk_before_it_counts_as_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DurableDirectoryMediaStore(tmp_path)
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))

    media = await store.save(blocks(b"sound"))

    assert synced == [f"{media.path}.part", str(tmp_path)]


async def test_audio_of_jobs_outlives_its_process_and_foreign_files_are_let_be(tmp_path: Path, dead_pid: int) -> None:
    media = await DurableDirectoryMediaStore(tmp_path).save(blocks(b"sound"))
    for foreign in ("holiday.mp3", "audio-2023-interview.mp3", f"audio-{'0' * 32}.mp3"):
        (tmp_path / foreign).touch()
    (tmp_path / f"{os.uname().nodename}-{dead_pid}-0123").touch()

    assert await DurableDirectoryMediaStore(tmp_path).older_than(-1) == [media]
    assert await read(media) == b"sound"


async def test_what_was_left_half_written_is_found_by_its_age(tmp_path: Path) -> None:
    store = DurableDirectoryMediaStore(tmp_path)
    await store.save(blocks(b"new"))
    left = tmp_path / f"audio-{'0' * 32}.part"
    left.touch()
    os.utime(left, (0, 0))

    assert await store.older_than(3600) == [StoredMedia(str(left))]


async def test_a_finished_upload_is_adopted_with_a_new_age(tmp_path: Path) -> None:
    store = DurableDirectoryMediaStore(tmp_path / "media")
    upload = tmp_path / "upload"
    upload.write_bytes(b"sound")
    os.utime(upload, (0, 0))

    media = await store.adopt(upload)

    assert await read(media) == b"sound"
    assert names(tmp_path) == {"media"}
    assert await store.older_than(3600) == []
    with pytest.raises(InvalidAudio, match="no longer stored"):
        await store.adopt(upload)


async def test_an_upload_on_another_disk_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DurableDirectoryMediaStore(tmp_path / "media")
    upload = tmp_path / "upload"
    upload.write_bytes(b"sound")
    rename = os.rename

    def refuse_upload(source: str | Path, target: str | Path) -> None:
        if source == upload:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse_upload)
    media = await store.adopt(upload)

    assert await read(media) == b"sound"
    assert names(tmp_path) == {"media"}
