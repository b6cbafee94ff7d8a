"""The system's clock behind :class:`parley_runtime.ports.Clock`."""

import time


class SystemClock:
    """Implements ``ports.Clock``. Stateless; one may be shared by everything."""

    def monotonic(self) -> float:
        """Seconds; never goes back."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970, for figures and records only."""
        return time.time()
