"""How much one client, and all of them together, may ask for at once."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.problems import answer
from serve_app.errors import AudioTooLarge, Overloaded, RateLimited

UNMEASURED_S = 1.0
WEIGHT_OF_NEWEST = 0.2
SLOWEST_BYTES_PER_S = 4 * 1024  # of a body; no codec for speech needs less
RESTART_S = 30.0  # a service that stops is often back after so long


class RequestLimiter:
    """
    Counts the requests in progress, and tells who comes too many when a place should be free.

    The estimate is a queue that nobody stands in: n places with a mean service time of t free up every t/n seconds, and each
    client that was refused since is ahead of the next. So a crowd is told different times, and does not come back as one.

    Args:
        called: What is counted, in the words of an error.
    """

    def __init__(
        self,
        *,
        max_requests: int,
        max_per_key: int,
        max_retry_after_s: float,
        clock: Callable[[], float],
        called: str = "requests",
    ) -> None:
        self._max_requests = max_requests
        self._max_per_key = max_per_key
        self._max_retry_after_s = max_retry_after_s
        self._clock = clock
        self._called = called
        self._by_key: Counter[str] = Counter()
        self._refused = 0
        self._service_s: float | None = None
        self.draining = False
        self.in_progress = 0

    def resize(self, *, max_requests: int, max_per_key: int) -> None:
        """Have more or fewer places from now on; whoever holds one keeps it."""
        self._max_requests = max_requests
        self._max_per_key = max_per_key

    def drain(self) -> None:
        """Refuse whatever comes from now on; what is in progress goes on."""
        self.draining = True

    @contextlib.contextmanager
    def place(self, key: str | None) -> Iterator[None]:
        """
        Hold a place while the request is served.

        Raises:
            RateLimited: The key has all the places that one key may have.
            Overloaded: Every place is taken, or the service is stopping.
        """
        if self.draining:
            raise Overloaded("The service is stopping. Try again in a moment.", retry_after_s=RESTART_S)
        self._refuse_key(key)
        self._refuse_all()
        started_at = self._clock()
        self._count(key, +1)
        try:
            yield
        finally:
            self._count(key, -1)
            self._measure(self._clock() - started_at)

    def _refuse_key(self, key: str | None) -> None:
        if key is None or not self._max_per_key or self._by_key[key] < self._max_per_key:
            return
        raise RateLimited(
            f"This API key has {self._max_per_key} {self._called} in progress, and may not have more at once.",
            retry_after_s=self._wait_s(ahead=0, places=self._max_per_key),
        )

    def _refuse_all(self) -> None:
        if self.in_progress < self._max_requests:
            return
        retry_after_s = self._wait_s(ahead=self._refused, places=self._max_requests)
        self._refused += 1
        raise Overloaded(
            f"The service is busy: {self.in_progress} {self._called} are in progress. Try again in a moment.",
            retry_after_s=retry_after_s,
        )

    def _wait_s(self, *, ahead: int, places: int) -> float:
        service_s = UNMEASURED_S if self._service_s is None else self._service_s
        return min(max(1, math.ceil(service_s * (ahead + 1) / places)), self._max_retry_after_s)

    def _count(self, key: str | None, change: int) -> None:
        self.in_progress += change
        if key is not None:
            self._by_key[key] += change
            self._by_key += Counter()  # drops the zeros, which would pile up with every key ever seen

    def _measure(self, service_s: float) -> None:
        self._refused = max(0, self._refused - 1)
        if self._service_s is None:
            self._service_s = service_s
        else:
            self._service_s += WEIGHT_OF_NEWEST * (service_s - self._service_s)


class BodyLimit:
    """
    ASGI middleware that answers 413 to a body above `max_bytes`, counted as it comes in, and 408 to one that stops coming.

    So does one that trickles: after `idle_s` it has come at 4 KiB/s or more, or each byte of it would hold a place for so long.

    The application behind it sees a client that went away.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int,
        idle_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._clock = clock
        self._max_bytes = max_bytes
        self._idle_s = idle_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > self._max_bytes:
            await answer(_too_large(f"{declared[:20]} bytes", self._max_bytes))(scope, receive, send)
            return
        body = _WatchedBody(scope, receive, send, max_bytes=self._max_bytes, idle_s=self._idle_s, clock=self._clock)
        await self._app(scope, body.receive, body.send)


class _WatchedBody:
    """One request whose body is counted and timed while it is read."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        max_bytes: int,
        idle_s: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._max_bytes = self._left = max_bytes
        self._idle_s = idle_s
        self._clock = clock
        self._began_s: float | None = None
        self._started = False
        self._refused = False

    async def receive(self) -> Message:
        if self._refused:
            return {"type": "http.disconnect"}
        try:
            async with asyncio.timeout(self._patience_s()):
                message = await self._receive()
        except TimeoutError:
            return await self._refuse(_stalled())
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            return await self._refuse(_too_large("larger", self._max_bytes))
        if not message.get("more_body", False):
            self._idle_s = None  # what is read from now on is whether the client goes away
        return message

    def _patience_s(self) -> float | None:
        if self._idle_s is None:
            return None
        now_s = self._clock()
        if self._began_s is None:
            self._began_s = now_s
        explained_s = (self._max_bytes - self._left) / SLOWEST_BYTES_PER_S
        return min(self._idle_s, self._began_s + self._idle_s + explained_s - now_s)

    async def send(self, message: Message) -> None:
        if self._refused:
            return
        self._started = True
        await self._send(message)

    async def _refuse(self, error: Exception) -> Message:
        self._refused = True
        if not self._started:
            await answer(error)(self._scope, self._receive, self._send)
        return {"type": "http.disconnect"}


def _too_large(size: str, max_bytes: int) -> AudioTooLarge:
    return AudioTooLarge(
        f"The request body is {size}, and this service takes at most {max_bytes} bytes in one request."
        " Send the audio compressed (Opus or MP3), or as a job: /jobs takes a URL, and /uploads a file in parts."
    )


def _stalled() -> HTTPException:
    # Without `close` the server would keep the connection open, for the rest of the body.
    return HTTPException(408, "The request body stopped coming. Send the request again.", {"Connection": "close"})
