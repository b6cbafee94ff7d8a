"""Prometheus collectors, made from the registry of names and from nothing else.

    counter(names.JOBS).labels("generate", "completed").inc()

One registry per process. A collector is made at its first use and is the same object ever after, so a hot path may
keep the labelled child.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from parley_runtime.telemetry.names import Kind, MetricName

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Media type of :func:`render`."""

# A second series for every counter, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no types

_registry = CollectorRegistry(auto_describe=True)
_counters: dict[str, Counter] = {}
_gauges: dict[str, Gauge] = {}
_histograms: dict[str, Histogram] = {}
_own_collectors: list[object] = []


def counter(metric: MetricName) -> Counter:
    """The counter of ``metric``; ``labels(...)`` takes exactly the labels its name declares.

    Raises:
        TypeError: ``metric`` is registered as another kind.
    """
    found = _counters.get(metric.name)
    if found is None:
        _check(metric, "counter")
        found = _counters[metric.name] = Counter(metric.name, metric.help, metric.labels, registry=_registry)
    return found


def gauge(metric: MetricName) -> Gauge:
    """The gauge of ``metric``. Raises TypeError as :func:`counter` does."""
    found = _gauges.get(metric.name)
    if found is None:
        _check(metric, "gauge")
        found = _gauges[metric.name] = Gauge(metric.name, metric.help, metric.labels, registry=_registry)
    return found


def histogram(metric: MetricName) -> Histogram:
    """The histogram of ``metric``, with its own buckets. Raises TypeError as :func:`counter` does."""
    found = _histograms.get(metric.name)
    if found is None:
        _check(metric, "histogram")
        found = _histograms[metric.name] = Histogram(
            metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=_registry
        )
    return found


def watch_process() -> None:
    """Add memory, CPU, file descriptors and garbage collection of this process. Idempotent."""
    if not _own_collectors:
        _own_collectors.extend((ProcessCollector(registry=_registry), GCCollector(registry=_registry)))


def render() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(_registry)


def value(metric: MetricName, *labels: str, suffix: str = "") -> float:
    """The present value (0.0 where nothing was counted); ``suffix`` is ``_count`` or ``_sum`` for a histogram."""
    given = dict(zip(metric.labels, labels, strict=True))
    return _registry.get_sample_value(metric.name + suffix, given) or 0.0


def _check(metric: MetricName, kind: Kind) -> None:
    if metric.kind != kind:
        raise TypeError(f"{metric.name} is registered as a {metric.kind}, not a {kind}")
