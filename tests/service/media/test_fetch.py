"""Audio from a URL, from a real server into the store."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.errors import AudioTooLarge, InvalidAudio, InvalidRequest, MediaUnavailable, RemoteUnavailable
from serve_app.media.addresses import AddressRules
from serve_app.media.disk import unavailable
from serve_app.media.fetch import BLOCK_BYTES, HttpFetcher
from serve_app.media.objects import ObjectMediaStore
from serve_app.media.outbound import outbound_client
from serve_app.media.source import open_media
from serve_app.media.store import DurableDirectoryMediaStore
from serve_app.transcript.protocols import MediaStore, StoredMedia
from tests.s3 import BUCKET
from tests.service.media.servers import answer, listening

HERE = AddressRules(["127.0.0.1"])
SOUND = b"sound" * 100_000
OK = answer("200 OK", body=SOUND)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with outbound_client(HERE, timeout=httpx.Timeout(30)) as client:
        yield client


@pytest.fixture
async def hasty() -> AsyncIterator[httpx.AsyncClient]:
    async with outbound_client(HERE, timeout=httpx.Timeout(0.3)) as client:
        yield client


@pytest.fixture
def store(tmp_path: Path) -> DurableDirectoryMediaStore:
    return DurableDirectoryMediaStore(tmp_path)


@pytest.fixture
def fetcher(client: httpx.AsyncClient, store: MediaStore) -> HttpFetcher:
    return HttpFetcher(client, HERE, store, max_bytes=len(SOUND))


async def read(media: StoredMedia) -> bytes:
    with os.fdopen(await open_media(media), "rb") as file:
        return file.read()


async def unsized(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(11):
        writer.write(b"%x\r\n%b\r\n" % (len(SOUND) // 10, SOUND[: len(SOUND) // 10]))
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def cut_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsound")
    await writer.drain()


async def stalled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await cut_off(reader, writer)
    await reader.read()  # until the client has given up


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await cut_off(reader, writer)
    while not reader.at_eof():
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.05)


async def dripping_unsized(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while not reader.at_eof():
        writer.write(b"1\r\n.\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def no_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 ready\r\n")
    await writer.drain()


async def test_audio_behind_a_redirect_is_stored_with_its_size(fetcher: HttpFetcher) -> None:
    async with listening(answer("302 Found", "location: /there?token=hidden"), OK) as server:
        media, size_bytes = await fetcher.fetch(f"{server.url}/here")

    assert size_bytes == len(SOUND)
    assert await read(media) == SOUND
    assert server.requests[1].startswith("GET /there?token=hidden ")


@pytest.mark.server
async def test_audio_is_fetched_into_a_bucket(client: httpx.AsyncClient, s3: Any) -> None:
    fetcher = HttpFetcher(client, HERE, ObjectMediaStore(f"s3://{BUCKET}/jobs"), max_bytes=len(SOUND))
    async with listening(OK) as server:
        media, _ = await fetcher.fetch(server.url)

    assert await read(media) == SOUND


@pytest.mark.parametrize(
    "status", ["401 Unauthorized", "403 Forbidden", "404 Not Found", "410 Gone", "304 Not Modified"]
)
async def test_nothing_to_fetch_is_a_fault_of_the_request(fetcher: HttpFetcher, status: str) -> None:
    async with listening(answer(status)) as server:
        with pytest.raises(InvalidAudio) as refused:
            await fetcher.fetch(f"{server.url}/path?token=hidden")

    code, _, phrase = status.partition(" ")
    assert refused.value.message == (
        f"The audio cannot be fetched: 127.0.0.1:{server.port} answered {code} ({phrase})."
    )


@pytest.mark.parametrize("status", ["500 Oops", "503 Away", "599 Odd", "429 Slowly", "408 Late"])
async def test_a_server_that_fails_is_worth_another_try(fetcher: HttpFetcher, status: str) -> None:
    async with listening(answer(status)) as server:
        with pytest.raises(RemoteUnavailable, match=f"it answered {status[:3]}"):
            await fetcher.fetch(server.url)


@pytest.mark.parametrize("behaviour", [cut_off, no_http])
async def test_a_connection_that_breaks_off_leaves_nothing(
    fetcher: HttpFetcher, tmp_path: Path, behaviour: Any
) -> None:
    await _is_away(fetcher, behaviour, "broke off")

    assert os.listdir(tmp_path) == []


async def test_a_connection_that_stalls_leaves_nothing(
    hasty: httpx.AsyncClient, store: MediaStore, tmp_path: Path
) -> None:
    await _is_away(HttpFetcher(hasty, HERE, store, max_bytes=len(SOUND)), stalled, "takes too long")

    assert os.listdir(tmp_path) == []


async def _is_away(fetcher: HttpFetcher, behaviour: Any, says: str) -> None:
    async with listening(behaviour) as server:
        with pytest.raises(RemoteUnavailable, match=says) as away:
            await fetcher.fetch(f"{server.url}/path?token=hidden")
    assert "path" not in away.value.message


@pytest.mark.parametrize("behaviour", [dripping, dripping_unsized])
async def test_a_server_that_drips_does_not_hold_a_job_for_ever(
    client: httpx.AsyncClient, store: MediaStore, tmp_path: Path, behaviour: Any
) -> None:
    fetcher = HttpFetcher(client, HERE, store, max_bytes=2**32, patience_s=0.3)
    async with listening(behaviour) as server:
        with pytest.raises(RemoteUnavailable, match="takes too long"):
            await fetcher.fetch(server.url)

    assert os.listdir(tmp_path) == []


async def test_a_server_that_is_away_is_worth_another_try(fetcher: HttpFetcher) -> None:
    with pytest.raises(RemoteUnavailable, match=r"127\.0\.0\.1:1 did not send the audio: no connection can be made"):
        await fetcher.fetch("http://127.0.0.1:1/path?token=hidden")


@pytest.mark.parametrize("behaviour", [answer("200 OK", body=SOUND + b"."), unsized])
async def test_too_large_a_file_is_refused_whether_its_size_is_told_or_found(
    fetcher: HttpFetcher, tmp_path: Path, behaviour: Any
) -> None:
    async with listening(behaviour) as server:
        with pytest.raises(AudioTooLarge, match="at most 500,000 are fetched"):
            await fetcher.fetch(server.url)

    assert os.listdir(tmp_path) == []


async def test_what_would_grow_when_unpacked_is_not_unpacked(fetcher: HttpFetcher) -> None:
    async with listening(answer("200 OK", "content-encoding: gzip", body=b"...")) as server:
        with pytest.raises(InvalidAudio, match="sends it compressed"):
            await fetcher.fetch(server.url)

    assert "accept-encoding: identity" in server.requests[0].lower()


async def test_a_redirect_to_a_forbidden_address_is_a_fault_of_the_request(fetcher: HttpFetcher) -> None:
    async with listening(answer("302 Found", "location: http://169.254.169.254/latest/meta-data")) as server:
        with pytest.raises(InvalidAudio, match="leads to an address that is not public"):
            await fetcher.fetch(server.url)


async def test_a_redirect_to_no_url_is_a_fault_of_the_request(fetcher: HttpFetcher) -> None:
    async with listening(answer("302 Found", "location: http://xn--zzzz-/")) as server:
        with pytest.raises(InvalidAudio, match="no URL"):
            await fetcher.fetch(server.url)


@pytest.mark.server
async def test_a_large_file_may_take_longer_than_the_patience(
    client: httpx.AsyncClient, store: MediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.media.fetch.SLOWEST_BYTES_PER_S", 1024)  # the first block may take minutes
    patience_s = 2.0

    async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(SOUND), SOUND[:BLOCK_BYTES]))
        await writer.drain()
        await asyncio.sleep(patience_s + 0.5)
        writer.write(SOUND[BLOCK_BYTES:])
        await writer.drain()

    fetcher = HttpFetcher(client, HERE, store, max_bytes=len(SOUND), patience_s=patience_s)
    async with listening(slow) as server:
        _, size_bytes = await fetcher.fetch(server.url)

    assert size_bytes == len(SOUND)


async def test_redirects_without_end_are_a_fault_of_the_request(fetcher: HttpFetcher) -> None:
    async with listening(answer("302 Found", "location: /again")) as server:
        with pytest.raises(InvalidAudio, match="redirects without end"):
            await fetcher.fetch(server.url)


async def test_a_forbidden_url_is_refused_at_once_and_at_the_fetch(fetcher: HttpFetcher) -> None:
    with pytest.raises(InvalidRequest, match="not public"):
        fetcher.check("http://10.0.0.1/")
    with pytest.raises(InvalidAudio, match="not public"):
        await fetcher.fetch("http://10.0.0.1/")
    with pytest.raises(InvalidAudio, match="is not a URL"):
        await fetcher.fetch("http://example.com:port/")


@pytest.mark.server
async def test_a_large_file_goes_through_with_bounded_memory(tmp_path: Path) -> None:
    size_bytes = 48 * 1024 * 1024
    program = textwrap.dedent("""
        import asyncio, re, sys
        from pathlib import Path
        from serve_app.media.addresses import AddressRules
        from serve_app.media.fetch import HttpFetcher
        from serve_app.media.outbound import outbound_client
        from serve_app.media.store import DurableDirectoryMediaStore

        def peak_kib():
            return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

        async def main(url, folder):
            rules = AddressRules(["127.0.0.1"])
            async with outbound_client(rules) as client:
                fetcher = HttpFetcher(client, rules, DurableDirectoryMediaStore(Path(folder)), max_bytes=2**32)
                await fetcher.fetch(url)
                before = peak_kib()
                _, size_bytes = await fetcher.fetch(url)
            print(size_bytes, peak_kib() - before)

        asyncio.run(main(*sys.argv[1:]))
    """)

    async def large(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {size_bytes}\r\n\r\n".encode())
        for _ in range(size_bytes // 2**20):
            writer.write(bytes(2**20))
            await writer.drain()

    async with listening(OK, large) as server:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, server.url, str(tmp_path), stdout=subprocess.PIPE
        )
        printed, _ = await child.communicate()
    fetched_bytes, grown_kib = map(int, printed.split())

    assert fetched_bytes == size_bytes
    assert grown_kib < 8 * 1024


async def test_a_full_disk_here_is_no_fault_of_the_server(client: httpx.AsyncClient, tmp_path: Path) -> None:
    class Full(DurableDirectoryMediaStore):
        async def save(self, blocks: AsyncIterable[bytes]) -> StoredMedia:
            async for _ in blocks:
                raise unavailable(OSError(errno.ENOSPC, "No space left on device"))
            raise AssertionError

    fetcher = HttpFetcher(client, HERE, Full(tmp_path), max_bytes=len(SOUND))
    async with listening(OK) as server:
        with pytest.raises(MediaUnavailable, match="No space left on device") as full:
            await fetcher.fetch(server.url)

    assert not isinstance(full.value, RemoteUnavailable)
