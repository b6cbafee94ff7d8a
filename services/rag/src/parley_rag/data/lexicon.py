"""What metrics are called, in Chinese and English. Pure, but for reading the file that adds to it."""

import json
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from parley_runtime.errors import ConfigError

MAX_METRICS = 1_000
MAX_WORD = 64
"""Code points of a name or synonym."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """``name`` is what readings are stored under. ``words`` say this metric and nothing else; ``hints`` may mean
    something else (a temperature of a sampler), so they count only beside a time, a sensor or an aggregate. ``short``
    are abbreviations, which are told from words by their capitals.
    """

    name: str
    zh: str
    en: str
    words: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    short: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mention:
    """A metric named at ``start`` to ``end`` of a text; ``sure``: not by a hint."""

    metric: str
    start: int
    end: int
    sure: bool


def _metric(name: str, zh: str, en: str, words: str, hints: str = "", short: str = "") -> Metric:
    split = [tuple(part.strip() for part in text.split("|") if part.strip()) for text in (words, hints, short)]
    return Metric(name=name, zh=zh, en=en, words=split[0], hints=split[1], short=split[2])


BUILT_IN = (
    _metric(
        "temp",
        "水温",
        "water temperature",
        "水温|水的温度|水体温度|池水温度|水里的温度|水有多热|水有多冷|water temperature|water temperatures|water temp"
        "|water temps|temp of the water|temps of the water|temperature of the ponds|temperatures of the ponds"
        "|temperature of the water"
        "|temperature of the pond|pond temperature|hot is the water|warm is the water|cold is the water",
        "温度|temperature|temperatures|temp|temps",
    ),
    _metric(
        "air_temp",
        "气温",
        "air temperature",
        "气温|空气温度|环境温度|室温|室外温度|棚内温度|air temperature|air temp|ambient temperature|room temperature"
        "|outdoor temperature",
    ),
    _metric(
        "do",
        "溶解氧",
        "dissolved oxygen",
        "溶解氧|溶氧|溶氧量|水中含氧量|含氧量|水中氧气|水中的氧气|水里的氧气|水里氧气|水里的氧|水里氧|缺氧|缺不缺氧"
        "|dissolved oxygen|oxygen level|oxygen levels|oxygen content"
        "|oxygen concentration|oxygen in the water",
        "oxygen|氧气",
        "DO",
    ),
    _metric(
        "ph", "pH", "pH", "ph值|酸碱度|酸碱值|ph value|ph values|ph level|ph levels|acidity|how acidic|how alkaline"
    ),
    _metric(
        "turbidity",
        "浊度",
        "turbidity",
        "浊度|浑浊度|浑浊程度|混浊度|水有多浑|水浑不浑|turbidity|cloudiness of the water|how cloudy"
        "|how murky|how turbid|how clear is the water",
        "cloudy|cloudier|murky|murkier|turbid",
    ),
    _metric(
        "humidity",
        "湿度",
        "humidity",
        "湿度|空气湿度|相对湿度|大气湿度|潮不潮湿|humidity|relative humidity|air humidity|how humid",
    ),
    _metric(
        "level",
        "水位",
        "water level",
        "水位|液位|水位高度|水有多深|water level|water levels|liquid level|how deep is the water",
        "water depth|水深",
    ),
    _metric("conductivity", "电导率", "conductivity", "电导率|导电率|conductivity|electrical conductivity", "", "EC"),
    _metric("salinity", "盐度", "salinity", "盐度|含盐量|水有多咸|salinity|salt content|how salty"),
    _metric("ammonia", "氨氮", "ammonia nitrogen", "氨氮|氨氮含量|ammonia|ammonia nitrogen|ammonium"),
    _metric("nitrite", "亚硝酸盐", "nitrite", "亚硝酸盐|亚盐|nitrite|nitrites"),
    _metric("orp", "氧化还原电位", "oxidation-reduction potential", "氧化还原电位|redox potential", "", "ORP"),
    _metric(
        "pressure", "气压", "air pressure", "气压|大气压|大气压力|air pressure|barometric pressure", "pressure|压力"
    ),
    _metric("wind_speed", "风速", "wind speed", "风速|风有多大|风大不大|wind speed|wind speeds|how windy", "wind"),
    _metric(
        "rainfall",
        "降雨量",
        "rainfall",
        "降雨量|雨量|降水量|下了多少雨|雨下了多少|how much rain|rainfall|precipitation",
    ),
    _metric(
        "light",
        "光照强度",
        "light intensity",
        "光照强度|光照度|光照|照度|light intensity|illuminance|light level|light levels|how bright",
    ),
    _metric("flow", "流量", "flow rate", "水流量|flow rate|water flow|discharge rate", "流量"),
    _metric("co2", "二氧化碳", "carbon dioxide", "二氧化碳|二氧化碳浓度|co2|carbon dioxide"),
)


def fold(text: str) -> str:
    """NFKC, as questions are read: full-width letters and digits become plain ones. Case is kept."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def key(word: str) -> str:
    """Names are compared by it: lower case, runs of ``_``, ``-`` and spaces are one space."""
    return re.sub(r"[\s_-]+", " ", fold(word).lower()).strip()


_LATIN = re.compile("[a-z0-9]+")


