"""What the HTTP layer is given, and how its routes get at it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from serve_app.api.limits import RequestLimiter
from serve_app.settings import Settings
from serve_app.transcript.protocols import MediaStore, Transcriber


async def always_ready() -> bool:
    return True


@dataclass(frozen=True)
class Services:
    """The parts behind the HTTP layer; whoever composes the application makes them."""

    settings: Settings
    transcriber: Transcriber
    media_store: MediaStore
    api_keys: Callable[[], frozenset[str]] = frozenset
    """Asked at every request, so that a key that was taken back stops working; empty means that no key is needed."""
    ready: Callable[[], Awaitable[bool]] = always_ready
    """Whether the models to preload are in."""
    clock: Callable[[], float] = time.monotonic
    """Seconds, from any start."""
    heartbeat_s: float = 15.0
    """A silent stream says that it is alive this often."""


def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


def request_limiter(request: Request) -> RequestLimiter:
    found: RequestLimiter = request.app.state.limiter
    return found


ServicesDep = Annotated[Services, Depends(services)]
LimiterDep = Annotated[RequestLimiter, Depends(request_limiter)]
