"""How Coordinators on one store agree which of them leads; the rules are in `leadership`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from serve_app.errors import StoreUnavailable, Superseded
from serve_app.jobs.leadership import Leadership, may_take_over
from serve_app.jobs.protocols import Sleep
from serve_app.jobs.store.leading import LeadershipStore

logger = logging.getLogger(__name__)


class Candidate:
    """
    One Coordinator among those of a store.

    Args:
        cluster: The same for all Coordinators of one cluster, and for no other.
        is_ready: Whether the cluster can do the work; asked while another one leads.
        look_s: Between questions of one who stands by, and between looks of a leader for such. All of a store have the same.
    """

    def __init__(
        self,
        store: LeadershipStore,
        cluster: str,
        is_ready: Callable[[], Awaitable[bool]],
        *,
        look_s: float,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._is_ready = is_ready
        self._look_s = look_s
        self._sleep = sleep
        self._led = False
        self._heard: tuple[int, int] | None = None  # the last answer: the leader's epoch, and which of its answers
        self._unanswered = 0

    async def elected(self) -> int:
        """Wait for the lead; gives the epoch."""
        epoch = await self._stand(ready=False)  # the first of all, or the next of its cluster, need not be
        if epoch is None:
            logger.warning("this Coordinator stands by: another one leads, or the store is away")
        while epoch is None:
            await self._sleep(self._look_s)
            epoch = await self._stand(ready=await self._can_work())
        logger.info("leads, in epoch %d", epoch)
        self._led = True
        return epoch

    async def deposed(self, epoch: int) -> None:
        """Lead until another has taken over, or is to; in that case let go of all work before `resign`."""
        while not await self._is_over(epoch):
            await self._sleep(self._look_s)

    async def _can_work(self) -> bool:
        """False also where its own cluster does not say."""
        try:
            async with asyncio.timeout(self._look_s):
                return await self._is_ready()
        except Exception as error:
            logger.warning("cannot tell whether this cluster is ready: %s", type(error).__name__)
            return False

    async def _stand(self, *, ready: bool) -> int | None:
        try:
            known = await self._store.ask(self._cluster, ready=ready)
            self._hear(known)
            if may_take_over(known, self._cluster, ready=ready, led=self._led, unanswered=self._unanswered):
                return await self._store.take_over(self._cluster, after=known.epoch)
        except StoreUnavailable as error:
            logger.warning("cannot ask who leads: %s", error.message)
        except Superseded:
            logger.info("another Coordinator was quicker to take over")
        return None

    def _hear(self, known: Leadership) -> None:
        """Looks at which the store was away count for nothing: nobody could answer then."""
        heard = known.epoch, known.answers
        self._unanswered = self._unanswered + 1 if heard == self._heard else 0
        self._heard = heard

    async def _is_over(self, epoch: int) -> bool:
        try:
            return (await self._store.answer(epoch)).wanted
        except StoreUnavailable as error:
            logger.warning("cannot answer who asks: %s", error.message)
            return False
        except Superseded:
            return True
