"""What a store does for those who send webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from serve_app.jobs.job import Announcement, Delivery


class DeliveryStore(Protocol):
    async def due_deliveries(self, epoch: int, *, limit: int) -> Sequence[Delivery]:
        """
        Pending ones whose time has come, oldest first.

        Raises:
            Superseded: Another Coordinator has taken over.
        """
        ...

    async def update_delivery(self, tried: Delivery, outcome: Delivery) -> None:
        """
        Keep what became of a delivery by an attempt.

        One that was purged, or ended, or was sent again by hand meanwhile, stays as it is, which is no error. An address that
        answers an announcement by 410 hears of no other, until it is given again.

        Args:
            tried: As it was before the attempt.
        """
        ...


class AnnouncementStore(Protocol):
    async def announce(self, announcement: Announcement, epoch: int) -> bool:
        """
        Make a delivery to each address that is kept, due at once; False if the model's last announcement was the same news.

        Of a model that was never announced, `MODEL_UNLOADED` is no news.

        Raises:
            Superseded: Another Coordinator has taken over.
        """
        ...
