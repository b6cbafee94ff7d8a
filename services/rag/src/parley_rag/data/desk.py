"""The shell around measured data: reads and writes the store for questions and for what is brought in."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from parley_protocol.readings import MAX_USED, DropReadings, MetricData, PutReadings, RefusedReading
from parley_protocol.work import KnowledgeReply
from parley_rag.data import answer, comparing, facts, followup
from parley_rag.data.facts import Facts
from parley_rag.data.lexicon import load
from parley_rag.data.look import Look
from parley_rag.data.signs import Aggregate
from parley_rag.data.table import Reader, Table
from parley_rag.data.understanding import MAX_NAMED, DataQuestion, Given, given, may_ask, understand
from parley_runtime.config import setting
from parley_runtime.errors import Invalid
from parley_runtime.store.ports import Exchange
from parley_runtime.store.reading_ports import EVER, ReadingStore, Series, microseconds
from parley_runtime.telemetry import metrics, names
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

CHUNK = 1_000
"""Readings written by one transaction, so that claims and records get their turn at the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Measured data: how questions are read, and how much may be held."""

    timezone: str = setting(
        "PARLEY_TIMEZONE", "UTC", "Time zone of days in questions (昨天, yesterday) and of times that name none"
    )
    metrics: str = setting("PARLEY_METRICS", "", "TOML or JSON file that adds metrics and their names; empty: none")
    latest: int = setting(
        "PARLEY_LATEST_READINGS",
        20,
        "Readings that 最近 or latest stands for, where a list of readings is asked for",
        unit="readings",
        minimum=1,
        maximum=MAX_USED,
    )
    rows: int = setting(
        "PARLEY_READINGS_ROWS",
        50_000,
        "Readings taken by one request",
        unit="readings",
        minimum=1,
        maximum=1_000_000,
    )
    refusals: int = setting(
        "PARLEY_READINGS_REFUSALS",
        1_000,
        "Refused readings that an answer names; the others are counted",
        unit="readings",
        minimum=1,
        maximum=100_000,
    )
    series: int = setting(
        "PARLEY_MAX_SERIES",
        10_000,
        "Metrics of sensors (each metric of each sensor counts) that a tenant may hold",
        unit="series",
        minimum=1,
        maximum=1_000_000,
    )

    def __post_init__(self) -> None:
        zone_of(self.timezone)


def zone_of(name: str) -> tzinfo:
    """Raises ValueError that names the setting."""
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"PARLEY_TIMEZONE: {name!r} is no time zone; use a name like Asia/Shanghai") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is told, and the readings that it was made from."""

    text: str
    data: tuple[MetricData, ...] = field(default=())


