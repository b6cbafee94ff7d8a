"""Measured data. See ``reading_ports.ReadingStore``.

``readings`` holds the measurements, ``series`` which metrics of which sensors there are, so that listing them reads no
measurement. Both are written in one transaction.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from parley_runtime.store.database import Database, ago, now, value
from parley_runtime.store.reading_ports import EVER, Order, Series, Stats, StoredReading
from parley_runtime.store.schema import readings as table
from parley_runtime.store.schema import series as series_table

_R = table.c
_S = series_table.c
_KEY = (_R.tenant, _R.metric, _R.sensor, _R.at)
_ANY_UNIT = "*"
"""In place of a unit: whatever it is. No unit is called so."""

_ORDERS: dict[Order, tuple[Any, ...]] = {
    "newest": (_R.at.desc(), _R.sensor),
    "oldest": (_R.at, _R.sensor),
    "highest": (_R.number.desc(), _R.at.desc(), _R.sensor),
    "lowest": (_R.number, _R.at.desc(), _R.sensor),
}


class ReadingTable:
    """Statements on readings and their series, compiled once per store."""

    def __init__(self, database: Database) -> None:
        self._db = database
        prepare, dialect = database.prepare, database.dialect
        upsert = sqlite.insert if dialect == "sqlite" else postgresql.insert
        self._put = prepare(_put(upsert, now(dialect)))
        self._put_series = prepare(_put_series(upsert, now(dialect)))
        self._series = prepare(
            sa.select(_S.metric, _S.sensor, _S.unit, _S.newest)
            .where(_S.tenant == value("tenant"))
            .order_by(_S.metric, _S.sensor)
            .limit(value("limit", sa.BigInteger()))
        )
        self._select = {
            (order, one): prepare(_select(one, *columns)) for order, columns in _ORDERS.items() for one in (True, False)
        }
        self._stats = {one: prepare(_stats(one)) for one in (True, False)}
        self._drop = {one: prepare(_drop(table, one)) for one in (True, False)}
        self._drop_series = {one: prepare(_drop(series_table, one)) for one in (True, False)}
        old = sa.select(*_KEY).where(_R.stored_at < ago(dialect, "age")).order_by(_R.stored_at)
        self._forget = prepare(
            sa.delete(table)
            .where(sa.tuple_(*_KEY).in_(old.limit(value("limit", sa.BigInteger()))))
            .returning(_R.tenant)
        )
        # One that is being written to meanwhile has a new ``stored_at`` by the time its row can be locked.
        empty = ~sa.exists().where(_R.tenant == _S.tenant, _R.metric == _S.metric, _R.sensor == _S.sensor)
        self._forget_series = prepare(sa.delete(series_table).where(_S.stored_at < ago(dialect, "age"), empty))

    async def put(self, tenant: str, readings: Sequence[StoredReading]) -> None:
        """See ``reading_ports.ReadingStore``."""
        rows: dict[tuple[str, str, int], StoredReading] = {}
        newest: dict[tuple[str, str], StoredReading] = {}
        for reading in readings:
            rows[reading.metric, reading.sensor, reading.at] = reading
            known = newest.get((reading.metric, reading.sensor))
            if known is None or reading.at >= known.at:
                newest[reading.metric, reading.sensor] = reading
        if not rows:
            return
        # In one order everywhere: two writers of the same rows wait for each other and never in a circle.
        values = [_values(tenant, rows[key]) for key in sorted(rows)]
        async with self._db.transaction() as transaction:
            await transaction.run_many(self._put_series, [_values(tenant, newest[key]) for key in sorted(newest)])
            await transaction.run_many(self._put, values)

    async def series(self, tenant: str, *, limit: int) -> list[Series]:
        """See ``reading_ports.ReadingStore``."""
        rows = await self._db.read(self._series, {"tenant": tenant, "limit": limit})
        return [Series(metric=metric, sensor=sensor, unit=unit, newest=newest) for metric, sensor, unit, newest in rows]

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
        """See ``reading_ports.ReadingStore``."""
        values = {
            **_where(tenant, metric, sensor, span),
            "unit": _ANY_UNIT if unit is None else unit,
            "limit": limit,
        }
        rows = await self._db.read(self._select[order, bool(sensor)], values)
        return [
            StoredReading(metric=metric, sensor=sensor, at=at, value=text, number=number, unit=unit)
            for sensor, at, text, number, unit in rows
        ]

    async def stats(self, tenant: str, metric: str, *, sensor: str = "", span: tuple[int, int] = EVER) -> list[Stats]:
        """See ``reading_ports.ReadingStore``."""
        rows = await self._db.read(self._stats[bool(sensor)], _where(tenant, metric, sensor, span))
        return [
            Stats(unit=unit, count=count, mean=float(mean), first=first, last=last)
            for unit, count, mean, first, last in rows
        ]

    async def drop(self, tenant: str, metric: str, sensor: str = "") -> int:
        """See ``reading_ports.ReadingStore``."""
        one, values = bool(sensor), {"tenant": tenant, "metric": metric, "sensor": sensor}
        async with self._db.transaction() as transaction:
            await transaction.run(self._drop_series[one], values)
            return len(await transaction.run(self._drop[one], values))

    async def forget(self, older_than_s: float, *, limit: int) -> int:
        """See ``reading_ports.ReadingStore``."""
        gone = len(await self._db.write(self._forget, {"age": older_than_s, "limit": limit}))
        if gone:
            await self._db.write(self._forget_series, {"age": older_than_s})
        return gone


def _values(tenant: str, reading: StoredReading) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "metric": reading.metric,
        "sensor": reading.sensor,
        "at": reading.at,
        "value": reading.value,
        "number": reading.number,
        "unit": reading.unit,
    }


def _where(tenant: str, metric: str, sensor: str, span: tuple[int, int]) -> dict[str, Any]:
    return {"tenant": tenant, "metric": metric, "sensor": sensor, "start": span[0], "end": span[1]}


def _put(upsert: Any, at: Any) -> Any:
    columns = {"value": value("value"), "number": value("number"), "unit": value("unit"), "stored_at": at}
    key = {"tenant": value("tenant"), "metric": value("metric"), "sensor": value("sensor"), "at": value("at")}
    return upsert(table).values({**key, **columns}).on_conflict_do_update(index_elements=_KEY, set_=columns)


def _put_series(upsert: Any, at: Any) -> Any:
    key = {"tenant": value("tenant"), "metric": value("metric"), "sensor": value("sensor")}
    insert = upsert(series_table).values({**key, "unit": value("unit"), "newest": value("at"), "stored_at": at})
    newer = insert.excluded.newest >= _S.newest
    return insert.on_conflict_do_update(
        index_elements=(_S.tenant, _S.metric, _S.sensor),
        set_={
            "unit": sa.case((newer, insert.excluded.unit), else_=_S.unit),
            "newest": sa.case((newer, insert.excluded.newest), else_=_S.newest),
            "stored_at": insert.excluded.stored_at,
        },
    )


def _within(one: bool) -> Any:
    conditions = [
        _R.tenant == value("tenant"),
        _R.metric == value("metric"),
        _R.at >= value("start", sa.BigInteger()),
        _R.at < value("end", sa.BigInteger()),
    ]
    return sa.and_(*conditions, *([_R.sensor == value("sensor")] if one else []))


def _select(one: bool, *order: Any) -> Any:
    unit = value("unit", sa.Text())
    return (
        sa.select(_R.sensor, _R.at, _R.value, _R.number, _R.unit)
        .where(_within(one), sa.or_(unit == sa.literal_column(f"'{_ANY_UNIT}'"), _R.unit == unit))
        .order_by(*order)
        .limit(value("limit", sa.BigInteger()))
    )


def _stats(one: bool) -> Any:
    count = sa.func.count()
    return (
        sa.select(_R.unit, count, sa.func.avg(_R.number), sa.func.min(_R.at), sa.func.max(_R.at))
        .where(_within(one))
        .group_by(_R.unit)
        .order_by(count.desc(), _R.unit)
    )


def _drop(of: sa.Table, one: bool) -> Any:
    conditions = [of.c.tenant == value("tenant"), of.c.metric == value("metric")]
    if one:
        conditions.append(of.c.sensor == value("sensor"))
    return sa.delete(of).where(*conditions).returning(of.c.sensor)
