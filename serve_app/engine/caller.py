"""Somebody who asked for a model, and how it is given and taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from serve_app.engine.models import LoadedModel
from serve_app.engine.resident import Ticket
from serve_app.errors import RayscribeError


class Caller:
    """
    The task that makes one: it waits for `model` to be set, and has it then.

    To be made in a running event loop.
    """

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.model: asyncio.Future[LoadedModel] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[Any] | None = asyncio.current_task()
        self._revoked: RayscribeError | None = None

    def give(self, model: LoadedModel) -> None:
        if not self.model.done():  # it was cancelled, and will leave
            self.model.set_result(model)

    def refuse(self, error: RayscribeError) -> None:
        """It does not get the model, or has it no longer and is to stop at once."""
        if not self.model.done():
            self.model.set_exception(error)
        elif self._task is not None:
            self._revoked = error
            self._task.cancel()

    @contextmanager
    def told_why(self) -> Iterator[None]:
        """
        Raises:
            RayscribeError: What it was refused with, where a cancellation was our own.
        """
        try:
            yield
        except asyncio.CancelledError:
            if self._revoked is None or self._is_cancelled_besides():
                raise
            raise self._revoked from None

    def _is_cancelled_besides(self) -> bool:
        """Whether somebody else cancelled the task too."""
        return self._task is not None and self._task.uncancel() > 0
