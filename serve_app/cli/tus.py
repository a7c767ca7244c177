"""
Resumable uploads: the client side of the tus 1.0 core protocol and its creation extension (tus.io/protocols).

A file goes up in parts. After a cut the service says how much it has, and the upload goes on from there.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import httpx

from serve_app.cli.exits import NoService, Refused
from serve_app.cli.files import size_bytes
from serve_app.cli.remote import ServiceClient
from serve_app.errors import RayscribeError

PART_BYTES = 8 * 1024 * 1024  # a service takes 16 MiB unless told otherwise
SMALLEST_PART_BYTES = 256 * 1024
BLOCK_BYTES = 256 * 1024
FORGET_S = 5.0
VERSION = {"Tus-Resumable": "1.0.0"}
STARTS = 3  # what came is lost with the disk of the node it lies on
LOST = "upload_not_found"
UNSAID = "unknown"  # an answer to HEAD has no body
CHANGED_MEANWHILE = httpx.codes.CONFLICT  # the offset is another one than we thought

Report = Callable[[int], None]
"""Told how many bytes the service has."""


async def uploaded(
    client: ServiceClient, path: Path, report: Report, use: Callable[[str], Awaitable[str]], *, starts: int = STARTS
) -> str:
    """
    Send a file in parts and `use` it by its id, and once more from its start where the service has lost it; gives what `use` gives.

    Raises:
        NoService, Refused: As `upload` and `use`.
    """
    try:
        return await use(await upload(client, path, report))
    except Refused as error:
        if starts == 1 or not _is_lost(error):
            raise
        return await uploaded(client, path, report, use, starts=starts - 1)


async def upload(client: ServiceClient, path: Path, report: Report, *, part_bytes: int = PART_BYTES) -> str:
    """
    Send a file in parts; gives the upload's id.

    Raises:
        NoService, Refused: As `ServiceClient.send`, when there was no progress for as long as it is patient.
    """
    size = size_bytes(path)
    upload_id = await _create(client, path, size)
    try:
        await _send_all(client, upload_id, path, size, report, part_bytes)
    except BaseException:
        await _forget(client, upload_id)
        raise
    return upload_id


async def _send_all(
    client: ServiceClient, upload_id: str, path: Path, size: int, report: Report, part_bytes: int
) -> None:
    offset, patience = 0, client.patience()
    with path.open("rb") as file:
        while offset < size:
            try:
                there = await _send_part(client, upload_id, file, offset, min(part_bytes, size - offset), report)
            except (NoService, Refused) as error:
                if isinstance(error, Refused) and error.too_large and part_bytes > SMALLEST_PART_BYTES:
                    part_bytes //= 4  # this service, or a proxy before it, takes less at once than most
                    continue
                if not _resumable(error):
                    raise
                await client.sleep(patience.wait_s(error))
                there = await _offset(client, upload_id)
            patience = client.patience() if there > offset else patience
            offset = there
            report(offset)


async def _create(client: ServiceClient, path: Path, size: int) -> str:
    name = base64.b64encode(path.name.encode("utf-8", "surrogateescape")).decode()
    headers = {**VERSION, "Upload-Length": str(size), "Upload-Metadata": f"filename {name}"}
    response = await client.send("POST", "/uploads", headers=headers)
    # The last part alone: behind a proxy the service may not know by which name and path it is reached.
    return httpx.URL(response.headers["location"]).path.rstrip("/").rpartition("/")[2]


async def _send_part(
    client: ServiceClient, upload_id: str, file: IO[bytes], offset: int, length: int, report: Report
) -> int:
    headers = {
        **VERSION,
        "Upload-Offset": str(offset),
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(length),
    }
    response = await client.once(
        "PATCH", f"/uploads/{upload_id}", headers=headers, content=_blocks(file, offset, length, report)
    )
    await response.aclose()
    return int(response.headers["upload-offset"])


async def _blocks(file: IO[bytes], offset: int, length: int, report: Report) -> AsyncIterator[bytes]:
    file.seek(offset)
    end = offset + length
    while offset < end:
        report(offset)
        block = file.read(min(BLOCK_BYTES, end - offset))
        if not block:
            raise RayscribeError("the file became shorter while it was sent")
        offset += len(block)
        yield block


async def _offset(client: ServiceClient, upload_id: str) -> int:
    response = await client.send("HEAD", f"/uploads/{upload_id}", headers=VERSION)
    return int(response.headers["upload-offset"])


async def _forget(client: ServiceClient, upload_id: str) -> None:
    """Nobody will go on with it; if the service cannot be told, it forgets by itself in time."""
    with suppress(NoService, Refused, TimeoutError):
        async with asyncio.timeout(FORGET_S):
            await client.once("DELETE", f"/uploads/{upload_id}", headers=VERSION)


def _is_lost(error: Refused) -> bool:
    return error.status == httpx.codes.NOT_FOUND and error.code in (LOST, UNSAID)


def _resumable(error: NoService | Refused) -> bool:
    if isinstance(error, NoService):
        return True
    return error.status in (CHANGED_MEANWHILE, httpx.codes.TOO_MANY_REQUESTS) or error.status >= 500
