"""Counts of one process: they only grow, and what has grown is handed on from time to time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

Series = tuple[str, tuple[str, ...]]
"""The name of a metric, and the values of its labels."""

Counts = Mapping[Series, tuple[float, ...]]
"""By how much series have grown: (amount,) of a counter; of a histogram how many fell into each bucket, and the sum of all."""


@dataclass(frozen=True, slots=True)
class Counter:
    """
    Something that is counted.

    Attributes:
        says: Its help text.
        values: Of each label all that it can say; () where that is not known from the beginning.
    """

    name: str
    says: str
    labels: tuple[str, ...] = ()
    values: tuple[tuple[str, ...], ...] = ()

    @property
    def known(self) -> tuple[tuple[str, ...], ...]:
        """The labels of all its series, where they are known before anything is counted."""
        return tuple(product(*self.values)) if len(self.values) == len(self.labels) else ()


@dataclass(frozen=True, slots=True)
class Histogram:
    """Something that is measured; `buckets` are upper bounds, and above the last one is another."""

    name: str
    says: str
    buckets: tuple[float, ...]
    labels: tuple[str, ...] = ()


class Tally:
    """
    What has grown since it was last taken. To be used from one thread: a lock for each count would cost more than it is.

    The values of labels must be few: ids of the catalogue, templates of routes, words of ours; never what a client made up.
    """

    def __init__(self) -> None:
        self._grown: dict[Series, list[float]] = {}

    def count(self, counter: Counter, *labels: str, by: float = 1.0) -> None:
        self._vector(counter, labels, 1)[0] += by

    def observe(self, histogram: Histogram, value: float, *labels: str) -> None:
        vector = self._vector(histogram, labels, len(histogram.buckets) + 2)
        vector[bisect_left(histogram.buckets, value)] += 1
        vector[-1] += value

    def take(self) -> Counts:
        """All of it; counting begins anew."""
        grown, self._grown = self._grown, {}
        return {series: tuple(vector) for series, vector in grown.items()}

    def _vector(self, metric: Counter | Histogram, labels: tuple[str, ...], width: int) -> list[float]:
        if len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name} has the labels {metric.labels}, and not {len(labels)}")
        return self._grown.setdefault((metric.name, labels), [0.0] * width)
