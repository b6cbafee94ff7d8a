"""What a process says of its last measurements."""

import pytest

from parley_runtime.telemetry.recent import KEPT, Recent

pytestmark = pytest.mark.unit


def test_nothing_is_said_before_the_first_measurement() -> None:
    assert Recent("turn").quantiles() == {}


def test_quantiles_are_measured_values() -> None:
    recent = Recent("turn")
    for value in range(1, 101):
        recent.add(float(value))
    assert recent.quantiles() == {"turn_p50": 51.0, "turn_p99": 100.0}


def test_old_measurements_are_forgotten() -> None:
    recent = Recent("turn")
    recent.add(1e9)
    for _ in range(KEPT):
        recent.add(2.0)
    assert recent.quantiles() == {"turn_p50": 2.0, "turn_p99": 2.0}
