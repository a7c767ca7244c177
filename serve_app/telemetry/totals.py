"""
The counts of all processes together.

Each process sends by how much its counts have grown, until that was taken; a replica that dies leaves what it had counted in
the sum, and one that is new begins at nothing. Totals that begin anew with their own process fall to zero once and then grow
by what happens, which is how Prometheus knows a counter that was reset.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from operator import add
from typing import Protocol

from serve_app.telemetry.tally import Counts, Series, Tally

SOURCES_KEPT = 1024
"""Processes whose repeated growth is still known to be repeated."""


@dataclass(frozen=True, slots=True)
class Growth:
    """
    What a process has counted since the last time.

    Attributes:
        source: The process; unique.
        number: Counts up; the same number is the same growth, sent again.
    """

    source: str
    number: int
    counts: Counts


class TotalKeeper(Protocol):
    """Where the counts of all processes come together."""

    async def grow(self, growth: Growth) -> None: ...

    async def totals(self) -> Counts: ...


class Totals(TotalKeeper):
    """
    The sum.

    Args:
        own: Counts of this very process, which are part of it at any time.
    """

    def __init__(self, own: Tally | None = None) -> None:
        self._own = own or Tally()
        self._sums: dict[Series, tuple[float, ...]] = {}
        self._numbers: OrderedDict[str, int] = OrderedDict()  # of the last growth, by source

    async def grow(self, growth: Growth) -> None:
        """Add it, unless it has been."""
        if growth.number <= self._numbers.get(growth.source, 0):
            return
        self._numbers[growth.source] = growth.number
        self._numbers.move_to_end(growth.source)
        if len(self._numbers) > SOURCES_KEPT:
            self._numbers.popitem(last=False)
        self._add(growth.counts)

    async def totals(self) -> Counts:
        self._add(self._own.take())
        return dict(self._sums)

    def _add(self, counts: Counts) -> None:
        for series, grown in counts.items():
            before = self._sums.get(series)
            # Of another width is what an older or newer version sends while replicas are replaced.
            if before is None or len(before) != len(grown):
                self._sums[series] = grown
            else:
                self._sums[series] = tuple(map(add, before, grown))
