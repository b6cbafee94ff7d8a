"""Times as people write them, in Chinese and English: to spans of time. Pure: ``now`` and its time zone are given.

A span begins with its start and ends before its end. Weeks begin on Monday. A day is the day of the time zone, so one
with a change of the clock has 23 or 25 hours.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from parley_rag.data.calendar_words import (
    AGO,
    BETWEEN,
    CALENDAR,
    DAY,
    DAYS_BACK,
    DIGITS,
    FROM_AFTER,
    FROM_BEFORE,
    LAST_N,
    LATEST,
    MONTHS,
    ON,
    PART,
    PAST,
    TIME_OF_DAY,
    WEEKDAYS,
    WEEKDAYS_EN,
    WORDS,
)

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class When:
    """A time named in a text. ``span`` None: the newest readings held, ``newest`` of them (0: not said how many)."""

    text: str
    start: int
    end: int
    span: Span | None
    newest: int = 0


def number_of(text: str) -> int:
    """``两`` is 2, ``十二`` is 12, ``a`` is 1; 0 where it is no number."""
    text = text.lower()
    if text.isdecimal():
        return int(text)
    if text in WORDS:
        return WORDS[text]
    text = text.replace("两", "二")
    total, digit = 0, 0
    for char in text:
        if char in "十百":
            total += (digit or 1) * (10 if char == "十" else 100)
            digit = 0
        elif char in DIGITS:
            digit = DIGITS.index(char)
        else:
            return 0
    return total + digit


def find(text: str, now: datetime) -> When | None:
    """The time that ``text`` names, or None. ``now`` is aware; its zone is that of days. Never raises."""
    for pattern, read in _READERS:
        for match in pattern.finditer(text):
            try:
                found = read(match, now)
            except (ValueError, OverflowError):
                continue
            if found is not None:
                return _from(text, When(match.group().strip(), *match.span(), *found), now)
    return None


def _from(text: str, when: When, now: datetime) -> When:
    """``since Monday``, ``11月1日至今``: from there until now."""
    before, after = FROM_BEFORE.search(text[: when.start]), FROM_AFTER.match(text, when.end)
    since = after or (before is not None and before.group().lower().startswith(("since", "自")))
    if not since or when.span is None or when.span[0] >= now:
        return when
    start, end = before.start() if before else when.start, after.end() if after else when.end
    return When(text[start:end].strip(), start, end, (when.span[0], now))


Read = Callable[[re.Match[str], datetime], tuple[Span | None, int] | None]


def _midnight(day: date, now: datetime) -> datetime:
    return datetime.combine(day, time(), now.tzinfo)


def day_span(day: date, now: datetime, hours: tuple[int, int] = (0, 24)) -> Span:
    """From one hour of ``day`` to another; hours from 24 on are the next day's."""
    first, last = (_at(day, hour, now) for hour in hours)
    return first, last


