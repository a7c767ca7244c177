"""Counts and gauges as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from serve_app.telemetry.metrics import ASKED, COUNTED, Gauge
from serve_app.telemetry.tally import Counter, Counts, Histogram

__all__ = ["CONTENT_TYPE", "Readings", "exposition"]

Readings = Mapping[Gauge, Mapping[tuple[str, ...], float]]
"""Of each gauge: the values of its labels → what it shows."""


def exposition(counts: Counts | None, readings: Readings) -> bytes:
    """
    The text format; every metric that there is has at least its help text.

    Series of metrics that this version does not know, or knows in another shape, are left out.

    Args:
        counts: None while nobody said them. Shown as zeros, they would seem to grow by all that ever was.
    """
    registry = CollectorRegistry()
    registry.register(_Once([*_counted(counts), *_asked(readings)]))
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _counted(counts: Counts | None) -> Iterator[Metric]:
    known = {} if counts is None else {**_zeros(), **counts}
    for metric in COUNTED:
        its = sorted((labels, vector) for (name, labels), vector in known.items() if name == metric.name)
        yield _counter(metric, its) if isinstance(metric, Counter) else _histogram(metric, its)


def _zeros() -> Counts:
    """What has not happened yet: `increase()` of a series whose first sample is 3 is 0, and of one that begins here is 3."""
    return {
        (metric.name, labels): (0.0,) for metric in COUNTED if isinstance(metric, Counter) for labels in metric.known
    }


def _counter(counter: Counter, series: list[tuple[tuple[str, ...], tuple[float, ...]]]) -> Metric:
    family = CounterMetricFamily(counter.name, counter.says, labels=counter.labels)
    for labels, vector in series:
        family.add_metric(labels, vector[0])
    return family


def _histogram(histogram: Histogram, series: list[tuple[tuple[str, ...], tuple[float, ...]]]) -> Metric:
    family = HistogramMetricFamily(histogram.name, histogram.says, labels=histogram.labels)
    bounds = [*map(floatToGoString, histogram.buckets), "+Inf"]
    for labels, vector in series:
        if len(vector) == len(bounds) + 1:
            family.add_metric(labels, list(zip(bounds, accumulate(vector[:-1]), strict=True)), vector[-1])
    return family


def _asked(readings: Readings) -> Iterator[Metric]:
    for gauge in ASKED:
        family = GaugeMetricFamily(gauge.name, gauge.says, labels=gauge.labels)
        for labels, value in readings.get(gauge, {}).items():
            family.add_metric(labels, value)
        yield family
