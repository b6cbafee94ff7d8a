"""What Parley asks of its store for measured data. Isolation: every read and write names its tenant."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

import msgspec

from parley_protocol.readings import Reading

Order = Literal["newest", "oldest", "highest", "lowest"]
"""Which readings come first; of equal values the newest."""

EVER = (-(2**62), 2**62)
"""The span that holds every reading."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StoredReading(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement. ``at``: microseconds since 1970 in UTC; ``value`` is the text that was given, and ``number``
    what it is compared and averaged by.
    """

    metric: str
    sensor: str
    at: int
    value: str
    number: float
    unit: str = ""

    def told(self) -> Reading:
        """As it is told to clients."""
        return Reading(timestamp=stamp(self.at), value=self.value, unit=self.unit, sensor=self.sensor)


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one sensor. ``newest`` is the time of its newest reading, ``unit`` that reading's."""

    metric: str
    sensor: str
    unit: str
    newest: int


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Readings of one unit: how many, their mean, the times of the first and the last one."""

    unit: str
    count: int
    mean: float
    first: int
    last: int


class ReadingStore(Protocol):
    """Time series. Every method raises Unavailable when the store cannot be reached."""

    async def put(self, tenant: str, readings: Sequence[StoredReading]) -> None:
        """Store them, in one transaction. The same metric, sensor and time replaces; the last one given counts."""
        ...

    async def series(self, tenant: str, *, limit: int) -> list[Series]:
        """What is held, by metric and sensor."""
        ...

    async def select(
        self,
        tenant: str,
        metric: str,
        *,
        sensor: str = "",
        span: tuple[int, int] = EVER,
        unit: str | None = None,
        order: Order = "newest",
        limit: int,
    ) -> list[StoredReading]:
        """Readings with span[0] <= at < span[1]; ``sensor`` empty: of all sensors; ``unit`` None: of all units."""
        ...

    async def stats(self, tenant: str, metric: str, *, sensor: str = "", span: tuple[int, int] = EVER) -> list[Stats]:
        """One entry for each unit, the most frequent first; empty where there are no readings."""
        ...

    async def drop(self, tenant: str, metric: str, sensor: str = "") -> int:
        """Remove the readings of one sensor, or of all where ``sensor`` is empty; returns how many."""
        ...

    async def forget(self, older_than_s: float, *, limit: int) -> int:
        """Remove readings stored more than ``older_than_s`` ago, by the store's clock, ``limit`` at most, whatever time
        they are of; returns how many.
        """
        ...


def stamp(at: int) -> str:
    """RFC 3339 in UTC: ``2026-01-02T03:04:05+00:00``, with a fraction where there is one."""
    return (_EPOCH + timedelta(microseconds=at)).isoformat()


def microseconds(moment: datetime) -> int:
    """``at`` of an aware time."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(at: int) -> datetime:
    """The time of ``at``, in UTC."""
    return _EPOCH + timedelta(microseconds=at)
