"""Waits that are spread."""

import pytest

from parley_runtime.jitter import spread

pytestmark = pytest.mark.unit


def test_waits_differ_by_a_quarter_at_most() -> None:
    waits = [spread(4.0) for _ in range(200)]
    assert min(waits) >= 3.0
    assert max(waits) <= 5.0
    assert len(set(waits)) > 100


def test_no_wait_stays_none() -> None:
    assert spread(0.0) == 0.0
