"""
The service as its clients see it: one connection pool, the API key, patience, and every failure as a sentence.

What is repeated here can be repeated without harm: reading, a synchronous transcription, and a submit, which always carries
an idempotency key.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import IO, Any, Self

import httpx

from serve_app import __version__
from serve_app.cli.exits import NoService, Refused
from serve_app.errors import RayscribeError

CONNECT_S = 10.0
ANSWER_S = 60.0  # without a byte; streams send a comment every 15 s
PATIENCE_S = 300.0
STRANGER_PATIENCE_S = 10.0  # with what takes connections, but has not answered yet
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0

Part = tuple[str, tuple[str | None, str | IO[bytes]]]
"""A field of a multipart body: its name, a file's name if it is a file, and what it holds."""


@dataclass(frozen=True, slots=True)
class Remote:
    """Which service, and as whom."""

    url: str
    api_key: str = ""


class ServiceClient:
    """
    Sends requests, and sends them again where that helps.

    429 and 503 are waited for as `Retry-After` says, a service that has answered before and is away now with growing pauses;
    both for at most `patience_s`. Where nothing takes connections, and nothing ever answered, there is no waiting.

    Args:
        transport: Instead of the network.
        sleep: Waits so many seconds.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        remote: Remote,
        *,
        patience_s: float = PATIENCE_S,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = _checked(remote.url)
        self.http = httpx.AsyncClient(
            base_url=self.url,
            headers={"User-Agent": f"rayscribe/{__version__}", **_authorization(remote.api_key)},
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            verify=self.url.startswith("https:"),  # all the world's certificates take longer to read than most answers
            trust_env=not _is_loopback(self.url),  # a company's proxy does not know the way back to this machine
            transport=transport,
        )
        self.sleep = sleep
        self._clock = clock
        self._patience_s = patience_s
        self._reached = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self.http.aclose()

    async def send(self, method: str, path: str, **content: Any) -> httpx.Response:
        """
        Send a request and read the whole answer.

        Raises:
            NoService: Nothing answers there.
            Refused: The answer is an error, and waiting did not help or would not.
        """
        response = await self.open(method, path, **content)
        try:
            await response.aread()
        except httpx.TransportError as error:
            raise self._away(error) from error
        finally:
            await response.aclose()
        return response

    async def open(self, method: str, path: str, **content: Any) -> httpx.Response:
        """
        Send a request and wait for the head of a good answer; the caller reads and closes it.

        Raises:
            NoService, Refused: As `send`.
        """
        patience: Patience | None = None
        while True:
            try:
                return await self.once(method, path, **content)
            except (NoService, Refused) as error:
                if not self._may_pass(error):
                    raise
                patience = patience or self.patience()
                await self.sleep(patience.wait_s(error))

    async def once(self, method: str, path: str, **content: Any) -> httpx.Response:
        """
        As `open`, but without patience.

        Raises:
            NoService, Refused: As `send`.
        """
        request = self.http.build_request(method, path, **content)
        try:
            response = await self.http.send(request, stream=True)
            if not response.is_success:
                await response.aread()
        except httpx.TransportError as error:
            raise self._away(error) from error
        self._reached = True
        if not response.is_success:
            raise refusal(response)
        return response

    def patience(self) -> Patience:
        """For what is tried again by other means than these."""
        return Patience(self._patience_s if self._reached else STRANGER_PATIENCE_S, self._clock)

    def _away(self, error: httpx.TransportError) -> NoService:
        if self._reached:
            return NoService(f"the service at {self.url} stopped answering ({_reason(error)})")
        return NoService(
            f"nothing answers at {self.url} ({_reason(error)}): start the service with `rayscribe serve`, name another one"
            " with --url or RAYSCRIBE_URL, or use `rayscribe transcribe --local`, which needs none"
        )

    def _may_pass(self, error: RayscribeError) -> bool:
        if isinstance(error, Refused):
            return error.status in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
        return self._reached or isinstance(error.__cause__, (httpx.ReadError, httpx.RemoteProtocolError))


class Patience:
    """How long to wait before each of several tries, and when to stop trying."""

    def __init__(self, patience_s: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends_at = clock() + patience_s
        self._next_s = FIRST_WAIT_S

    def wait_s(self, error: RayscribeError) -> float:
        """
        Seconds until the next try: what the error says, else a pause that doubles each time.

        Raises:
            RayscribeError: The one given, when that would be too late.
        """
        grown_s, self._next_s = self._next_s, min(2 * self._next_s, LONGEST_WAIT_S)
        wait_s = grown_s if error.retry_after_s is None else error.retry_after_s
        if self._clock() + wait_s > self._ends_at:
            raise error
        return wait_s


def form(fields: Sequence[tuple[str, str]], *files: Part) -> list[Part]:
    """A multipart body; the fields first, so that the service knows them before the file has come."""
    return [*((name, (None, value)) for name, value in fields), *files]


def refusal(response: httpx.Response) -> Refused:
    """An answer with an error as an exception; its body has been read."""
    message, code = _problem(response)
    if response.status_code == httpx.codes.UNAUTHORIZED:
        message = f"{message.rstrip('.')}: give one with --api-key or RAYSCRIBE_API_KEY"
    elif code == "not_found":
        message = f"the service at {response.url.copy_with(path='/')} has no {response.url.path}: is it rayscribe?"
    return Refused(message, status=response.status_code, code=code, retry_after_s=_retry_after_s(response))


def _problem(response: httpx.Response) -> tuple[str, str]:
    try:
        error = response.json()["error"]
        return str(error["message"]), str(error["code"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        text = " ".join(response.text[:200].split())
        return f"{response.url.host} answered {response.status_code} {text}".rstrip(), "unknown"


def _retry_after_s(response: httpx.Response) -> float | None:
    seconds = response.headers.get("retry-after", "")
    return float(seconds) if seconds.isascii() and seconds.isdigit() else None


def _checked(url: str) -> str:
    """
    Raises:
        NoService: It is no URL of a service.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise NoService(f"{url} is no URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise NoService(f"{url} is no URL of a service: it must begin with http:// or https://")
    return url.rstrip("/").removesuffix("/v1")  # as OpenAI's SDKs are told where the service is


def _authorization(api_key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key.strip()}"} if api_key.strip() else {}


def _is_loopback(url: str) -> bool:
    host = httpx.URL(url).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__
