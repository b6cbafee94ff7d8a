"""Reads of one metric for one answer."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from parley_protocol.readings import MAX_USED
from parley_rag.data import answer, facts
from parley_rag.data.facts import Facts, Trend
from parley_rag.data.signs import Aggregate
from parley_rag.data.understanding import DataQuestion
from parley_runtime.store.reading_ports import EVER, Order, ReadingStore, Series, Stats, StoredReading

MOST_LATEST = 50
"""Sensors whose newest readings are looked up for one answer."""


class Look:
    """Reads of one metric. ``scope``: sensors, or one empty name for all."""

    def __init__(self, store: ReadingStore, tenant: str, metric: str, scope: tuple[str, ...]) -> None:
        self._store = store
        self._tenant = tenant
        self._metric = metric
        self._scope = scope

    async def newest(self, limit: int, span: tuple[int, int] = EVER) -> list[StoredReading]:
        """Newest first."""
        parts = [
            await self._store.select(self._tenant, self._metric, sensor=sensor, span=span, limit=limit)
            for sensor in self._scope
        ]
        merged = sorted((reading for part in parts for reading in part), key=lambda reading: -reading.at)
        return merged[:limit]

    async def newest_of_each(self, series: Sequence[Series]) -> Facts:
        """One reading of each sensor, newest first."""
        latest = sorted(series, key=lambda one: -one.newest)[:MOST_LATEST]
        found = [
            reading
            for one in latest
            for reading in await self._store.select(self._tenant, self._metric, sensor=one.sensor, limit=1)
        ]
        return facts.of_all(self._metric, found)

    async def within(self, span: tuple[int, int], asked: DataQuestion, series: Sequence[Series]) -> Facts:
        """Everything of a span: from the readings themselves where they are few, else from the store's figures."""
        readings = await self.newest(MAX_USED + 1, span)
        if len(readings) <= MAX_USED:
            return facts.of_all(self._metric, readings)
        stats = [
            one
            for sensor in self._scope
            for one in await self._store.stats(self._tenant, self._metric, sensor=sensor, span=span)
        ]
        units: dict[str, int] = {}
        for one in stats:
            units[one.unit] = units.get(one.unit, 0) + one.count
        unit = max(units, key=lambda name: units[name])
        same = [one for one in stats if one.unit == unit]
        trends = await self._trends(span, series) if Aggregate.TREND in asked.aggregates else ()
        return Facts(
            metric=self._metric,
            count=sum(units.values()),
            used=tuple(readings[:MAX_USED]),
            highest=await self._extreme(span, unit, highest=True),
            lowest=await self._extreme(span, unit, highest=False),
            mean=facts.rounded(_mean(same), [reading for reading in readings if reading.unit == unit]),
            unit=unit,
            others=sum(units.values()) - units[unit],
            oldest_at=min(one.first for one in stats),
            trends=trends,
        )

    async def _extreme(self, span: tuple[int, int], unit: str, *, highest: bool) -> StoredReading:
        order: Order = "highest" if highest else "lowest"
        found = [
            reading
            for sensor in self._scope
            for reading in await self._store.select(
                self._tenant, self._metric, sensor=sensor, span=span, unit=unit, order=order, limit=1
            )
        ]
        sign = 1 if highest else -1
        return max(found, key=lambda reading: (sign * reading.number, reading.at))

    async def _trends(self, span: tuple[int, int], series: Sequence[Series]) -> tuple[Trend, ...]:
        found = [await self._trend(span, one.sensor) for one in series[: answer.MOST_TRENDS]]
        return tuple(one for one in found if one is not None)

    async def _trend(self, span: tuple[int, int], sensor: str) -> Trend | None:
        select, stats = self._store.select, self._store.stats
        where: dict[str, Any] = {"sensor": sensor, "span": span, "limit": 1}
        orders: tuple[Order, ...] = ("oldest", "newest", "lowest", "highest")
        ends = [
            reading for order in orders for reading in await select(self._tenant, self._metric, order=order, **where)
        ]
        if len(ends) < 4 or ends[0].at == ends[1].at:
            return None
        first, last, lowest, highest = ends
        middle = (first.at + last.at) // 2 + 1
        early = await stats(self._tenant, self._metric, sensor=sensor, span=(span[0], middle))
        late = await stats(self._tenant, self._metric, sensor=sensor, span=(middle, span[1]))
        if not early or not late:
            return None
        way = facts.direction(early[0].mean, late[0].mean, lowest.number, highest.number)
        return Trend(first=first, last=last, direction=way)


def _mean(stats: Sequence[Stats]) -> Decimal:
    count = sum(one.count for one in stats)
    return sum((Decimal(one.mean) * one.count for one in stats), Decimal(0)) / count
