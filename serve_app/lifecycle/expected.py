"""Models that work waits for while no replica is there to say so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from serve_app.lifecycle.overview import Wish
from serve_app.models.types import Reason

KEPT_FOR = timedelta(seconds=15)  # longer than between two looks of who waits


class Expected:
    """Those that somebody has looked for of late; a replica that knows of the model ends it."""

    def __init__(self) -> None:
        self._wishes: dict[str, Wish] = {}
        self._until: dict[str, datetime] = {}

    def __contains__(self, model_id: str) -> bool:
        return model_id in self._wishes

    def wish(self, model_id: str) -> Wish | None:
        return self._wishes.get(model_id)

    def renew(self, model_id: str, now: datetime) -> None:
        self._wishes.setdefault(model_id, Wish(now, Reason.REQUEST))
        self._until[model_id] = now + KEPT_FOR

    def end(self, model_id: str) -> bool:
        """Whether it was expected."""
        self._until.pop(model_id, None)
        return self._wishes.pop(model_id, None) is not None

    def over(self, now: datetime) -> Sequence[str]:
        """Those that nobody looks for any more."""
        return [model_id for model_id, until in self._until.items() if until <= now]
