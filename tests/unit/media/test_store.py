import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serve_app.errors import InvalidAudio
from serve_app.media.source import open_media
from serve_app.media.store import DirectoryMediaStore
from serve_app.transcript.protocols import InlineMedia, StoredMedia


async def blocks(*parts: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if error is not None:
        raise error


def read(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


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
    assert read(open_media(media)) == b"onetwo"

    await store.delete(media)
    await store.delete(media)

    assert names(tmp_path / "uploads") == set()
    with pytest.raises(InvalidAudio, match="no longer stored"):
        open_media(media)


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


def test_inline_media_is_read_without_a_file() -> None:
    assert read(open_media(InlineMedia(b"sound"))) == b"sound"


def test_media_that_was_never_stored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidAudio):
        open_media(StoredMedia(str(tmp_path / "missing")))
