"""Uploads as files in a directory."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterable, Sequence
from pathlib import Path
from typing import BinaryIO

from serve_app.transcript.protocols import StoredMedia

PARTIAL = ".part"


class DirectoryMediaStore:
    """
    A file for each upload; what is not yet complete has another name.

    Names begin with the process that wrote them, because an upload lives no longer than its request: what a dead process
    of this machine left is garbage, and is removed at start.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._sweep()

    async def save(self, blocks: AsyncIterable[bytes]) -> StoredMedia:
        """Keep the bytes; when `blocks` raises or the call is cancelled, nothing stays behind."""
        path = self._directory / f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex}"
        partial = path.with_name(path.name + PARTIAL)
        try:
            with await asyncio.to_thread(partial.open, "xb") as file:
                await _copy(blocks, file)
            await asyncio.to_thread(partial.rename, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise
        return StoredMedia(str(path))

    async def delete(self, media: StoredMedia) -> None:
        """Forget the bytes; to delete twice is no error."""
        await asyncio.to_thread(Path(media.path).unlink, missing_ok=True)

    async def older_than(self, age_s: float) -> Sequence[StoredMedia]:
        """What has lain there for so long; whoever knows which of it is still needed deletes the rest."""
        return await asyncio.to_thread(self._older_than, time.time() - age_s)

    def _older_than(self, instant_s: float) -> list[StoredMedia]:
        return [StoredMedia(str(path)) for path in self._directory.iterdir() if path.stat().st_mtime < instant_s]

    def _sweep(self) -> None:
        for path in self._directory.iterdir():
            if _is_orphan(path.name):
                path.unlink(missing_ok=True)


async def _copy(blocks: AsyncIterable[bytes], file: BinaryIO) -> None:
    async for block in blocks:
        await asyncio.to_thread(file.write, block)


def _is_orphan(name: str) -> bool:
    machine, _, rest = name.rpartition("-")[0].rpartition("-")
    return machine == os.uname().nodename and rest.isdigit() and not Path(f"/proc/{rest}").exists()
