"""Exponential back-off with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015)."""

import random

_random = random.SystemRandom()

BASE_S = 0.2
CAP_S = 10.0
QUICK_CAP_S = 1.5
"""While the port refuses at once, asking is cheap, and consumers must be back within 2 s of the broker."""


def delay_s(failures: int, *, quick: bool) -> float:
    """Seconds to wait after ``failures`` (>= 1) failed attempts in a row."""
    cap = QUICK_CAP_S if quick else CAP_S
    return _random.uniform(0.0, min(cap, BASE_S * 2 ** min(failures - 1, 10)))
