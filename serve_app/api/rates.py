"""How often a client may ask for work."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from fastapi import Request

from serve_app.api.auth import OwnerDep
from serve_app.api.headers import answer_headers
from serve_app.errors import Overloaded, RateLimited

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """
    What a client has left.

    Attributes:
        reset_s: When all is there again, if nothing more is asked for.
        wait_s: When there is enough for one request; 0 if there is now.
    """

    limit: int
    remaining: int
    reset_s: float
    wait_s: float = 0.0

    def headers(self) -> Mapping[str, str]:
        """By the names that OpenAI's API has."""
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": shown(self.reset_s),
        }


class RateLimiter:
    """
    A bucket of requests for each client, which fills evenly: a minute's worth at once, and then one every so often.

    Kept as the time when the bucket is full again (the generic cell rate algorithm, ITU-T I.371), one number a client. The
    library `limits` has buckets in a Redis, and windows, by a wall clock of its own; this is all that is needed of one.

    Args:
        per_minute: 0 = no limit.
        clock: Seconds, from any start.
    """

    def __init__(self, *, per_minute: int, clock: Callable[[], float]) -> None:
        self._limit = per_minute
        self._clock = clock
        self._full_at_s: dict[str, float] = {}

    def resize(self, *, per_minute: int) -> None:
        """From now on; what was taken counts as the same part of the new limit."""
        self._limit = per_minute

    def take(self, client: str) -> Allowance | None:
        """One request, or what is lacking to it; None where there is no limit."""
        if not self._limit or not client:
            return None
        interval_s, now_s = MINUTE_S / self._limit, self._clock()
        full_at_s = max(self._full_at_s.get(client, now_s), now_s) + interval_s
        wait_s = full_at_s - now_s - MINUTE_S
        if wait_s > interval_s / 1000:  # sums of fractions are not exact
            return Allowance(self._limit, 0, full_at_s - interval_s - now_s, wait_s)
        self._full_at_s[client] = full_at_s
        return self._left(full_at_s - now_s)

    def give_back(self, client: str) -> Allowance | None:
        """A request that was taken and came to nothing."""
        if not self._limit or client not in self._full_at_s:
            return None
        self._full_at_s[client] -= MINUTE_S / self._limit
        return self._left(max(0.0, self._full_at_s[client] - self._clock()))

    def _left(self, reset_s: float) -> Allowance:
        interval_s = MINUTE_S / self._limit
        return Allowance(self._limit, math.floor(0.001 + (MINUTE_S - reset_s) / interval_s), reset_s)


async def counted(request: Request, owner: OwnerDep) -> AsyncIterator[None]:
    """
    A dependency of routes that begin work; what the service itself had no room for is not counted.

    Raises:
        RateLimited: The key has begun too much within a minute.
    """
    rates: RateLimiter = request.app.state.rates
    allowance = rates.take(owner)
    _tell(request, allowance)
    if allowance and allowance.wait_s:
        raise RateLimited(
            f"This API key may begin {allowance.limit} requests a minute, and has. Try again later.",
            retry_after_s=allowance.wait_s,
        )
    try:
        yield
    except Overloaded:
        _tell(request, rates.give_back(owner))
        raise


def _tell(request: Request, allowance: Allowance | None) -> None:
    if allowance:
        answer_headers(request).update(allowance.headers())


def shown(seconds: float) -> str:
    """A time as OpenAI's headers have it: `20ms`, `1s`, `6m0s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
