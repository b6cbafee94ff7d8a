"""The small language in which a playbook says what a rule looks for. Pure.

``a; b``: either. ``a … b``: b after a in the same sentence, not far away. ``[x|y]``: one of these. ``{buyer}``,
``{seller}`` (``{买方}``, ``{卖方}``): any name of that party in this contract, where it acts (not "to the buyer", nor
向买方); what follows must not come to the other party's acting. ``{buyer*}``: wherever its name stands. ``{>=30%}``,
``{>=3‰}``: a share at least so large. Everything else stands for itself; case, width and white space do not count. A
word that permits (``may``, 可) is not found in its denial (``may not``, 不可).
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from parley_rag.review.parties import Facts, Side, names_of

MAX_PATTERN = 400
"""Code points of one alternative; longer ones are ignored."""
GAP = 80
"""Code points between two parts."""

_STOP = r"[。;!?]|\.\s"
_END = re.compile(_STOP)
_OBJECT = (
    r"(?<![给向对与使赔])(?<!\bto )(?<!\bto the )(?<!against the )(?<!\bof the )(?<!\bby the )(?<!\bfor the )"
    r"(?<!from the )"
)
"""Before a name: it is no object there."""
_PARTIES = {"buyer": Side.BUYER, "买方": Side.BUYER, "seller": Side.SELLER, "卖方": Side.SELLER}
_TOKEN = re.compile(
    r"\{\s*>=\s*(?P<least>\d+(?:\.\d+)?)\s*(?P<unit>[%‰])\s*\}|\{(?P<party>[^{}]*)\}|\[(?P<group>[^\[\]]*)\]"
)
_PARTS = re.compile(r"…+|\.{3,}")
_HAN_DIGITS = {char: number for number, char in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
_HAN_SHARE = re.compile(r"(百|千|万)分之([零〇一二两三四五六七八九十百]{1,5}|\d+(?:\.\d+)?)")
_TEENS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety hundred"
_ENGLISH = {word: number for number, word in enumerate(_TEENS.split(), 1)} | {
    word: number * 10 for number, word in enumerate(_TENS.split(), 2)
}
_ENGLISH_SHARE = re.compile(rf"(?<![\w-])({'|'.join(sorted(_ENGLISH, key=len, reverse=True))})\s*%")
_SAID_TWICE = re.compile(r"(\d+(?:\.\d+)?) ?% ?\( ?\1 ?%? ?\)|(?<![\w-])[a-z-]{3,16} ?\( ?(\d+(?:\.\d+)?) ?\) ?%")
"""``10% (10%)``, ``ten (10) %``."""
_PERMITS = {
    **dict.fromkeys(("may", "can"), ("", r"(?!\s+not\b)")),
    **dict.fromkeys(("entitled to", "right to"), (r"(?<!\bnot )(?<!\bno )(?<!\bnot be )", "")),
    **dict.fromkeys(("得", "可", "可以", "有权"), ("(?<![不无未非没])", "")),
}
"""Words that permit, and what must not stand before and after them."""
_WIDE = r"[\u3000-\u30ff\u3400-\u9fff]"
_WIDE_BREAK = re.compile(rf"(?<={_WIDE})\s+(?={_WIDE})")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a pattern. ``stop``: what must not come between the piece before it and this one."""

    regex: "re.Pattern[str]"
    least: tuple[tuple[str, float], ...] = ()
    """By named group, the share that it must reach."""
    stop: "re.Pattern[str] | None" = None

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        """Where it stands in ``text``."""
        for match in self.regex.finditer(text):
            if all(float(match[name]) >= least for name, least in self.least):
                yield match.start(), match.end()


@dataclass(frozen=True, slots=True)
class Pattern:
    """One alternative, compiled."""

    parts: tuple[Part, ...]

    def found(self, text: str) -> bool:
        """Whether it is in ``text``, which has been through :func:`normal`. Takes time in proportion to its length,
        whatever the text is.
        """
        ends = sorted({end for _, end in self.parts[0].places(text)})
        for part in self.parts[1:]:
            if not ends:
                return False
            assert part.stop is not None
            stops = [match.start() for match in part.stop.finditer(text)]
            reach = [(end, min([end + GAP, *stops[bisect_left(stops, end) :][:1]])) for end in ends]
            ends = sorted({end for start, end in part.places(text) if _reached(reach, start)})
        return bool(ends)


def _reached(reach: list[tuple[int, int]], start: int) -> bool:
    """Whether a piece at ``start`` follows one that ended within its reach: the nearest ends are enough to look at."""
    at = bisect_right(reach, (start, len(reach) + start + GAP))
    return any(end <= start <= limit for end, limit in reach[max(0, at - GAP - 1) : at])


