"""From a question to what it asks of measured data, or to "nothing": then it goes to the knowledge base. Pure.

Retrieve by default: a question is one for data only where it names a metric (or plainly readings) and asks for a value,
a time or an aggregate of it, and nothing in it asks for an explanation.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from parley_rag.data import moments
from parley_rag.data.calendar_words import DAY, LATEST
from parley_rag.data.lexicon import Lexicon, fold, key
from parley_rag.data.moments import Span
from parley_rag.data.signs import (
    AGGREGATES,
    COMPARED,
    DATA,
    DEFINITION,
    EVERY,
    FILLER,
    KNOWLEDGE,
    MEASURED,
    STATEMENT,
    VALUE,
    VERB,
    Aggregate,
    aggregates_of,
)
from parley_rag.tokens import is_wide
from parley_runtime.errors import Invalid

MAX_QUESTION = 300
"""Code points: a longer text is no question for a value."""
MAX_NAMED = 5
"""Metrics answered at once."""

Held = Sequence[tuple[str, str]]
"""(metric, sensor) of everything that there are readings of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataQuestion:
    """What is asked. ``metrics`` empty: of all held. ``sensors`` empty: of all; ``unknown`` names a sensor or place
    that there is none of (``must``: it was given by name, so that others are no answer). ``span`` None: no time, or the
    newest (``newest`` of them; 0: not said). ``when``: the time in the user's own words.
    """

    metrics: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    span: Span | None = None
    when: str = ""
    newest: int = 0
    recent: bool = False
    """The newest readings are asked for by a word for them."""
    listing: bool = False
    """Readings are asked for, not one value."""
    every: bool = False
    """All readings held are asked for, not the newest of them."""
    sensors: tuple[str, ...] = ()
    unknown: str = ""
    must: bool = False
    against: "tuple[Span, str] | None" = None
    """Another time that the first is compared with, and its words."""
    certain: bool = False
    """A time, a sensor or an aggregate was named: documents cannot have been meant."""
    chinese: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a client says beside its question."""

    sensor: str = ""
    place: str = ""
    span: Span | None = None
    when: str = ""
    recent: bool = False

    @property
    def any(self) -> bool:
        return bool(self.sensor or self.place or self.span or self.recent)


def given(context: Mapping[str, Any] | None, now: datetime) -> Given:
    """``sensor``, ``place`` and ``time_range`` of a context; others are somebody else's.

    Raises:
        Invalid: ``time_range`` names no time.
    """
    context = context or {}
    sensor, place = (value if isinstance(value := context.get(name), str) else "" for name in ("sensor", "place"))
    raw = context.get("time_range")
    if raw in (None, "", {}):
        return Given(sensor=sensor.strip(), place=place.strip())
    text = raw if isinstance(raw, str) else _joined(raw)
    found = moments.find(fold(text)[:MAX_QUESTION], now)
    if found is None:
        raise Invalid(
            "context.time_range is no time that is understood: use words (昨天, last week), a day (2026-01-31), or two "
            'of them ("2026-01-01/2026-01-31", or {"start": ..., "end": ...})'
        )
    return Given(
        sensor=sensor.strip(), place=place.strip(), span=found.span, when=found.text, recent=found.span is None
    )


def _joined(raw: Any) -> str:
    """An object or a list of two ends as one text."""
    if isinstance(raw, Mapping):
        ends = [raw.get(one, raw.get(other)) for one, other in (("start", "from"), ("end", "to"))]
    else:
        ends = list(raw)[:2] if isinstance(raw, list) else [raw]
    texts = [end.strip() for end in ends if isinstance(end, str) and end.strip()]
    if len(texts) == 1 and isinstance(raw, Mapping):
        return f"since {texts[0]}"
    return "/".join(texts)


def may_ask(question: str, lexicon: Lexicon, beside: Given) -> bool:
    """Whether :func:`understand` could find anything: without it nothing needs to be known of what is held."""
    if len(question) > MAX_QUESTION:
        return False
    text = fold(question)
    if lexicon.mentions(text):
        return True
    # What an installation measures under a name of its own is known only from what it holds.
    return beside.any or any(sign.search(text) for sign in _SIGNS)


_SIGNS = (MEASURED, DATA, LATEST, DAY, *(pattern for _, pattern in AGGREGATES), VALUE)


def understand(
    question: str, lexicon: Lexicon, now: datetime, held: Held, beside: Given | None = None
) -> DataQuestion | None:
    """What ``question`` asks of measured data; None: nothing. ``now`` is aware, in the zone that places days."""
    if len(question) > MAX_QUESTION:
        return None
    beside = beside or Given()
    text = fold(question).strip()
    metrics, rest, sure = _metrics(text, lexicon, held)
    sensors, unknown, must, rest = _sensors(rest, held, beside)
    when, placed = moments.find(rest, now), rest
    rest = rest if when is None else _cut(rest, when.start, when.end)
    when, against, rest = _compared(when, placed, rest, now)
    aggregates, rest = aggregates_of(rest)
    # What the question itself says counts; what comes beside it only places what is asked.
    said = bool(when or aggregates or ((sensors or must) and not (beside.sensor or beside.place)))
    # A metric named for sure at a time of the past: documents have nothing about it.
    dated = sure and when is not None and (when.span is not None or when.newest > 0)
    if KNOWLEDGE.search(text) or STATEMENT.search(text):
        return None
    if not (dated or _asks(text, rest, named=bool(metrics), sure=sure, said=said, beside=beside.any)):
        return None
    listing = bool(DATA.search(rest)) and not VALUE.search(rest) and not aggregates
    question_ = DataQuestion(
        metrics=metrics,
        aggregates=tuple(aggregates),
        span=when.span if when else beside.span,
        when=when.text if when else beside.when,
        newest=when.newest if when else 0,
        recent=when.span is None if when else beside.recent,
        listing=listing or bool(when and when.newest),
        against=(against.span, against.text) if against is not None and against.span is not None else None,
        every=listing and when is None and bool(EVERY.search(rest)),
        sensors=sensors,
        unknown=unknown,
        must=must,
        certain=said or beside.any,
        chinese=is_wide(question),
    )
    return replace(question_, aggregates=question_.aggregates or (_default(question_),))


def _compared(
    when: moments.When | None, text: str, rest: str, now: datetime
) -> tuple[moments.When | None, moments.When | None, str]:
    """The time that is asked about, the one that it is compared with, and ``rest`` without that. ``when`` is the first
    one found in ``text``; where it alone is named (比昨天低), the newest readings are compared with it.
    """
    if when is None or not COMPARED.search(text):
        return when, None, rest
    against = moments.find(rest, now)
    if against is None:
        if when.span is None or not _WITH.search(text[: when.start]):
            return when, None, rest
        against = moments.When("", 0, 0, None)
    return *_first_asked(when, against), _cut(rest, against.start, against.end)


_WITH = re.compile(r"(?:比|\bthan|\b(?:to|with)|\bvs\.?|\bversus)\s*(?:the\s+)?$", re.IGNORECASE)


def _first_asked(one: moments.When | None, other: moments.When) -> tuple[moments.When | None, moments.When]:
    """Which of two times is compared with which: the newest readings, or the later time, with the other."""
    if one is None or one.span is None or other.span is None:
        return (other, one) if one is not None and other.span is None else (one, other)
    return (one, other) if one.span[0] >= other.span[0] else (other, one)


def _default(question: DataQuestion) -> Aggregate:
    if question.span is not None or question.listing:
        return Aggregate.SUMMARY
    return Aggregate.LATEST


def _cut(text: str, start: int, end: int) -> str:
    return f"{text[:start]} {text[end:]}"


def _metrics(text: str, lexicon: Lexicon, held: Held) -> tuple[tuple[str, ...], str, bool]:
    """Metrics named, the text without them, and whether one was named for sure."""
    mentions = lexicon.mentions(text)
    sure = any(mention.sure for mention in mentions)
    kept = [mention for mention in mentions if mention.sure or not sure]
    names = dict.fromkeys(mention.metric for mention in kept)
    for mention in reversed(mentions):
        text = _cut(text, mention.start, mention.end)
    if not names and _WARMTH.search(text):
        names["temp"] = None
    # What the installation measures under a name of its own.
    for metric in dict.fromkeys(metric for metric, _ in held):
        if metric not in names and not lexicon.knows(metric) and (match := _own(metric).search(text)):
            names[metric] = None
            sure, text = True, _cut(text, *match.span())
    return tuple(names)[:MAX_NAMED], text, sure


_WARMTH = re.compile(
    r"(?:\b(?:water|ponds?|tanks?|lakes?|pools?)\b.*\b(?:warm|hott?|cold|cool)(?:er|est)?\b"
    r"|\b(?:warm|hott?|cold|cool)(?:er|est)?\b(?: \w+){0,2} (?:water|ponds?|tanks?|lakes?|pools?)\b"
    r"|水.{0,6}(?:[热冷凉]不|[热冷凉]吗|最[热冷凉暖]))",
    re.IGNORECASE,
)
"""Warmth of water, in words that name no temperature. Other things may be meant, so it is a hint alone."""


def _own(name: str) -> re.Pattern[str]:
    body = r"[\s_-]*".join(re.escape(part) for part in re.split(r"[\s_-]+", name) if part)
    before = r"(?<![A-Za-z0-9])" if name[:1].isascii() else ""
    after = r"(?![A-Za-z0-9])" if name[-1:].isascii() else ""
    return re.compile(f"{before}{body}{after}", re.IGNORECASE)


_SENSOR = re.compile(
    r"(?:传感器|探头|测点|设备)\s*[:：#]?\s*(?P<zh>[A-Za-z0-9][\w-]{0,40})"
    r"|(?P<no>[0-9一二三四五六七八九十]{1,3}号)(?:传感器|探头|测点|设备)"
    r"|\b(?:sensor|probe|device)\s*[:#]?\s*(?P<en>(?=[\w-]*\d)[\w-]{1,40})",
    re.IGNORECASE,
)
_PLACE = re.compile(
    r"(?P<zh>[\u4e00-\u9fff]{0,4}?[A-Za-z0-9一二三四五六七八九十东南西北甲乙丙]+号?(?:池塘|鱼塘|水池|大棚|池"
    r"|塘|棚|室|站|区|楼|库|厂|井|渠|湖|河))"
    r"|\b(?:at|in|from|of|for)\s+(?:the\s+)?(?P<en>(?:[a-z]+\s+)?(?:pond|lake|tank|river|station|site"
    r"|greenhouse|room|zone|pool"
    r"|well|reservoir|farm|building|floor)\s*[#-]?\s*(?:\d+|[a-z]\b))",
    re.IGNORECASE,
)


_NO_NAME = re.compile(rf"{VERB.pattern}|请问?|帮[我忙]|麻烦|的|和|在", re.IGNORECASE)
"""What stands before a place and is no part of its name."""


def _sensors(text: str, held: Held, beside: Given) -> tuple[tuple[str, ...], str, bool, str]:
    """Sensors meant, a name that none has, whether that name was a sensor's, and the text without what named them."""
    known = tuple(dict.fromkeys(sensor for _, sensor in held))
    if beside.sensor or beside.place:
        return _beside(text, known, beside)
    found = tuple(sensor for sensor in known if _own(sensor).search(text))
    if not found:
        found = tuple(sensor for sensor in known if _said(sensor, text))
        if found:
            return found, "", False, _without(text, [part for sensor in found for part in _parts(sensor)])
    if found:
        return found, "", False, _without(text, found)
    if match := _SENSOR.search(text):
        return (), next(part for part in match.groups() if part), True, _cut(text, *match.span())
    if match := _PLACE.search(_NO_NAME.sub(lambda found: " " * len(found.group()), text)):
        return (), next(part for part in match.groups() if part).strip(), False, _cut(text, *match.span())
    return (), "", False, text


