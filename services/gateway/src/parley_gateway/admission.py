"""When refused clients should come back: measured, bounded, spread. Pure: time and chance are arguments.

Turns end at some rate. If refused clients return at that rate, each finds the place that one of those ends made, so
every refusal is given the next slot of a line in which slots are one turn's end apart.
"""

import math
import random
from collections.abc import Callable

TAU_S = 15.0
"""Time constant of the rate: what ended that long ago counts 37 %."""
MEASURED = 3
"""Turns that must have ended before the rate is believed."""
WINDOW_S = 1.0
"""Shortest time over which a rate is told, so that a burst of ends is not taken for a rate."""
SMOOTH = 0.2
"""Weight of the latest turn in the average length of turns."""
JITTER = 0.25
"""Waits are lengthened at random by up to this part."""


class ServiceRate:
    """Turns ended per second, as an exponentially weighted average that is right from the start on: the first end only
    starts the clock, and the weights that the past could not yet fill are left out of the divisor.
    """

    __slots__ = ("_at", "_first", "_weight", "ended")

    def __init__(self) -> None:
        self.ended = 0
        self._weight = 0.0
        self._first = 0.0
        self._at = 0.0

    def add(self, now: float) -> None:
        """One turn has ended."""
        if not self.ended:
            self._first = self._at = now
        else:
            self._weight = self._faded(now) + 1.0
            self._at = max(self._at, now)
        self.ended += 1

    def per_second(self, now: float) -> float | None:
        """None before :data:`MEASURED` turns have ended."""
        if self.ended < MEASURED:
            return None
        seen_s = TAU_S * -math.expm1(-max(0.0, now - self._first) / TAU_S)
        return self._faded(now) / max(WINDOW_S, seen_s)

    def _faded(self, now: float) -> float:
        return self._weight * math.exp(-max(0.0, now - self._at) / TAU_S)


class Admission:
    """Retry times of one gateway, seconds. All of them lie within ``low_s`` and ``high_s``.

    ``unknown_s`` is what is told before anything has been measured.
    """

    def __init__(
        self, unknown_s: float, low_s: float, high_s: float, chance: Callable[[], float] = random.random
    ) -> None:
        self._unknown_s = unknown_s
        self._low_s = low_s
        self._high_s = max(low_s, high_s)
        self._chance = chance
        self._slot = 0.0
        self._turn_s = 0.0
        self.rate = ServiceRate()

    def ended(self, now: float, turn_s: float) -> None:
        """A turn has ended that took ``turn_s`` from its acceptance."""
        self._turn_s = turn_s if not self.rate.ended else self._turn_s + SMOOTH * (turn_s - self._turn_s)
        self.rate.add(now)

    def next_slot_s(self, now: float) -> float:
        """Until the place of one more turn is expected to be free. Each call takes a place of the line."""
        rate = self.rate.per_second(now)
        if rate is None:
            return self._bounded(self._unknown_s)
        apart = 1.0 / rate if rate > 1.0 / self._high_s else self._high_s
        self._slot = min(max(self._slot, now) + apart, now + self._high_s)
        return self._bounded(self._slot - now)

    def turn_s(self) -> float:
        """Until a session's own queue is expected to have moved on by one turn."""
        return self._bounded(self._turn_s if self.rate.ended else self._unknown_s)

    def unknown_s(self) -> float:
        """Where no rate can tell how long it takes, as with a broker that cannot be reached."""
        return self._bounded(self._unknown_s)

    def elsewhere_s(self) -> float:
        """Where another gateway can take it at once."""
        return self._bounded(0.0)

    def _bounded(self, wait_s: float) -> float:
        # The longest wait leaves room for chance too: of a long line those beyond it would all come back at once.
        wait_s = max(self._low_s, min(wait_s, self._high_s / (1.0 + JITTER)))
        return min(self._high_s, wait_s * (1.0 + JITTER * self._chance()))