@lru_cache(maxsize=64)
def normal(text: str) -> str:
    """A clause as patterns see it: plain widths, lower case, shares as figures, blank lines as ends of sentences."""
    folded = unicodedata.normalize("NFKC", re.sub(r"\n[ \t\u3000]*\n\s*", "。", text)).lower()
    folded = re.sub(r"\bper\s?cent\b|\bpercent\b", "%", _HAN_SHARE.sub(_figure, re.sub(r"\s+", " ", folded)))
    folded = _ENGLISH_SHARE.sub(lambda match: f"{_ENGLISH[match[1]]}%", folded)
    return _WIDE_BREAK.sub("", _SAID_TWICE.sub(lambda match: f"{match[1] or match[2]}%", folded))


def sentences(text: str) -> list[str]:
    """The sentences of a clause, each through :func:`normal`. No pattern reaches beyond one."""
    return [part for part in _END.split(normal(text)) if part.strip()]


def compiled(text: str, facts: Facts) -> tuple[Pattern, ...]:
    """The alternatives in ``text``; those that cannot be read are left out."""
    parts = re.split(r"[;；]", text)
    return tuple(found for part in parts if part.strip() and (found := _pattern(part.strip(), facts)) is not None)


def _pattern(text: str, facts: Facts) -> Pattern | None:
    if len(text) > MAX_PATTERN:
        return None
    acting: Side | None = None
    parts: list[Part] = []
    for piece in (part.strip() for part in _PARTS.split(text)):
        least: list[tuple[str, float]] = []
        regex = _piece(piece, facts, least)
        if not regex:
            continue
        parts.append(Part(re.compile(regex), tuple(least), _stop(acting, facts) if parts else None))
        named = [_PARTIES.get((match["party"] or "").strip().lower()) for match in _TOKEN.finditer(piece)]
        acting = next((side for side in named if side is not None), acting)
    return Pattern(tuple(parts)) if parts else None


def _stop(acting: Side | None, facts: Facts) -> "re.Pattern[str]":
    """The end of the sentence, or the other party's acting."""
    if acting is None:
        return re.compile(_STOP)
    other = Side.SELLER if acting is Side.BUYER else Side.BUYER
    return re.compile(f"{_STOP}|{_OBJECT}{_either(names_of(other, facts))}")


def _piece(text: str, facts: Facts, least: list[tuple[str, float]]) -> str:
    out: list[str] = []
    at = 0
    for match in _TOKEN.finditer(text):
        out.append(_literal(text[at : match.start()]))
        at = match.end()
        if match["least"] is not None:
            name = f"share{len(least)}"
            least.append((name, float(match["least"])))
            out.append(rf"(?P<{name}>\d{{1,4}}(?:\.\d{{1,4}})?)\s*{match['unit']}")
        elif match["party"] is not None:
            out.append(_party(match["party"], facts))
        else:
            out.append(_either(tuple(match["group"].split("|"))))
    out.append(_literal(text[at:]))
    return "".join(out)


def _party(said: str, facts: Facts) -> str:
    side = _PARTIES.get(said.strip().lower().removesuffix("*"))
    if side is None:
        return _either((said,))
    return ("" if said.strip().endswith("*") else _OBJECT) + _either(names_of(side, facts))


def _either(words: tuple[str, ...]) -> str:
    return f"(?:{'|'.join(_literal(word.strip()) for word in words if word.strip())})"


def _literal(text: str) -> str:
    folded = _WIDE_BREAK.sub("", re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text))).lower()
    if not folded:
        return ""
    escaped = re.escape(folded).replace(r"\ ", r"\s+")
    before, after = _PERMITS.get(folded, ("", ""))
    # Not \b: a Chinese character is a letter to it, so that 满180天 would hold no 180.
    begin = r"(?<![a-z0-9_])" if folded[0].isascii() and folded[0].isalnum() else ""
    end = r"(?![a-z0-9_])" if folded[-1].isascii() and folded[-1].isalnum() else ""
    return f"{before}{begin}{escaped}{end}{after}"


def _figure(match: "re.Match[str]") -> str:
    """百分之三十 as 30%."""
    number = match[2] if match[2][0].isdigit() else str(_han_number(match[2]))
    return number + {"百": "%", "千": "‰", "万": "‱"}[match[1]]


def _han_number(text: str) -> int:
    total, digit = 0, 0
    for char in text:
        if char in _HAN_DIGITS:
            digit = _HAN_DIGITS[char]
        else:
            total, digit = total + (digit or 1) * {"十": 10, "百": 100}[char], 0
    return total + digit
