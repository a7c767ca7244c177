"""What the registry needs of others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

from serve_app.lifecycle.overview import Wish

Clock = Callable[[], datetime]
"""Aware UTC that never goes back within a process."""

Sleep = Callable[[float], Awaitable[None]]


class Holder(Protocol):
    """Whoever can make a replica load a model."""

    async def hold(self, model_id: str, for_s: float, wish: Wish) -> None:
        """
        Have a model loaded by one replica, started if there is none, and kept from idleness for some seconds from then on.

        Cancelling the call ends it at once.

        Args:
            wish: Whose; a later order to unload the model goes before it.

        Raises:
            ModelLoadFailed: It cannot be loaded.
            ModelNotReady: It was unloaded meanwhile.
            Unavailable: The replica died.
        """
        ...
