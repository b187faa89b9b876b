"""The figures of the metrics as Prometheus reads them, kept for a while."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from vbm.catalog.totals import LIMITS
from vbm.clock import Clock, SystemClock
from vbm.services import metrics
from vbm.services.metric_names import METRICS
from vbm.services.metrics import Figures
from vbm.services.workspace import Workspace

_LONGEST_SECONDS: Final = 60.0
_COST: Final = 10  # of this much time one part is spent on making the text
_ENDS: Final = (*(f"{limit}.0" for limit in LIMITS), "+Inf")


class Scrapes:
    """Made anew once it is ten times as old as it took to make, a minute at most; by one thread at a time."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._text = b""
        self._good_until = float("-inf")

    def text(self, workspace: Workspace) -> bytes:
        """Whether who asks may see it is judged each time. Raises what ``metrics.gather`` does."""
        metrics.check_reader()
        with self._lock:
            begun = self._clock.monotonic()
            if begun >= self._good_until:
                self._text = exposition(metrics.gather(workspace))
                ended = self._clock.monotonic()
                self._good_until = ended + min(_LONGEST_SECONDS, _COST * (ended - begun))
            return self._text


def exposition(figures: Figures) -> bytes:
    """The text format 0.0.4, every metric with its HELP and TYPE, also those without a series."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(figures))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        for metric in METRICS:
            if metric.kind == "histogram":
                yield self._histogram(metric.name, metric.help, metric.labels)
                continue
            make = GaugeMetricFamily if metric.kind == "gauge" else CounterMetricFamily
            family = make(metric.name, metric.help, labels=metric.labels)
            for labels, value in self._figures.values.get(metric.name, ()):
                family.add_metric(labels, value)
            yield family

    def _histogram(self, name: str, documentation: str, labels: tuple[str, ...]) -> Metric:
        family = HistogramMetricFamily(name, documentation, labels=labels)
        for values, found in self._figures.histograms.get(name, ()):
            buckets = list(zip(_ENDS, found.counts, strict=True))
            family.add_metric(values, buckets=buckets, sum_value=found.total)
        return family
