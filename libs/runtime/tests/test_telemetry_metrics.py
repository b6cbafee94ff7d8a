"""Metrics come from the registry of names and from nowhere else."""

import re
from pathlib import Path

import pytest

from parley_runtime.telemetry import metrics, names
from parley_runtime.telemetry.names import MetricName

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
UNITS = ("_seconds", "_bytes", "_factor")
FORBIDDEN_LABELS = {"session", "turn", "gateway", "worker", "process", "user", "tenant", "id", "key"}


@pytest.mark.parametrize("metric", names.metrics(), ids=lambda metric: metric.name)
def test_names_are_well_formed(metric: MetricName) -> None:
    assert re.fullmatch(r"parley_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.help.endswith(".")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert not FORBIDDEN_LABELS & set(metric.labels)
    if metric.kind == "histogram":
        assert metric.name.endswith(UNITS)


def test_names_are_unique() -> None:
    listed = [value for value in vars(names).values() if isinstance(value, MetricName)]
    assert len(listed) == len({metric.name for metric in listed}) == len(names.metrics())


def _sources() -> list[Path]:
    return [path for root in ("libs", "services") for path in (ROOT / root).glob("*/src/**/*.py")]


def test_every_use_goes_through_the_registry() -> None:
    registry = ROOT / "libs/runtime/src/parley_runtime/telemetry"
    used = 0
    for path in _sources():
        text = path.read_text(encoding="utf-8")
        if path.parent == registry:
            continue
        assert "prometheus_client" not in text, path
        calls = re.findall(r"metrics\.(?:counter|gauge|histogram)\(\s*([^)\s,]+)", text)
        used += len(calls)
        for name in calls:
            known = re.fullmatch(r"names\.([A-Z_]+)", name)
            assert known is None or isinstance(getattr(names, known[1]), MetricName), (path, name)
            assert not name.startswith(("'", '"', "f'", 'f"')), (path, name)
    assert used > 5


def test_collectors_are_made_once_and_counted() -> None:
    first = metrics.counter(names.RETRIES)
    assert metrics.counter(names.RETRIES) is first
    before = metrics.value(names.RETRIES, "generate", "0")
    first.labels("generate", "0").inc(2)
    assert metrics.value(names.RETRIES, "generate", "0") == before + 2
    assert 'parley_retries_total{rung="0",stage="generate"}' in metrics.render().decode()


def test_a_histogram_has_its_own_buckets() -> None:
    metrics.histogram(names.RETRIEVE_SECONDS).observe(0.003)
    text = metrics.render().decode()
    assert 'parley_retrieve_seconds_bucket{le="0.005"}' in text
    assert "_created" not in text


def test_the_wrong_kind_and_wrong_labels_are_refused() -> None:
    with pytest.raises(TypeError, match="counter, not a gauge"):
        metrics.gauge(names.WASTED)
    with pytest.raises(TypeError, match="not a histogram"):
        metrics.histogram(names.WASTED)
    with pytest.raises(TypeError, match="not a counter"):
        metrics.counter(names.SESSIONS)
    with pytest.raises(ValueError):
        metrics.counter(names.WASTED).labels("generate", "stopped", "extra")
    with pytest.raises(ValueError):
        metrics.counter(names.WASTED).labels(session="s")


def test_process_and_collector_figures_are_added_once() -> None:
    metrics.watch_process()
    metrics.watch_process()
    text = metrics.render().decode()
    assert text.count("# TYPE process_resident_memory_bytes") == 1
    assert text.count("# TYPE python_gc_collections_total") == 1
