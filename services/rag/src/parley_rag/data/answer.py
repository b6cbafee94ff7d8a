"""The answer in words: figures as stored, units, names, times. Pure; the same facts give the same text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from parley_rag.data.facts import Facts, Trend, age
from parley_rag.data.lexicon import Lexicon
from parley_rag.data.signs import Aggregate
from parley_rag.data.understanding import DataQuestion
from parley_runtime.store.reading_ports import StoredReading, microseconds, moment

OLD = timedelta(hours=24)
"""Newest readings that are older are said to be."""
MOST_SENSORS = 10
"""Sensors named one by one."""
MOST_TRENDS = 5


@dataclass(frozen=True, slots=True)
class Speech:
    """The words of one language."""

    chinese: bool
    zone: tzinfo

    def pick(self, zh: str, en: str) -> str:
        """The one of this language."""
        return zh if self.chinese else en

    def value(self, text: str, unit: str) -> str:
        """A figure with its unit."""
        close = not unit or (self.chinese and unit[0] in "℃℉°%％") or unit[0] in "%％"
        return f"{text}{unit}" if close else f"{text} {unit}"

    def reading(self, reading: StoredReading) -> str:
        """``23.50℃（pond-1，2026-01-31 08:00）``."""
        figure = self.value(reading.value, reading.unit)
        return self.pick(
            f"{figure}（{reading.sensor}，{self.time(reading.at)}）",
            f"{figure} ({reading.sensor}, {self.time(reading.at)})",
        )

    def time(self, at: int) -> str:
        """In the installation's time zone, without its name; seconds only where there are some."""
        local = moment(at).astimezone(self.zone)
        return f"{local:%Y-%m-%d %H:%M}" + (f":{local:%S}" if local.second else "")

    def zone_name(self, at: int) -> str:
        """``UTC`` or ``UTC+08:00``."""
        offset = moment(at).astimezone(self.zone).strftime("%z")
        return "UTC" if offset in ("+0000", "") else f"UTC{offset[:3]}:{offset[3:5]}"

    def period(self, first: int, last: int) -> str:
        """From one time to another, the zone named once."""
        ends = [self.time(first)] if first == last else [self.time(first), self.time(last)]
        return f"{self.pick(' 至 ', ' to ').join(ends)} {self.zone_name(last)}"


def compose(question: DataQuestion, facts: Sequence[Facts], lexicon: Lexicon, now: datetime) -> str:
    """The whole answer, one paragraph for each metric."""
    speech = Speech(question.chinese, now.tzinfo or now.astimezone().tzinfo)  # type: ignore[arg-type]
    if not facts:
        return speech.pick(
            "还没有任何读数。请先导入：parley readings import 文件",
            "There are no readings yet. Add some: parley readings import FILE",
        )
    parts = [_metric(question, one, lexicon.called(one.metric, chinese=question.chinese), speech, now) for one in facts]
    if question.unknown and not question.must and any(one.used for one in facts):
        parts.insert(0, _elsewhere(question, speech))
    return "\n\n".join(parts)


def _elsewhere(question: DataQuestion, speech: Speech) -> str:
    return speech.pick(
        f"没有名为“{question.unknown}”的传感器或地点，以下是全部传感器的读数。",
        f'No sensor or place is called "{question.unknown}"; these are the readings of all sensors.',
    )


def _metric(question: DataQuestion, facts: Facts, name: str, speech: Speech, now: datetime) -> str:
    if not facts.used:
        return _nothing(question, facts, name, speech)
    if question.aggregates == (Aggregate.LATEST,) and question.span is None:
        text = _latest(facts, name, speech)
    else:
        text = _figures(question, facts, name, speech)
    return text + (_old(facts, speech, now) if question.span is None else "")


def _nothing(question: DataQuestion, facts: Facts, name: str, speech: Speech) -> str:
    if question.unknown and question.must:
        who = speech.pick(
            f"传感器“{question.unknown}”没有{name}读数。", f'Sensor "{question.unknown}" has no {name} readings.'
        )
        if not facts.sensors:
            return who
        listed = speech.pick("、", ", ").join(facts.sensors[:MOST_SENSORS])
        return who + speech.pick(f"有{name}读数的传感器：{listed}。", f" Sensors that have some: {listed}.")
    when = _when(question)
    text = speech.pick(f"{when}没有{name}读数。", f"There are no {name} readings{f' ({when})' if when else ''}.")
    if facts.held_at is None:
        return text + speech.pick("可用 parley readings import 导入。", " Add some: parley readings import FILE")
    newest = f"{speech.time(facts.held_at)} {speech.zone_name(facts.held_at)}"
    return text + speech.pick(f"最新一条{name}读数来自 {newest}。", f" The newest {name} reading is from {newest}.")


def _when(question: DataQuestion) -> str:
    """The user's own words for a span; nothing for the newest."""
    return question.when.strip(" ,，") if question.span is not None else ""


