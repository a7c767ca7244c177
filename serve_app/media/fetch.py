"""Remote audio into the media store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus

import httpx

from serve_app.errors import AudioTooLarge, InvalidAudio, InvalidRequest, RemoteUnavailable
from serve_app.media.addresses import AddressRules
from serve_app.media.outbound import failure
from serve_app.transcript.protocols import MediaStore, StoredMedia

BLOCK_BYTES = 256 * 1024
PATIENCE_S = 60.0  # for whatever the size, on top of what the bytes that came may take
SLOWEST_BYTES_PER_S = 128 * 1024
WORTH_A_RETRY = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


class HttpFetcher:
    """
    Streams what a URL gives into the store.

    Args:
        client: One that keeps to the rules.
        max_bytes: Largest file.
        patience_s: How long a fetch may take beyond the time that the bytes that came explain, in seconds.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        rules: AddressRules,
        store: MediaStore,
        *,
        max_bytes: int,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._client = client
        self._rules = rules
        self._store = store
        self._max_bytes = max_bytes
        self._patience_s = patience_s

    def check(self, url: str) -> None:
        """
        What can be said without the network.

        Raises:
            InvalidRequest: The URL is malformed, of another scheme, or names a forbidden address.
        """
        self._rules.check(url)

    async def fetch(self, url: str) -> tuple[StoredMedia, int]:
        """
        Where the audio lies now, and its size in bytes.

        Raises:
            InvalidAudio: There is nothing to fetch (404, 403, …), or the address is forbidden.
            AudioTooLarge: It is larger than is allowed.
            RemoteUnavailable: The server failed, or is away, or is too slow; try again.
            MediaUnavailable: The store that is to keep it is away, or full.
        """
        try:
            self._rules.check(url)
            return await self._fetch(url)
        except InvalidRequest as error:  # perhaps of an address that a redirect led to
            raise InvalidAudio(f"The audio cannot be fetched: {error.message}", param="url") from error
        except httpx.TooManyRedirects as error:
            raise InvalidAudio(f"{_host(httpx.URL(url))} redirects without end.", param="url") from error
        except UnicodeError as error:  # httpx does not check the host that a redirect names
            raise InvalidAudio(f"{_host(httpx.URL(url))} redirects to what is no URL.", param="url") from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise RemoteUnavailable(f"{_host(httpx.URL(url))} did not send the audio: {failure(error)}.") from error

    async def _fetch(self, url: str) -> tuple[StoredMedia, int]:
        async with (
            asyncio.timeout(self._patience_s) as deadline,
            # Not compressed, because a few bytes could then become very many before they are counted.
            self._client.stream("GET", url, headers={"Accept-Encoding": "identity"}, follow_redirects=True) as response,
        ):
            _check(response)
            check_size(int(response.headers.get("Content-Length", 0)), self._max_bytes)
            media = await self._store.save(self._counted(response, deadline))
            return media, response.num_bytes_downloaded

    async def _counted(self, response: httpx.Response, deadline: asyncio.Timeout) -> AsyncIterator[bytes]:
        began_at_s = asyncio.get_running_loop().time()
        async for block in response.aiter_raw(BLOCK_BYTES):
            check_size(response.num_bytes_downloaded, self._max_bytes)
            explained_s = response.num_bytes_downloaded / SLOWEST_BYTES_PER_S
            deadline.reschedule(began_at_s + self._patience_s + explained_s)
            yield block


def check_size(size_bytes: int, max_bytes: int) -> None:
    """
    Of what is fetched.

    Raises:
        AudioTooLarge: It is more.
    """
    if size_bytes > max_bytes:
        raise AudioTooLarge(
            f"The audio has {size_bytes:,} bytes or more; at most {max_bytes:,} are fetched.", param="url"
        )


def _check(response: httpx.Response) -> None:
    host, status = _host(response.url), response.status_code
    if status >= 500 or status in WORTH_A_RETRY:
        raise RemoteUnavailable(f"{host} did not send the audio: it answered {_named(status)}.")
    if not response.is_success:
        raise InvalidAudio(f"The audio cannot be fetched: {host} answered {_named(status)}.", param="url")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise InvalidAudio(f"The audio cannot be fetched: {host} sends it compressed, unasked.", param="url")


def _named(status: int) -> str:
    try:
        return f"{status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return str(status)


def _host(url: httpx.URL) -> str:
    """All of a URL that is shown: what follows it may hold keys."""
    return url.netloc.decode("ascii")
