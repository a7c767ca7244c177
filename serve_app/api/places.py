"""A request's place among those in progress, and what is to be closed when it ends."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request

from serve_app.api.auth import OwnerDep
from serve_app.api.services import LimiterDep


async def request_stack(owner: OwnerDep, limiter: LimiterDep) -> AsyncIterator[contextlib.AsyncExitStack]:
    """A place among the requests in progress, and all that is to be closed once the answer is out."""
    with limiter.place(owner or None):
        async with contextlib.AsyncExitStack() as stack:
            yield stack


async def stream_place(owner: OwnerDep, request: Request) -> AsyncIterator[None]:
    """A place among the streams that follow something, until the answer is out: each one costs the Coordinator."""
    with request.app.state.streams.place(owner or None):
        yield


StackDep = Annotated[contextlib.AsyncExitStack, Depends(request_stack)]
