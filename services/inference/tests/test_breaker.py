"""When a failing server is left alone."""

import pytest

from parley_inference.breaker import HALF_OPEN_S, Breaker

pytestmark = pytest.mark.unit


def _open(now: float = 100.0, **values: float) -> Breaker:
    breaker = Breaker(2, **values)
    for _ in range(2):
        assert breaker.wait_s(now) == 0.0
        breaker.failed(now)
    return breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(2)
    breaker.failed(0.0)
    breaker.succeeded()
    breaker.failed(0.0)
    assert breaker.wait_s(0.0) == 0.0
    assert breaker.failures == 1
    breaker.failed(0.0)
    assert breaker.open


def test_one_request_tries_and_the_others_wait() -> None:
    breaker = _open(pause_s=1.0)
    assert breaker.wait_s(100.25) == 0.75
    assert breaker.wait_s(101.0) == 0.0
    assert breaker.wait_s(101.0) == HALF_OPEN_S
    breaker.succeeded()
    assert not breaker.open
    assert breaker.wait_s(101.0) == 0.0


def test_a_failed_trial_doubles_the_pause_up_to_the_bound() -> None:
    breaker = _open(pause_s=1.0, max_pause_s=3.0)
    now = 101.0
    for pause in (2.0, 3.0, 3.0):
        assert breaker.wait_s(now) == 0.0
        breaker.failed(now)
        assert breaker.wait_s(now) == pause
        now += pause


def test_the_server_s_wish_counts_within_the_bound() -> None:
    breaker = _open(pause_s=1.0, max_pause_s=10.0)
    breaker.failed(200.0, retry_after_s=7.0)
    assert breaker.wait_s(200.0) == 7.0
    breaker.failed(200.0, retry_after_s=7000.0)
    assert breaker.wait_s(200.0) == 10.0


def test_a_cancelled_trial_says_nothing() -> None:
    breaker = _open(pause_s=1.0)
    assert breaker.wait_s(101.0) == 0.0
    breaker.gave_up()
    assert breaker.open
    assert breaker.wait_s(101.0) == 0.0


def test_zero_never_opens() -> None:
    breaker = Breaker(0)
    for _ in range(100):
        breaker.failed(0.0)
    assert not breaker.open
    assert breaker.wait_s(0.0) == 0.0
