"""Quantiles of the last few hundred measurements, for people who ask a process how it is doing right now."""

from collections import deque

KEPT = 512
"""Measurements that count."""


class Recent:
    """The last :data:`KEPT` measurements of one thing, in milliseconds."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._values: deque[float] = deque(maxlen=KEPT)

    def add(self, milliseconds: float) -> None:
        """One measurement."""
        self._values.append(milliseconds)

    def quantiles(self) -> dict[str, float]:
        """``<name>_p50`` and ``<name>_p99`` by nearest rank; empty before the first measurement."""
        ordered = sorted(self._values)
        if not ordered:
            return {}
        last = len(ordered) - 1
        return {f"{self._name}_p{q}": round(ordered[min(last, len(ordered) * q // 100)], 2) for q in (50, 99)}