class DataDesk:
    """Shared by questions and commands of one process. ``wall`` gives seconds since 1970."""

    def __init__(self, store: ReadingStore, settings: DataSettings, wall: Callable[[], float]) -> None:
        """Raises ConfigError where the file of metrics cannot be used."""
        self._store = store
        self._settings = settings
        self._wall = wall
        self._zone = zone_of(settings.timezone)
        self._lexicon = load(settings.metrics)
        self._reader = Reader(lexicon=self._lexicon, zone=self._zone, rows=settings.rows, refusals=settings.refusals)

    # --- questions --------------------------------------------------------------------------------------------

    async def answer(
        self, tenant: str, question: str, context: dict[str, Any] | None, history: Sequence[Exchange]
    ) -> Answer | None:
        """The answer, or None where ``question`` asks nothing of measured data.

        Raises:
            Invalid: it does, and ``context.time_range`` cannot be read.
            Unavailable: the store cannot be reached.
        """
        now = datetime.fromtimestamp(self._wall(), self._zone)
        beside, wrong = _beside(context, now)
        leading = followup.candidates(question, [exchange.question for exchange in history])
        if not may_ask(question, self._lexicon, beside) and not leading:
            return None
        series = await self._store.series(tenant, limit=self._settings.series)
        held = [(one.metric, one.sensor) for one in series]
        asked = understand(question, self._lexicon, now, held, beside)
        asked = asked or followup.understand_after(question, leading, self._lexicon, now, held, beside)
        if asked is None or not (asked.certain or {metric for metric, _ in held} & set(asked.metrics)):
            return None  # what may be meant for documents goes there, unless there are readings of it
        if not series and not asked.metrics:
            return None
        if wrong is not None:
            raise wrong
        found = await self._all_facts(tenant, asked, series)
        text = answer.compose(asked, found, self._lexicon, now)
        if asked.against is None:
            return Answer(text=text, data=tuple(facts.told(one) for one in found))
        other = comparing.other(asked)
        others = await self._all_facts(tenant, other, series)
        text = comparing.compose(text, (asked, found), (other, others), self._lexicon, now)
        return Answer(text=text, data=tuple(map(comparing.told, found, others)))

    async def _all_facts(self, tenant: str, asked: DataQuestion, series: Sequence[Series]) -> list[Facts]:
        return await asyncio.gather(*(self._facts(tenant, asked, metric, series) for metric in _wanted(asked, series)))

    async def _facts(self, tenant: str, asked: DataQuestion, metric: str, series: Sequence[Series]) -> Facts:
        of_metric = [one for one in series if one.metric == metric]
        mine = [one for one in of_metric if not asked.sensors or one.sensor in asked.sensors]
        if asked.unknown and asked.must:
            return Facts(metric=metric, sensors=tuple(one.sensor for one in of_metric))
        if not mine:
            return Facts(metric=metric)
        # All sensors are one query; some of them, one each.
        scope = ("",) if len(mine) == len(of_metric) else tuple(one.sensor for one in mine)
        look = Look(self._store, tenant, metric, scope)
        if asked.aggregates == (Aggregate.LATEST,) and asked.span is None and not asked.newest:
            return await look.newest_of_each(mine)
        if asked.span is not None:
            found = await look.within((microseconds(asked.span[0]), microseconds(asked.span[1])), asked, mine)
        elif asked.recent or asked.newest or (asked.listing and not asked.every):
            found = facts.of_all(metric, await look.newest(min(asked.newest or self._settings.latest, MAX_USED)))
        elif asked.aggregates == (Aggregate.TREND,):
            found = facts.of_all(metric, await look.newest(MAX_USED))
        else:
            found = await look.within(EVER, asked, mine)
        if not found.used:
            return replace(found, held_at=max(one.newest for one in mine))
        return replace(found, means=facts.means_of(found)) if len(asked.sensors) > 1 else found

    # --- commands ---------------------------------------------------------------------------------------------

    async def carry_out(self, command: PutReadings | DropReadings) -> KnowledgeReply:
        """Raises Invalid and Unavailable, as :meth:`put`."""
        return await (self.put(command) if isinstance(command, PutReadings) else self.drop(command))

    async def put(self, command: PutReadings) -> KnowledgeReply:
        """Store what can be stored; the same command again stores the same.

        Raises:
            Invalid: nothing of the body can be used.
            Unavailable: the store cannot be reached; a part may be stored.
        """
        table = await asyncio.to_thread(self._reader.read, command.data, command.media_type)
        await self._bound(command.tenant, table)
        if command.all_or_nothing and table.count:
            table.readings.clear()
        for start in range(0, len(table.readings), CHUNK):
            await self._store.put(command.tenant, table.readings[start : start + CHUNK])
        stored = len(table.readings)
        metrics.counter(names.READINGS).labels("stored").inc(stored)
        metrics.counter(names.READINGS).labels("refused").inc(table.count)
        log.info("readings stored", stored=stored, refused=table.count, bytes=len(command.data))
        return KnowledgeReply(stored=stored, refused=tuple(table.refused), refused_count=table.count)

    async def drop(self, command: DropReadings) -> KnowledgeReply:
        """Remove the readings of a metric."""
        removed = await self._store.drop(command.tenant, self._lexicon.name_of(command.metric), command.sensor)
        log.info("readings dropped", removed=removed)
        return KnowledgeReply(removed=removed)

    async def _bound(self, tenant: str, table: Table) -> None:
        """Refuse readings of new series beyond the bound; their line is not known any more, so the count tells."""
        wanted = dict.fromkeys((reading.metric, reading.sensor) for reading in table.readings)
        held = {(one.metric, one.sensor) for one in await self._store.series(tenant, limit=self._settings.series)}
        room = self._settings.series - len(held)
        new = [name for name in wanted if name not in held]
        if len(new) <= room:
            return
        over = set(new[max(0, room) :])
        kept = [reading for reading in table.readings if (reading.metric, reading.sensor) not in over]
        reason = f"this tenant holds {self._settings.series:,} series already (PARLEY_MAX_SERIES)"
        table.count += len(table.readings) - len(kept)
        table.refused.append(RefusedReading(0, f"{len(table.readings) - len(kept)} readings: {reason}"))
        table.readings = kept


def _beside(context: dict[str, Any] | None, now: datetime) -> tuple[Given, Invalid | None]:
    """A time range that cannot be read matters only to a question about data."""
    try:
        return given(context, now), None
    except Invalid as error:
        return given({**(context or {}), "time_range": None}, now), error


def _wanted(asked: DataQuestion, series: Sequence[Series]) -> list[str]:
    if asked.metrics:
        return list(asked.metrics)
    held = dict.fromkeys(one.metric for one in series if not asked.sensors or one.sensor in asked.sensors)
    return list(held)[:MAX_NAMED]
