"""Token buckets, of messages of a socket and connections of an address; and sizes of messages."""

from collections import OrderedDict

MAX_ADDRESSES = 20_000
"""Addresses remembered; the one not seen for longest is forgotten, that is, given a full bucket."""


class Bucket:
    """``burst`` at once, ``rate`` per second (0: no bound)."""

    __slots__ = ("_at", "_rate", "_tokens", "burst")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self.burst = burst
        self._tokens = float(burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one more is within the rate."""
        if not self._rate:
            return True
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    @property
    def left(self) -> int:
        """How many more may come at once, as of the last one."""
        return int(self._tokens) if self._rate else self.burst

    def full_s(self) -> float:
        """Seconds until all of ``burst`` may come at once."""
        return (self.burst - self._tokens) / self._rate if self._rate else 0.0

    def wait_s(self) -> float:
        """Seconds until one more is within the rate."""
        return max(0.0, (1.0 - self._tokens) / self._rate) if self._rate else 0.0


class Addresses:
    """One bucket for each address, bounded in number."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, address: str, now: float) -> float:
        """0 where one more connection is within the rate, otherwise the seconds to wait."""
        if not self._rate:
            return 0.0
        bucket = self._buckets.get(address)
        if bucket is None:
            bucket = self._buckets[address] = Bucket(self._rate, self._burst, now)
            if len(self._buckets) > MAX_ADDRESSES:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(address)
        return 0.0 if bucket.take(now) else max(bucket.wait_s(), 0.001)


def exceeds(data: str | bytes, limit: int) -> bool:
    """Whether a message has more than so many bytes."""
    return len(data) > limit or (isinstance(data, str) and len(data) * 4 > limit and len(data.encode()) > limit)