def _latest(facts: Facts, name: str, speech: Speech) -> str:
    shown = speech.pick("；", "; ").join(speech.reading(reading) for reading in facts.used[:MOST_SENSORS])
    more = len(facts.used) - MOST_SENSORS
    rest = speech.pick(f"；另有 {more} 个传感器", f"; and {more} more sensors") if more > 0 else ""
    zone = speech.zone_name(facts.used[0].at)
    head = speech.pick(f"{name}最新读数", f"Latest {name}")
    return speech.pick(f"{head}（{zone}）：{shown}{rest}。", f"{head} ({zone}): {shown}{rest}.")


def _figures(question: DataQuestion, facts: Facts, name: str, speech: Speech) -> str:
    when, newest = _when(question), facts.used[0]
    period = speech.period(facts.oldest_at, newest.at)
    count = speech.pick(f"{facts.count} 条读数", "1 reading" if facts.count == 1 else f"{facts.count} readings")
    if question.chinese:
        gap = " " if when and when[-1].isascii() else ""
        head = f"{when}{gap}{name}（{count}，{period}）："
    else:
        title = name[:1].upper() + name[1:] if not name.startswith("pH") else name
        head = f"{title}{f', {when}' if when else ''} ({count}, {period}): "
    parts = [part for aggregate in _told(question) for part in _SAY[aggregate](facts, speech)]
    end = speech.pick("。", ".")
    text = head + speech.pick("；", "; ").join(parts or [speech.reading(newest)]) + end
    if facts.others:
        text += speech.pick(
            f"另有 {facts.others} 条读数单位不同，未计入。",
            f" {facts.others} more readings have another unit and are left out.",
        )
    return text


def _told(question: DataQuestion) -> tuple[Aggregate, ...]:
    if question.aggregates == (Aggregate.LATEST,) or Aggregate.SUMMARY in question.aggregates:
        return (Aggregate.LATEST, Aggregate.MAX, Aggregate.MIN, Aggregate.MEAN)
    return question.aggregates


def _say_latest(facts: Facts, speech: Speech) -> list[str]:
    return [speech.pick("最新 ", "latest ") + speech.reading(facts.used[0])]


def _say_max(facts: Facts, speech: Speech) -> list[str]:
    return [speech.pick("最高 ", "highest ") + speech.reading(facts.highest)] if facts.highest else []


def _say_min(facts: Facts, speech: Speech) -> list[str]:
    return [speech.pick("最低 ", "lowest ") + speech.reading(facts.lowest)] if facts.lowest else []


def _say_mean(facts: Facts, speech: Speech) -> list[str]:
    each = speech.pick("，", ", ").join(f"{name} {speech.value(mean, facts.unit)}" for name, mean in facts.means)
    apart = speech.pick(f"（{each}）", f" ({each})") if each else ""
    return [speech.pick("平均 ", "mean ") + speech.value(facts.mean, facts.unit) + apart]


def _say_count(facts: Facts, speech: Speech) -> list[str]:
    return [speech.pick(f"共 {facts.count} 条读数", f"{facts.count} readings in all")]


def _say_trend(facts: Facts, speech: Speech) -> list[str]:
    if not facts.trends:
        return [speech.pick("读数太少，看不出趋势", "too few readings for a trend")]
    parts = [_trend(trend, speech) for trend in facts.trends[:MOST_TRENDS]]
    if len(facts.trends) > MOST_TRENDS:
        more = len(facts.trends) - MOST_TRENDS
        parts.append(speech.pick(f"另有 {more} 个传感器", f"and {more} more sensors"))
    return parts


def _trend(trend: Trend, speech: Speech) -> str:
    zh, en = {1: ("呈上升趋势", "rising"), -1: ("呈下降趋势", "falling"), 0: ("基本平稳", "about steady")}[
        trend.direction
    ]
    first, last = (speech.value(end.value, end.unit) for end in (trend.first, trend.last))
    change = speech.value(trend.change, trend.last.unit)
    times = speech.time(trend.first.at), speech.time(trend.last.at)
    return speech.pick(
        f"{trend.last.sensor} {zh}：从 {first}（{times[0]}）到 {last}（{times[1]}），变化 {change}",
        f"{trend.last.sensor} {en}: from {first} ({times[0]}) to {last} ({times[1]}), a change of {change}",
    )


def _old(facts: Facts, speech: Speech, now: datetime) -> str:
    newest = max(reading.at for reading in facts.used)
    old = age(newest, microseconds(now))
    if old < OLD:
        return ""
    day = speech.time(newest)[:10]
    return speech.pick(
        f"注意：最新的读数来自 {day}，已是 {old.days} 天前。",
        f" Note: the newest reading is from {day}, {old.days} {'day' if old.days == 1 else 'days'} ago.",
    )


_SAY: dict[Aggregate, Callable[[Facts, Speech], list[str]]] = {
    Aggregate.LATEST: _say_latest,
    Aggregate.MAX: _say_max,
    Aggregate.MIN: _say_min,
    Aggregate.MEAN: _say_mean,
    Aggregate.COUNT: _say_count,
    Aggregate.TREND: _say_trend,
}
