"""Files off the event loop, with errors that say what the disk does not do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from io import FileIO
from pathlib import Path
from typing import ParamSpec, TypeVar

from serve_app.errors import InvalidAudio, MediaUnavailable

BLOCK_BYTES = 1024 * 1024

P = ParamSpec("P")
T = TypeVar("T")


async def on_disk(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    Call in a thread.

    Raises:
        MediaUnavailable: The disk is full, read-only or away.
    """
    try:
        return await asyncio.to_thread(call, *args, **kwargs)
    except OSError as error:
        raise unavailable(error) from error


def unavailable(error: OSError) -> MediaUnavailable:
    return MediaUnavailable(f"Audio cannot be kept on disk now: {error.strerror}.")


def gone() -> InvalidAudio:
    return InvalidAudio("The upload is no longer stored.")


def write(file: FileIO, block: bytes | memoryview) -> None:
    """The whole block: an unbuffered file may take less at once."""
    left = memoryview(block)
    while left:
        left = left[file.write(left) :]


def sync(path: Path) -> None:
    """Have a file's bytes, or a directory's names, on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def blocks_of(path: Path) -> AsyncIterator[bytes]:
    """
    A file in blocks of at most 1 MiB.

    Raises:
        InvalidAudio: There is none.
        MediaUnavailable: It cannot be read.
    """
    try:
        file = await asyncio.to_thread(FileIO, path)
    except FileNotFoundError as error:
        raise gone() from error
    with file:
        while block := await on_disk(file.read, BLOCK_BYTES):
            yield block
