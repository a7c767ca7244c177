"""Objects that clients name, into the media store."""

from __future__ import annotations

import re
from collections.abc import Sequence

from serve_app.errors import ConfigError, InvalidAudio, InvalidRequest
from serve_app.media.fetch import check_size
from serve_app.transcript.protocols import MediaStore, StoredMedia

CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ObjectFetcher:
    """
    Copies objects that lie beneath some prefixes; what becomes of the copy is nothing to the object.

    They are read with the service's own credentials, so the prefixes are all that keeps a client from other objects.

    Args:
        readable: The prefixes: `s3://bucket/incoming/`, with `/` at the end.
        max_bytes: Largest object.

    Raises:
        ConfigError: A library is not installed, or the environment makes no sense.
    """

    def __init__(self, readable: Sequence[str], store: MediaStore, *, max_bytes: int) -> None:
        self._readable = tuple(readable)
        self._store = store
        self._max_bytes = max_bytes
        for prefix in readable:
            _check_usable(prefix)

    def check(self, url: str) -> None:
        """
        What can be said without the network.

        Raises:
            InvalidRequest: It is beneath no readable prefix, or is no key.
        """
        prefix = next(filter(url.startswith, self._readable), None)
        if prefix is None:
            raise InvalidRequest(
                "url names no object that clients may read; whoever runs the service can list its prefix in media.readable.",
                param="url",
            )
        # Some servers resolve these, and then the key could lead out of the prefix.
        if {"", ".", ".."} & set(url.removeprefix(prefix).split("/")) or CONTROL.search(url):
            raise InvalidRequest(
                "url must end with the key of an object, without empty parts, `.`, `..` and control characters.",
                param="url",
            )

    async def fetch(self, url: str) -> tuple[StoredMedia, int]:
        """
        Where the copy lies, and its size in bytes.

        Raises:
            InvalidAudio: There is no such object, or it may not be read.
            AudioTooLarge: It is larger than is allowed.
            MediaUnavailable: The bucket or the store is away; try again.
        """
        from serve_app.media.objects import copying, find  # needs a library of an extra

        self._check_again(url)
        with copying(url):
            found = await find(url)
            check_size(found.size_bytes, self._max_bytes)
            return await self._store.save(found.blocks()), found.size_bytes

    def _check_again(self, url: str) -> None:
        """The settings may be others than when the job was accepted."""
        try:
            self.check(url)
        except InvalidRequest as error:
            raise InvalidAudio(f"The audio cannot be fetched: {error.message}", param="url") from error


def _check_usable(prefix: str) -> None:
    try:
        from serve_app.media.objects import connect
    except ModuleNotFoundError as error:
        raise ConfigError(f"media.readable has {prefix}, which needs: pip install 'rayscribe[s3]'") from error
    connect(prefix, setting="media.readable")
