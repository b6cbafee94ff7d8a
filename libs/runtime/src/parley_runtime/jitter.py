"""Waits that are not all the same, so that processes which met the same trouble do not try again at the same moment."""

import random

SPREAD = 0.25


def spread(seconds: float) -> float:
    """``seconds``, shortened or lengthened at random by up to a quarter."""
    return seconds * random.uniform(1.0 - SPREAD, 1.0 + SPREAD)  # noqa: S311 - spreads load, no secret
