"""Delays between attempts to come back: exponential with full jitter (AWS Architecture Blog, 2015)."""

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """``next`` draws uniformly between ``least_s`` and a ceiling that doubles from ``first_s`` up to ``most_s``."""

    first_s: float = 0.2
    most_s: float = 10.0
    least_s: float = 0.02
    rng: random.Random = field(default_factory=random.Random)
    _attempt: int = 0

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        ceiling = min(self.most_s, self.first_s * 2 ** min(self._attempt, 30))
        self._attempt += 1
        return max(self.least_s, self.rng.uniform(0, ceiling))

    def reset(self) -> None:
        """Call after a success."""
        self._attempt = 0
