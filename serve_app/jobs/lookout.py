"""Finds what other processes wrote to the store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from serve_app.errors import StoreUnavailable
from serve_app.jobs.hub import Hub
from serve_app.jobs.protocols import Sleep
from serve_app.jobs.store.lookout import LookoutStore

logger = logging.getLogger(__name__)

LOOK_S = 1.0  # how long an event that another process wrote may lie unseen


class Lookout:
    """
    Rings for whoever follows a job when the store has another last event of it than at the last look.

    One look serves all followers: each by itself would read the store as often, and a busy service has hundreds of them.
    """

    def __init__(self, store: LookoutStore, hub: Hub, *, look_s: float = LOOK_S, sleep: Sleep = asyncio.sleep) -> None:
        self._store = store
        self._hub = hub
        self._look_s = look_s
        self._sleep = sleep
        self._seen: Mapping[str, int] = {}

    async def run(self) -> None:
        while True:
            await self._sleep(self._look_s)
            try:
                await self.look()
            except StoreUnavailable as error:
                logger.warning("events that another process wrote are not looked for: %s", error.message)

    async def look(self) -> None:
        """
        Raises:
            StoreUnavailable: As the store's verbs.
        """
        followed = self._hub.jobs
        last = await self._store.last_seqs(followed) if followed else {}
        for job_id, seq in last.items():
            if seq != self._seen.get(job_id):
                self._hub.ring(job_id)
        self._seen = last