def _beside(text: str, known: Sequence[str], beside: Given) -> tuple[tuple[str, ...], str, bool, str]:
    """The sensors that a client's context names."""
    if beside.sensor:
        found = tuple(sensor for sensor in known if key(sensor) == key(beside.sensor))
    else:
        found = tuple(sensor for sensor in known if key(beside.place) in key(sensor) or _said(sensor, beside.place))
    return found, "" if found else beside.sensor or beside.place, True, _without(text, found)


_PART = re.compile(r"[A-Za-z]+|\d+|[\u4e00-\u9fff]+")


def _parts(sensor: str) -> list[str]:
    return _PART.findall(sensor)


_COMMON = frozenset({"sensor", "probe", "device", "water", "air", "temp", "传感器", "探头", "设备", "node", "the"})


def _said(sensor: str, text: str) -> bool:
    """Whether ``text`` names the place in a sensor's name: ``东湖`` of 东湖-1, ``greenhouse`` of greenhouse-2. A part
    with a number must be said with it where the text has one.
    """
    parts = [part for part in _parts(fold(sensor)) if part.lower() not in _COMMON]
    named = [part for part in parts if not part.isdecimal() and len(part) > 1 and _own(part).search(text)]
    if not named:
        return False
    numbers = [part for part in parts if part.isdecimal()]
    said = re.search(rf"(?i:{re.escape(named[0])})\s*[#号-]?\s*(\d{{1,4}})(?!\d)", text)
    return not (said and numbers) or said[1] in numbers


def _without(text: str, names: Sequence[str]) -> str:
    for name in names:
        text = _own(name).sub(" ", text)
    return text


def _asks(text: str, rest: str, *, named: bool, sure: bool, said: bool, beside: bool) -> bool:
    """Whether readings are asked for. ``rest``: the text without metric, place, time and aggregate, of which ``said``
    tells whether there was one.
    """
    value, verb, data = VALUE.search(rest) or VALUE.search(text), VERB.search(rest), DATA.search(rest)
    bare = not FILLER.sub("", DATA.sub("", VERB.sub("", VALUE.sub("", MEASURED.sub("", rest)))))
    certain = said or beside
    if not named:
        # "查询最近的数据", "latest sensor readings": plainly readings, with nothing else in them.
        return bool((MEASURED.search(text) or data) and (certain or verb) and bare)
    if DEFINITION.search(text) and not said:
        return False
    if not sure and not said:
        return bool(bare and (data or verb or value or beside))
    if value or (verb and (bare or certain)) or data:
        return True
    return (bare and (certain or bool(verb))) or bool(said and _QUESTION.search(text))


_QUESTION = re.compile(r"[?？]|[吗呢]\s*$|^(?:has|have|is|are|was|were|did|do|does)\b", re.IGNORECASE)
