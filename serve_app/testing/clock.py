"""A clock that stands still until it is told to go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """Call it for seconds, as `time.monotonic`; its `utc` is the same moment as an instant, as `jobs.protocols.Clock`."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def utc(self) -> datetime:
        return EPOCH + timedelta(seconds=self.now_s)

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
