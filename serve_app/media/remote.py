"""What jobs may name as `url`: an address or an object."""

from __future__ import annotations

from serve_app.media.addresses import AddressRules
from serve_app.media.fetch import HttpFetcher
from serve_app.media.object_fetch import ObjectFetcher
from serve_app.media.outbound import outbound_client
from serve_app.media.source import OBJECT
from serve_app.media.store import open_media_store
from serve_app.settings import Settings
from serve_app.transcript.protocols import StoredMedia


class RemoteFetcher:
    """Leaves each URL to who knows its scheme; for what is raised, see there."""

    def __init__(self, http: HttpFetcher, objects: ObjectFetcher) -> None:
        self._http = http
        self._objects = objects

    def check(self, url: str) -> None:
        """What can be said without the network."""
        self._who_knows(url).check(url)

    async def fetch(self, url: str) -> tuple[StoredMedia, int]:
        """Where the audio lies now, and its size in bytes."""
        return await self._who_knows(url).fetch(url)

    def _who_knows(self, url: str) -> HttpFetcher | ObjectFetcher:
        return self._objects if url.startswith(OBJECT) else self._http


def open_fetcher(settings: Settings) -> RemoteFetcher:
    """
    What brings remote audio into the store of jobs.

    Raises:
        ConfigError: As by `open_media_store`; or `outbound.allow` or `media.readable` makes no sense here.
    """
    store, max_bytes = open_media_store(settings), settings.jobs.max_fetch_bytes
    rules = AddressRules(settings.outbound.allow)
    http = HttpFetcher(outbound_client(rules), rules, store, max_bytes=max_bytes)
    return RemoteFetcher(http, ObjectFetcher(settings.media.readable, store, max_bytes=max_bytes))
