"""How long an explicit load keeps a model from idleness."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from serve_app.models.types import FOREVER


@dataclass(frozen=True, slots=True)
class Pin:
    """
    Attributes:
        at: When the load was asked for.
        ready_at: When the model was there for the first time from then on; None: not yet.
        ttl_s: As `Models.load`.
    """

    at: datetime
    ttl_s: float | None
    ready_at: datetime | None = None


def ends_at(last_sign: datetime, ttl_s: float | None, *, unloads_after_s: float) -> datetime:
    """
    When a pin ends.

    Args:
        last_sign: The last use of the model, or when it was first ready after the load was asked for: what came last.
        ttl_s: As `Models.load`.
        unloads_after_s: What idleness waits; infinite: never.
    """
    stays_s = unloads_after_s if ttl_s is None else ttl_s
    if stays_s < 0 or math.isinf(stays_s):
        return FOREVER
    try:
        return last_sign + timedelta(seconds=stays_s)
    except OverflowError:
        return FOREVER
