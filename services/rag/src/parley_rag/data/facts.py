"""Figures of readings, as an answer states them. Pure: exact decimals, no rounding but of means."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal

from parley_protocol.readings import MAX_USED, MetricData
from parley_runtime.store.reading_ports import StoredReading

STEADY = Decimal("0.2")
"""A change of the mean from the first half to the second below this share of the range is none."""
MOST_DECIMALS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """One sensor's course: ``direction`` is 1, 0 or -1."""

    first: StoredReading
    last: StoredReading
    direction: int

    @property
    def change(self) -> str:
        """With its sign, in the readings' own digits."""
        change = Decimal(self.last.value) - Decimal(self.first.value)
        return f"{change:+f}" if change else f"{change:f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One metric. ``used``: readings, newest first, all of them or the newest 200; ``count``: all. Figures are of the
    most frequent unit; ``others`` readings have another one.
    """

    metric: str
    count: int = 0
    used: tuple[StoredReading, ...] = ()
    highest: StoredReading | None = None
    lowest: StoredReading | None = None
    mean: str = ""
    unit: str = ""
    others: int = 0
    oldest_at: int = 0
    trends: tuple[Trend, ...] = field(default=())
    means: tuple[tuple[str, str], ...] = ()
    """(sensor, mean) where several were asked for by name."""
    held_at: int | None = None
    """Time of the newest reading held, where none was found."""
    sensors: tuple[str, ...] = ()
    """Sensors that have readings of the metric, where the one asked for has none."""


def of_all(metric: str, readings: Sequence[StoredReading]) -> Facts:
    """Facts of readings that are all there are, newest first."""
    if not readings:
        return Facts(metric=metric)
    unit = main_unit(readings)
    same = [reading for reading in readings if reading.unit == unit]
    return Facts(
        metric=metric,
        count=len(readings),
        used=tuple(readings),
        highest=max(same, key=lambda reading: (reading.number, reading.at)),
        lowest=min(same, key=lambda reading: (reading.number, -reading.at)),
        mean=rounded(_mean(same), same),
        unit=unit,
        others=len(readings) - len(same),
        oldest_at=readings[-1].at,
        trends=tuple(trend for name in _sensors(same) if (trend := trend_of(_of(same, name))) is not None),
    )


def means_of(found: Facts) -> tuple[tuple[str, str], ...]:
    """The mean of each sensor; none where there is one sensor, or some readings are not at hand."""
    same = [reading for reading in found.used if reading.unit == found.unit]
    names = _sensors(same)
    if len(names) < 2 or found.count > len(found.used):
        return ()
    return tuple((name, rounded(_mean(_of(same, name)), same)) for name in names)


def _mean(readings: Sequence[StoredReading]) -> Decimal:
    return sum((Decimal(reading.value) for reading in readings), Decimal(0)) / len(readings)


def told(found: Facts) -> MetricData:
    """The readings used, as clients are told them."""
    return MetricData(
        metric=found.metric,
        readings=tuple(reading.told() for reading in found.used[:MAX_USED]),
        truncated=found.count > MAX_USED,
    )


def main_unit(readings: Sequence[StoredReading]) -> str:
    """The most frequent one; of equally frequent ones the newest reading's."""
    counts: dict[str, int] = {}
    for reading in readings:
        counts[reading.unit] = counts.get(reading.unit, 0) + 1
    return max(counts, key=lambda unit: counts[unit])


def rounded(mean: Decimal, readings: Sequence[StoredReading]) -> str:
    """A mean with one digit more than the readings have."""
    places = max((-int(Decimal(reading.value).as_tuple().exponent) for reading in readings), default=0)
    step = Decimal(1).scaleb(-min(max(places, 0) + 1, MOST_DECIMALS))
    return f"{mean.quantize(step, ROUND_HALF_UP):f}"


def trend_of(readings: Sequence[StoredReading]) -> Trend | None:
    """Of one sensor's readings, newest first; None where there are fewer than two."""
    if len(readings) < 2:
        return None
    first, last = readings[-1], readings[0]
    middle = (first.at + last.at) // 2
    early = [reading.number for reading in readings if reading.at <= middle]
    late = [reading.number for reading in readings if reading.at > middle]
    if not late:
        return None
    numbers = [reading.number for reading in readings]
    return Trend(
        first=first,
        last=last,
        direction=direction(sum(early) / len(early), sum(late) / len(late), min(numbers), max(numbers)),
    )


def direction(early: float, late: float, lowest: float, highest: float) -> int:
    """From the means of both halves: 1 rising, -1 falling, 0 about the same."""
    if highest == lowest or abs(late - early) < float(STEADY) * (highest - lowest):
        return 0
    return 1 if late > early else -1


def _sensors(readings: Sequence[StoredReading]) -> list[str]:
    return sorted({reading.sensor for reading in readings})


def _of(readings: Sequence[StoredReading], sensor: str) -> list[StoredReading]:
    return [reading for reading in readings if reading.sensor == sensor]


def age(newest_at: int, now_at: int) -> timedelta:
    """How old the newest reading is."""
    return timedelta(microseconds=max(0, now_at - newest_at))
