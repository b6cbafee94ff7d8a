"""Two times compared: 今天的水温比昨天高吗. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from parley_protocol.readings import MetricData
from parley_rag.data import answer, facts
from parley_rag.data.facts import Facts, age
from parley_rag.data.lexicon import Lexicon
from parley_rag.data.signs import Aggregate
from parley_rag.data.understanding import DataQuestion

Side = tuple[DataQuestion, Sequence[Facts]]
"""What is asked of one of the times, and what was found."""


def other(asked: DataQuestion) -> DataQuestion:
    """The same question of the time that it is compared with."""
    assert asked.against is not None
    span, when = asked.against
    latest = asked.aggregates == (Aggregate.LATEST,)
    aggregates = (Aggregate.SUMMARY,) if latest else asked.aggregates
    return replace(asked, span=span, when=when, newest=0, recent=False, against=None, aggregates=aggregates)


def compose(text: str, asked: Side, against: Side, lexicon: Lexicon, now: datetime) -> str:
    """``text`` is the answer for the first time; the second's follows, then what differs."""
    parts = [text, answer.compose(*against, lexicon, now)]
    for one, two in zip(asked[1], against[1], strict=True):
        name = lexicon.called(one.metric, chinese=asked[0].chinese)
        if line := _difference(name, (asked[0], one), (against[0], two)):
            parts.append(line)
    return "\n\n".join(parts)


def told(one: Facts, two: Facts) -> MetricData:
    """The readings of both, newest first."""
    readings = {(reading.at, reading.sensor): reading for reading in (*one.used, *two.used)}
    used = tuple(sorted(readings.values(), key=lambda reading: reading.at, reverse=True))
    count = max(len(used), one.count, two.count)
    return facts.told(Facts(metric=one.metric, count=count, used=used))


def _difference(name: str, asked: tuple[DataQuestion, Facts], against: tuple[DataQuestion, Facts]) -> str:
    (question, one), (other, two) = asked, against
    first, second = _figure(question, one), _figure(other, two)
    if not first[0] or not second[0] or one.unit != two.unit:
        return ""
    change = Decimal(first[0]) - Decimal(second[0])
    speech = answer.Speech(question.chinese, other.span[0].tzinfo)  # type: ignore[index, arg-type]
    figures = [speech.value(text, one.unit) for text in (first[0], second[0], f"{abs(change):f}")]
    when = question.when if question.span else ""
    if question.chinese:
        way = "相同" if not change else f"{'高' if change > 0 else '低'} {figures[2]}"
        return f"比较：{when}{name}{first[1]} {figures[0]}，{other.when}{second[1]} {figures[1]}，{way}。"
    way = "the same" if not change else f"{figures[2]} {'higher' if change > 0 else 'lower'}"
    began = f"{when}, " if when else ""
    return f"Compared: {name}, {began}{first[2]} {figures[0]}; {other.when}, {second[2]} {figures[1]}: {way}."


def _figure(question: DataQuestion, found: Facts) -> tuple[str, str, str]:
    """The figure that stands for a time, and what it is in both languages; the first is empty where there is none."""
    if Aggregate.MAX in question.aggregates and found.highest is not None:
        return found.highest.value, "最高", "highest"
    if Aggregate.MIN in question.aggregates and found.lowest is not None:
        return found.lowest.value, "最低", "lowest"
    if question.span is None and question.aggregates == (Aggregate.LATEST,) and found.used:
        newest = max(reading.at for reading in found.used)
        fresh = [reading for reading in found.used if age(reading.at, newest) < answer.OLD]
        if len(fresh) == 1:
            return fresh[0].value, "最新", "latest"
        return facts.of_all(found.metric, fresh).mean, "各传感器最新读数平均", "mean of each sensor's latest"
    return found.mean, "平均", "mean"
