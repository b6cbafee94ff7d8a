"""Leaves a failing server alone for a while, then tries it with one request."""

HALF_OPEN_S = 0.1
"""Seconds between looks while another request is trying the server."""


class Breaker:
    """Pure: the caller says what time it is (seconds, monotonic).

    Closed: everything passes. After ``threshold`` failures in a row it is open for ``pause_s``, doubled at each further
    failure up to ``max_pause_s``, or as long as the server itself asks, within the same bound. After that one request
    may pass; its success closes the breaker, its failure opens it again. ``threshold`` 0: always closed.
    """

    def __init__(self, threshold: int, *, pause_s: float = 1.0, max_pause_s: float = 30.0) -> None:
        self._threshold = threshold
        self._pause_s = pause_s
        self._max_pause_s = max_pause_s
        self._failures = 0
        self._until = 0.0
        self._trying = False

    @property
    def open(self) -> bool:
        """Whether the last ``threshold`` requests all failed."""
        return 0 < self._threshold <= self._failures

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures

    def wait_s(self, now: float) -> float:
        """Seconds to wait before asking again; 0: go on, and report back with exactly one of the methods below."""
        if not self.open:
            return 0.0
        if now < self._until:
            return self._until - now
        if self._trying:
            return HALF_OPEN_S
        self._trying = True
        return 0.0

    def succeeded(self) -> None:
        """The server answered."""
        self._failures = 0
        self._trying = False

    def failed(self, now: float, retry_after_s: float = 0.0) -> None:
        """The server failed; ``retry_after_s`` is its own wish."""
        self._failures += 1
        self._trying = False
        if self.open:
            pause = self._pause_s * 2.0 ** min(10, self._failures - self._threshold)
            self._until = now + min(self._max_pause_s, max(pause, retry_after_s))

    def gave_up(self) -> None:
        """The request was cancelled and says nothing about the server."""
        self._trying = False
