"""What a store does for those who stand for the lead, and for the one who has it."""

from __future__ import annotations

from typing import Protocol

from serve_app.jobs.leadership import Leadership


class LeadershipStore(Protocol):
    async def take_over(self, cluster: str = "", *, after: int | None = None) -> int:
        """
        Become the one that leads: gives a new epoch, and queues again whatever ran under older ones.

        Jobs keep their checkpoints, their place in the queue, and the count of their attempts, but for those that nobody had
        begun. Nothing waits any longer for an instant that an older leader gave (`not_before`, a delivery's next attempt): its
        clock may have been wrong.

        Args:
            after: Only if this is the epoch still.

        Raises:
            Superseded: It is not.
        """
        ...

    async def ask(self, cluster: str, *, ready: bool) -> Leadership:
        """Ask for a sign of the leader's life, and perhaps for the lead: see `leadership.asked`, whose outcome it gives."""
        ...

    async def answer(self, epoch: int) -> Leadership:
        """
        Tell those who asked that the leader lives, which writes nothing if nobody did.

        Raises:
            Superseded: Another Coordinator has taken over.
        """
        ...

    async def resign(self, epoch: int, *, for_good: bool = False) -> None:
        """
        Let go of the lead, as `leadership.resigned`.

        Raises:
            Superseded: Another Coordinator has taken over.
        """
        ...