class Lexicon:
    """Finds metrics in texts. ``more`` adds to the built-in ones; one with a known name adds words to that metric."""

    def __init__(self, more: Iterable[Metric] = ()) -> None:
        self._metrics: dict[str, Metric] = {}
        for metric in (*BUILT_IN, *more):
            self._metrics[metric.name] = _joined(self._metrics.get(metric.name), metric)
        self._exact: dict[str, str] = {}
        self._said: dict[str, tuple[str, bool]] = {}
        short: dict[str, str] = {}
        for metric in self._metrics.values():
            for word in (metric.name, metric.zh, metric.en, *metric.words, *metric.short):
                self._exact.setdefault(key(word), metric.name)
            for word in metric.hints:
                self._said.setdefault(key(word), (metric.name, False))
            for word in (metric.zh, metric.en, *metric.words):
                if key(word) not in (key(hint) for hint in metric.hints):
                    self._said[key(word)] = (metric.name, True)
            short |= dict.fromkeys(metric.short, metric.name)
        self._short = short
        self._pattern = _pattern(self._said, short)
        words = [*self._said, *(key(word) for word in short)]
        self._starts = frozenset(_LATIN.findall(word)[0] for word in words if word[0].isascii())
        self._chars = frozenset(word[0] for word in words if not word[0].isascii())

    def name_of(self, word: str) -> str:
        """The metric that ``word`` is another name of; else ``word`` itself, folded."""
        return self._exact.get(key(word), key(word).replace(" ", "_"))

    def knows(self, metric: str) -> bool:
        """Whether ``metric`` has words of its own: then its bare name (``level``) is not taken for one."""
        return metric in self._metrics

    def mentions(self, text: str) -> list[Mention]:
        """Metrics named in folded ``text``, in order; where names overlap the longest counts."""
        # Most questions name none: looking for the first words alone costs a tenth.
        if self._chars.isdisjoint(text) and self._starts.isdisjoint(_LATIN.findall(text.lower())):
            return []
        return list(self._mentions(text))

    def _mentions(self, text: str) -> Iterator[Mention]:
        for match in self._pattern.finditer(text):
            word = match.group()
            if match.lastgroup == "short":
                yield Mention(self._short[word], *match.span(), True)
            else:
                metric, sure = self._said[key(word)]
                yield Mention(metric, *match.span(), sure)

    def called(self, metric: str, *, chinese: bool) -> str:
        """The metric's name for people."""
        known = self._metrics.get(metric)
        if known is None:
            return metric.replace("_", " ")
        return known.zh if chinese else known.en


def _joined(known: Metric | None, metric: Metric) -> Metric:
    if known is None:
        return metric
    return Metric(
        name=metric.name,
        zh=metric.zh or known.zh,
        en=metric.en or known.en,
        words=(*known.words, *metric.words),
        hints=(*known.hints, *metric.hints),
        short=(*known.short, *metric.short),
    )


def _pattern(said: Mapping[str, object], short: Mapping[str, str]) -> re.Pattern[str]:
    """Longest first. Latin words end where letters and digits end; Chinese ones anywhere."""
    words = "|".join(_word(word) for word in sorted(said, key=len, reverse=True))
    capitals = "|".join(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])" for word in short)
    return re.compile(rf"(?P<word>(?i:{words}))|(?P<short>{capitals})" if capitals else rf"(?P<word>(?i:{words}))")


def _word(word: str) -> str:
    body = r"[\s_-]+".join(re.escape(part) for part in word.split(" "))
    before = r"(?<![A-Za-z0-9])" if word[0].isascii() else ""
    after = r"(?![A-Za-z0-9])" if word[-1].isascii() else ""
    return f"{before}{body}{after}"


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    zh: str = ""
    en: str = ""
    words: list[str] = []
    hints: list[str] = []
    short: list[str] = []


class _File(msgspec.Struct, forbid_unknown_fields=True):
    metrics: dict[str, _Entry]


def load(path: str) -> Lexicon:
    """The built-in metrics with those of the file, TOML or JSON by its ending; "" for the built-in ones alone.

    Raises:
        ConfigError: the file cannot be read or holds something else; the message names it.
    """
    if not path:
        return Lexicon()
    try:
        text = Path(path).read_text(encoding="utf-8")
        raw = json.loads(text) if path.endswith(".json") else tomllib.loads(text)
        found = msgspec.convert(raw, _File)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)[:200]
        raise ConfigError(f"PARLEY_METRICS: {path} cannot be used: {reason}") from None
    if len(found.metrics) > MAX_METRICS:
        raise ConfigError(f"PARLEY_METRICS: {path} names more than {MAX_METRICS} metrics")
    return Lexicon(_checked(path, name, entry) for name, entry in found.metrics.items())


def _checked(path: str, name: str, entry: _Entry) -> Metric:
    words = (name, *entry.words, *entry.hints, *entry.short, entry.zh or name, entry.en or name)
    if any(not key(word) or len(word) > MAX_WORD for word in words):
        raise ConfigError(
            f"PARLEY_METRICS: {path}: names and words of {name[:MAX_WORD]!r} need 1 to {MAX_WORD} characters"
        )
    known = any(metric.name == name for metric in BUILT_IN)
    return Metric(
        name=name,
        zh=entry.zh or ("" if known else name),
        en=entry.en or ("" if known else name.replace("_", " ")),
        words=tuple(entry.words),
        hints=tuple(entry.hints),
        short=tuple(entry.short),
    )
