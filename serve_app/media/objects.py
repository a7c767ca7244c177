"""Audio of jobs as objects in a bucket, for several nodes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from serve_app.errors import ConfigError, InvalidAudio, MediaUnavailable
from serve_app.media.disk import blocks_of, gone, on_disk, write
from serve_app.transcript.protocols import StoredMedia

SCHEME = "s3://"
OWN = re.compile(r"audio-[0-9a-f]{32}")  # and nothing else, because clients' objects may lie in the same bucket
PART_BYTES = 8 * 1024 * 1024  # a bucket takes 10,000 parts: 80 GB
PARTS_AT_ONCE = 3
GIVE_UP_AFTER = timedelta(seconds=30)  # of retries of one request


class ObjectMediaStore:
    """
    An object for each file, in a bucket of S3 or of what speaks its protocol.

    Credentials, region and endpoint come from the environment variables of the AWS tools. Of each upload, some parts of
    `PART_BYTES` are in memory.

    Args:
        location: `s3://bucket/prefix`; the prefix may be missing.

    Raises:
        ConfigError: The location names no bucket, or the environment makes no sense.
        MediaUnavailable: By every verb: the bucket is missing or away, or refuses.
    """

    def __init__(self, location: str) -> None:
        self._bucket, prefix = _split(location)
        self._prefix = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
        self._objects = connect(location, setting="media.store")

    async def save(self, blocks: AsyncIterable[bytes]) -> StoredMedia:
        """Keep the bytes; when `blocks` raises or the call is cancelled, nothing stays behind."""
        key = f"{self._prefix}audio-{uuid.uuid4().hex}"
        source = _Stoppable(blocks)
        put = asyncio.ensure_future(self._put(key, source))
        try:
            await asyncio.shield(put)
        except asyncio.CancelledError:
            # A put that is just dropped leaves its parts in the bucket, unseen and paid for; one whose source fails does not.
            source.stop()
            await asyncio.wait([put])
            if not put.cancelled() and put.exception() is None:
                await self.delete(self._media(key))
            raise
        return self._media(key)

    async def adopt(self, path: Path) -> StoredMedia:
        """Take over a file by sending it."""
        media = await self.save(blocks_of(path))
        await on_disk(path.unlink, missing_ok=True)
        return media

    async def delete(self, media: StoredMedia) -> None:
        """Forget the bytes; to delete twice is no error."""
        with _translated(self._bucket), contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._objects, _split(media.path)[1])

    async def older_than(self, age_s: float) -> Sequence[StoredMedia]:
        """What has lain there for so long; whoever knows which of it is still needed deletes the rest."""
        before = datetime.now(UTC) - timedelta(seconds=age_s)
        with _translated(self._bucket):
            return [
                self._media(listed["path"])
                async for page in obstore.list(self._objects, self._prefix or None)
                for listed in page
                if self._owns(listed["path"]) and listed["last_modified"] < before
            ]

    def _owns(self, key: str) -> bool:
        return key.startswith(self._prefix) and OWN.fullmatch(key, len(self._prefix)) is not None

    async def _put(self, key: str, source: _Stoppable) -> None:
        with _translated(self._bucket, source):
            await obstore.put_async(
                self._objects, key, source, use_multipart=True, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )

    def _media(self, key: str) -> StoredMedia:
        return StoredMedia(f"{SCHEME}{self._bucket}/{key}")


async def download(media: StoredMedia, file: FileIO) -> None:
    """
    Copy an object into a file, block by block.

    Raises:
        InvalidAudio: It is gone.
        MediaUnavailable: The bucket is away or refuses, or the disk is full.
    """
    with _translated(_split(media.path)[0]):
        try:
            async for block in (await find(media.path)).blocks():
                await on_disk(write, file, block)
        except FileNotFoundError as error:
            raise gone() from error


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object as it was when it was found."""

    objects: S3Store
    key: str
    size_bytes: int
    etag: str | None

    async def blocks(self) -> AsyncIterator[bytes]:
        """
        The bytes; they end by an error if the object is replaced meanwhile, so that they are never of two.

        Each block is a request of its own, because one for all would have to be given as long as the largest file takes.
        """
        for start in range(0, self.size_bytes, PART_BYTES):
            span = (start, min(start + PART_BYTES, self.size_bytes))
            part = await obstore.get_async(self.objects, self.key, options={"range": span, "if_match": self.etag})
            yield (await part.bytes_async()).to_bytes()


async def find(path: str) -> FoundObject:
    """The object of a path; its errors, and those of its blocks, are the library's."""
    bucket, key = _split(path)
    objects = _connected(bucket)
    found = await obstore.head_async(objects, key)
    return FoundObject(objects, key, found["size"], found["e_tag"])


@contextlib.contextmanager
def copying(path: str) -> Iterator[None]:
    """
    Reading an object that a client has named.

    Raises:
        InvalidAudio: There is none, or the service may not read it.
        MediaUnavailable: The bucket is away, or the object was replaced meanwhile; try again.
    """
    bucket = SCHEME + _split(path)[0]
    try:
        yield
    except FileNotFoundError as error:
        raise InvalidAudio(f"The audio cannot be fetched: {bucket} has no such object.", param="url") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise InvalidAudio(
            f"The audio cannot be fetched: {bucket} does not let the service read it.", param="url"
        ) from error
    except (BaseError, OSError) as error:
        raise MediaUnavailable(f"{bucket} did not send the audio ({type(error).__name__}).") from error


class _Stoppable(AsyncIterator[bytes]):
    """
    Blocks that can be made to end by an error.

    Attributes:
        error: What they ended by.
    """

    def __init__(self, blocks: AsyncIterable[bytes]) -> None:
        self._blocks = aiter(blocks)
        self._next: asyncio.Task[bytes] | None = None
        self._stopped = False
        self.error: BaseException | None = None

    async def __anext__(self) -> bytes:
        if self._stopped:
            raise asyncio.CancelledError
        self._next = asyncio.create_task(self._take())
        return await self._next

    def stop(self) -> None:
        self._stopped = True
        if self._next is not None:
            self._next.cancel()

    async def _take(self) -> bytes:
        try:
            return await anext(self._blocks)
        except StopAsyncIteration:
            raise
        except BaseException as error:
            self.error = error
            raise


def connect(location: str, *, setting: str) -> S3Store:
    """
    The bucket that a setting names; nothing is asked of it yet.

    Raises:
        ConfigError: It names none, or the environment makes no sense.
    """
    bucket = _split(location)[0]
    if not bucket:
        raise ConfigError(f"{setting} names no bucket: it looks like s3://bucket/prefix")
    try:
        return _connected(bucket)
    except (BaseError, ValueError) as error:
        raise ConfigError(f"{setting} {location} cannot be used: {error}") from error


def _connected(bucket: str) -> S3Store:
    # Without TLS only if the endpoint that the environment names is http://.
    return S3Store(bucket, client_options={"allow_http": True}, retry_config={"retry_timeout": GIVE_UP_AFTER})


def _split(path: str) -> tuple[str, str]:
    """Bucket and key."""
    bucket, _, key = path.removeprefix(SCHEME).partition("/")
    return bucket, key


@contextlib.contextmanager
def _translated(bucket: str, source: _Stoppable | None = None) -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        if source is not None and source.error is not None:
            raise source.error from None
        # The library's own text has whole answers of the server in it, over many lines.
        raise MediaUnavailable(
            f"The media store {SCHEME}{bucket} is missing or away, or refuses ({type(error).__name__})."
        ) from error