def _at(day: date, hour: int, now: datetime) -> datetime:
    return datetime.combine(day + timedelta(days=hour // 24), time(hour % 24), now.tzinfo)


def _point(match: re.Match[str], prefix: str, now: datetime) -> Span | None:
    """The span that one end of a range names: a minute, a day, a month or a year."""
    groups = {name[1:]: text for name, text in match.groupdict().items() if name.startswith(prefix) and text}
    if near := groups.get("near", "").lower():
        if near in ("现在", "此刻", "目前", "now"):
            return now, now
        return day_span(now.date() - timedelta(days=DAYS_BACK[near]), now)
    day, whole = _calendar_day(groups, now)
    if day is None:
        return None
    if "hh" not in groups:
        return _midnight(day, now), _midnight(_after(day, whole), now)
    hour = int(groups["hh"])
    if groups.get("part") in ("下午", "晚上") and hour < 12:
        hour += 12
    minute = int(groups.get("mi") or groups.get("zmi") or 0)
    second = int(groups.get("ss") or 0)
    start = datetime.combine(day, time(hour % 24 if hour == 24 else hour, minute, second), now.tzinfo)
    if "utc" in groups:
        start = start.replace(tzinfo=UTC)
    start += timedelta(days=hour == 24)
    width = timedelta(seconds=1) if "ss" in groups else timedelta(minutes=1)
    return start, start + (width if "mi" in groups or "zmi" in groups else timedelta(hours=1))


def _calendar_day(groups: dict[str, str], now: datetime) -> tuple[date | None, str]:
    """A day and how much of the calendar was named: ``day``, ``month`` or ``year``."""
    year = groups.get("y") or groups.get("ey") or groups.get("fy") or groups.get("gy")
    named = groups.get("em") or groups.get("fm") or groups.get("gm")
    month = groups.get("m") or groups.get("zm") or groups.get("om")
    day = groups.get("d") or groups.get("zd") or groups.get("od") or groups.get("ed") or groups.get("fd")
    if named:
        month = str(MONTHS.index(named[:3].lower()) + 1)
    if month is None and year is None:
        return None, ""
    if month is None:
        return date(int(year or 0), 1, 1), "year"
    found = date(int(year or now.year), int(month), int(day or 1))
    if year is None and found > now.date():
        found = found.replace(year=now.year - 1)  # a day without a year is the last one of that name
    return found, "day" if day else "month"


def _after(day: date, whole: str) -> date:
    if whole == "year":
        return date(day.year + 1, 1, 1)
    if whole == "month":
        return date(day.year + day.month // 12, day.month % 12 + 1, 1)
    return day + timedelta(days=1)


def _between(match: re.Match[str], now: datetime) -> tuple[Span | None, int] | None:
    first, last = _point(match, "a", now), _point(match, "b", now)
    if first is not None and match["bc"]:
        clock = time(int(match["bc"]) % 24, int(match["bcm"] or match["bcz"] or 0))
        end = datetime.combine(first[0].date() + timedelta(days=match["bc"] == "24"), clock, now.tzinfo)
        return ((first[0], end), 0) if first[0] < end else None
    if first is not None and match["bday"]:
        last = day_span(first[0].date().replace(day=int(match["bday"])), now)
    if first is None or last is None:
        return None
    # A second end without a time is the whole day, month or year; one with a time is that moment.
    timed = bool(match["bhh"])
    spans = (first[0], last[0] if timed or last[0] == last[1] else last[1])
    return ((spans, 0) if spans[0] < spans[1] else ((last[0], first[1]), 0)) if first[0] != spans[1] else None


def _on(match: re.Match[str], now: datetime) -> tuple[Span | None, int] | None:
    groups = match.groupdict()
    bare = not any(text for name, text in groups.items() if name != "ay")
    if bare and not re.search("年|^in", match.group(), re.IGNORECASE):
        return None  # a number
    found = _point(match, "a", now)
    return (found, 0) if found is not None else None


def _newest(match: re.Match[str], _: datetime) -> tuple[Span | None, int] | None:
    count = number_of(match["n"])
    return (None, count) if count else None


_LENGTHS = (
    (("分", "min"), timedelta(minutes=1)),
    (("小时", "钟头", "h"), timedelta(hours=1)),
    (("天", "日", "day"), timedelta(days=1)),
    (("星期", "周", "礼拜", "week"), timedelta(weeks=1)),
    (("季", "quarter"), timedelta(days=91)),
    (("月", "month"), timedelta(days=30)),
    (("年", "year"), timedelta(days=365)),
)


def _length(count: int, unit: str) -> timedelta:
    unit = unit.lower().removeprefix("个")
    return next(length for names, length in _LENGTHS if unit.startswith(names)) * count


def _past(match: re.Match[str], now: datetime) -> tuple[Span | None, int] | None:
    groups = match.groupdict()
    raw = next((text for name in ("zn", "yn", "en", "hn", "half") if (text := groups[name])), "")
    unit = next(text for name in ("zu", "yu", "eu", "fu", "gu", "hu", "hz", "halfu") if (text := groups[name]))
    if not raw and groups["zu"] and groups["zu"].removeprefix("个") not in ("周", "月", "年", "小时", "星期"):
        return None  # nobody says "最近天", and 前天 is a day
    length = _length(1, unit) / 2 if raw == "半" else _length(number_of(raw or "1"), unit)
    return ((now - length, now), 0) if length else None


def _ago(match: re.Match[str], now: datetime) -> tuple[Span | None, int] | None:
    raw, unit = (match["zn"], match["zu"]) if match["zn"] else (match["en"], match["eu"])
    one, length = _length(1, unit), _length(number_of(raw), unit)
    if not one or not length:
        return None
    if one >= timedelta(days=1):
        day = (now - length).date()
        return day_span(day, now), 0
    return (now - length - one / 2, now - length + one / 2), 0


def _day(match: re.Match[str], now: datetime) -> tuple[Span | None, int] | None:
    groups = {name: text.lower() for name, text in match.groupdict().items() if text}
    if "tonight" in groups:
        return day_span(now.date(), now, PART["evening"]), 0
    if "over" in groups:
        return day_span(now.date() - timedelta(days=1), now, PART["night"]), 0
    named = re.sub(r"\s+", " ", groups.get("day") or groups.get("zday") or groups.get("eday") or "")
    part = groups.get("part") or groups.get("epart")
    if "zpart" in groups:
        part = {"晚": "夜里", "夜": "夜里", "早": "早上", "晨": "早上"}[groups["zpart"][0]]
    day = now.date() - timedelta(days=DAYS_BACK[named])
    hours = PART[part] if part else (0, 24)
    return _clock(groups, day, hours, now) or day_span(day, now, hours), 0


def _time_of_day(match: re.Match[str], now: datetime) -> tuple[Span | None, int] | None:
    """The last one that has begun."""
    groups = {name: text for name, text in match.groupdict().items() if text}
    hours, today = PART[groups["bare"]], now.date()
    for day in (today, today - timedelta(days=1)):
        found = _clock(groups, day, hours, now) or day_span(day, now, hours)
        if found[0] <= now:
            return found, 0
    return None


def _clock(groups: Mapping[str, str], day: date, hours: tuple[int, int], now: datetime) -> Span | None:
    """The hour that a clock time begins; with minutes, the hour around it. ``hours`` places a 12-hour clock."""
    raw = next((groups[name] for name in ("zh", "yh", "xh", "ah", "bh") if name in groups), None)
    if raw is None:
        return None
    minute = next((groups[name] for name in ("zm", "ym", "xm", "am", "bm") if name in groups), "0")
    half = groups.get("ahalf") or groups.get("bhalf")
    minutes = 30 if minute == "半" else number_of(minute)
    hour = number_of(raw) % 12 + (12 if half == "p" else 0) if half else _hour(number_of(raw), hours)
    if hour > 30 or minutes > 59:
        return None
    if (
        last := _hour(number_of(groups.get("zto") or groups.get("yto") or groups.get("xto") or "0"), hours)
    ) > hour and last <= 30:
        return _at(day, hour, now) + timedelta(minutes=minutes), _at(day, last, now)
    start = _at(day, hour, now) + timedelta(minutes=minutes - 30 if minutes else 0)
    return start, start + timedelta(hours=1)


def _hour(said: int, hours: tuple[int, int]) -> int:
    """What a 12-hour clock says in that part of the day: 晚上9点 is 21, 晚上12点 is midnight, 夜里2点 is after it."""
    if hours == (0, 24) or said > 12:
        return said if said <= 24 else 99
    if said == 12:
        return {0: 0, 18: 24}.get(hours[0], 12)
    if hours[0] == 18 and 0 < said < 6:
        return said + 24
    return said + 12 if hours[0] >= 11 and said and said + 12 < hours[1] + 2 else said


def _calendar(match: re.Match[str], now: datetime) -> tuple[Span | None, int] | None:
    groups = {name: text for name, text in match.groupdict().items() if text}
    weekday = groups.get("zd") or (groups.get("wd") if groups.get("zk") in ("周", "星期", "礼拜") else None)
    if "we" in groups:
        found = _period("weekend", 0, now)
        return found if found[0] <= now else _period("weekend", 1, now), 0
    if "ed" in groups or weekday:
        number = (
            WEEKDAYS_EN.index(groups["ed"].lower())
            if "ed" in groups
            else WEEKDAYS.index((weekday or "").replace("天", "日"))
        )
        return _weekday(number, groups.get("zw", ""), now), 0
    if "zw" in groups or "ew" in groups:
        back = {"这": 0, "本": 0, "this": 0, "of the": 0, "上": 1, "last": 1, "上上": 2}[
            (groups.get("zw") or groups["ew"]).lower()
        ]
        return _period((groups.get("zk") or groups["ek"]).lower(), back, now), 0
    return _named(groups, now), 0


def _weekday(number: int, week: str, now: datetime) -> Span:
    """Of last week or the one before where that is said; else the last one that has begun."""
    today = now.date()
    monday = today - timedelta(days=today.weekday())
    if week in ("上", "上上"):
        return day_span(monday + timedelta(days=number - 7 * len(week)), now)
    day = monday + timedelta(days=number)
    return day_span(day if day <= today else day - timedelta(days=7), now)


def _named(groups: dict[str, str], now: datetime) -> Span:
    """A month or a year by its name."""
    today = now.date()
    if "inm" in groups or "em" in groups:
        month = MONTHS.index(groups["inm"][:3].lower()) + 1 if "inm" in groups else number_of(groups["em"])
        first = date(today.year - (month > today.month), month, 1)
    elif "ym" in groups:
        first = date(_year(groups["yy"], now), number_of(groups["ym"]), 1)
    else:
        return _years(int(groups["iny"]) if "iny" in groups else _year(groups["yy"], now), now)
    return _midnight(first, now), _midnight(_after(first, "month"), now)


def _year(word: str, now: datetime) -> int:
    return now.year - {"今年": 0, "去年": 1, "前年": 2}[word]


def _years(year: int, now: datetime) -> Span:
    return _midnight(date(year, 1, 1), now), _midnight(date(year + 1, 1, 1), now)


def _period(kind: str, back: int, now: datetime) -> Span:
    today = now.date()
    if kind in ("周", "星期", "礼拜", "week", "周末", "weekend"):
        monday = today - timedelta(days=today.weekday() + 7 * back)
        first, days = (monday + timedelta(days=5), 2) if kind in ("周末", "weekend") else (monday, 7)
        return _midnight(first, now), _midnight(first + timedelta(days=days), now)
    if kind in ("年", "year"):
        return _years(today.year - back, now)
    width = 3 if kind in ("季度", "quarter") else 1
    months = today.year * 12 + (today.month - 1) // width * width - back * width
    end = months + width
    return tuple(_midnight(date(number // 12, number % 12 + 1, 1), now) for number in (months, end))  # type: ignore[return-value]


def _latest(_: re.Match[str], __: datetime) -> tuple[Span | None, int] | None:
    return None, 0


_READERS: tuple[tuple[re.Pattern[str], Read], ...] = (
    (BETWEEN, _between),
    (LAST_N, _newest),
    (AGO, _ago),
    (DAY, _day),
    (CALENDAR, _calendar),
    (PAST, _past),
    (ON, _on),
    (TIME_OF_DAY, _time_of_day),
    (LATEST, _latest),
)
