"""Calls that cancelling does not cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def uncut(call: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """
    Make a call go on to its end when its caller is cancelled, who waits for it, and is cancelled then.

    A transaction needs that: SQLAlchemy drops a connection that is cancelled within a statement, but on SQLite the statement
    keeps the file locked until it is collected as garbage.
    """

    @wraps(call)
    async def whole(*args: P.args, **kwargs: P.kwargs) -> T:
        work = asyncio.create_task(call(*args, **kwargs))
        cancelled: asyncio.CancelledError | None = None
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled and not work.cancelled():
            work.exception()  # looked at, so that nobody complains that it was not
            raise cancelled
        return work.result()

    return whole
