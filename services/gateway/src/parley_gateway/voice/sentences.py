"""Cuts an answer into sentences while it is being written. Pure.

Where it is cut depends on the text alone, and not on the pieces that it came in. A sentence is taken once what follows
shows that it is over: one character, for most of them. The first one is cut earlier, at a clause, so that the first
sound is early.
"""

import re
from dataclasses import dataclass

from parley_gateway.voice.spoken import Spoken, spoken

FIRST_WEIGHT = 36
"""From so much text on the first sentence ends at a clause. A Chinese character weighs :data:`HAN`."""
CLAUSE_WEIGHT = 200
"""And any other one."""
MOST_WEIGHT = 320
"""No sentence is heavier: cut at a blank, else anywhere."""
HAN = 3
MOST_CITED = 12
"""Characters of a citation that is looked for behind a full stop."""

_STOPS = frozenset("。！？!?….;；")
_WIDE_STOPS = frozenset("。！？；")
_CLAUSES = frozenset(",，、:：;；—–")
_WIDE_CLAUSES = frozenset("，、：；")
_CLOSERS = frozenset("\"'”’」』）)》】]*_")
_LIST_MARK = re.compile(r"[ \t]*(?:\d{1,3}|[a-zA-Z])\Z")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'“‘*_])(?:[A-Za-z](?:\.[A-Za-z])*|mr|mrs|ms|dr|prof|st|sr|jr|vs|etc|approx|dept|est|fig|figs|eq|eqs"
    r"|no|nos|sec|ch|vol|pp|inc|ltd|co|corp|cf|al|ca|resp|incl|excl|min|max|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov"
    r"|dec)\Z",
    re.I,
)
_CITATION = re.compile(r"\s?(?:\[\^?\d{1,3}(?:\s?[,，、–-]\s?\^?\d{1,3})*\]|【\d{1,3}[^】\n]{0,40}】)")
_HALF_CITED = re.compile(r"\s?(?:[\[【]?|\[\^?\d[^\]\n]*|\[\^|【\d[^】\n]*)")
_BLOCK = re.compile(r"[ \t]*(?:\n|[-+*•>|]|#{1,6}[ \t]|\d{1,3}[.)、]|```)")
_OWN_LINE = re.compile(r"[ \t]*(?:[-+*•>][ \t]|#{1,6}[ \t]|\d{1,3}[.)、]|\|)")
FENCE = "```"


@dataclass(frozen=True, slots=True)
class Sentence:
    """Of answer[start:end], ``said`` is spoken. Each begins where the one before ends."""

    start: int
    end: int
    said: Spoken

    def heard(self, fraction: float) -> int:
        """Code points of the answer that have been heard when that fraction of the sentence's sound has."""
        if fraction >= 1.0 or not self.said.at:
            return self.end if fraction > 0 else self.start
        return self.said.at[int(max(0.0, fraction) * len(self.said.at))] if fraction > 0 else self.start

    def word(self, fraction: float) -> float:
        """Where the word begins that is being said there, as a fraction too."""
        text = self.said.text
        at = min(len(text), int(max(0.0, fraction) * len(text)))
        while at > 0 and not _word_begins(text, at):
            at -= 1
        return at / len(text) if text else 0.0


def _word_begins(text: str, at: int) -> bool:
    return at >= len(text) or text[at - 1] == " " or _weight(text[at]) == HAN


def _weight(char: str) -> int:
    return HAN if "\u3007" <= char <= "\u9fff" or "\uf900" <= char <= "\ufaff" else 1


class Cutter:
    """Feed text, take sentences. What is silent alone goes with the sentence after it, or with nothing at the end."""

    def __init__(self, start: int = 0, *, first: bool = True) -> None:
        self._text = ""
        self._start = start
        self._origin = start
        """Where the next sentence begins: silent text may lie between."""
        self._scan = 0
        self._weight = 0
        self._clause = 0
        self._blank = 0
        self._fenced = False
        self._ended = False
        self._first = first

    @property
    def pending(self) -> int:
        """Code points that no sentence has taken."""
        return len(self._text)

    def feed(self, text: str) -> None:
        """More of the answer."""
        self._text += text

    def end(self) -> None:
        """The answer is whole."""
        self._ended = True

    def next(self) -> Sentence | None:
        """The next sentence with something to say; None where more text is needed, or there is none."""
        while (at := self._find()) is not None:
            said = spoken(self._text[:at], self._start)
            self._text = self._text[at:]
            self._start += at
            self._scan = self._weight = self._clause = self._blank = 0
            if said:
                origin, self._origin = self._origin, self._start
                self._first = False
                return Sentence(origin, self._start, said)
        return None

    # --- where it ends ----------------------------------------------------------------------------------------

    def _find(self) -> int | None:
        """The end of the next sentence in the text at hand."""
        while self._scan < len(self._text):
            if self._fenced:
                tick = self._text.find("`", self._scan)
                self._scan = tick if tick >= 0 else len(self._text)
                if tick < 0:
                    break
            at = self._scan
            cut = self._look(at)
            if cut is _WAIT:
                return len(self._text) if self._ended else None
            self._scan = max(at + 1, cut)
            if cut:
                return cut
        return len(self._text) if self._ended and self._text else None

    def _look(self, at: int) -> int:
        """The end of the sentence, if the character at ``at`` ends it; 0: it does not; _WAIT: nobody can tell yet."""
        text, char = self._text, self._text[at]
        if char == "`":
            return self._fence(at)
        if self._fenced:
            return 0
        self._weight += _weight(char)
        cut = 0
        if char == "\n":
            cut = self._line(at)
        elif char in _STOPS:
            cut = self._stop(at)
        if cut == 0 and char in _CLAUSES:
            cut = self._clause_end(at)
        if cut is _WAIT:
            self._weight -= _weight(char)
            return _WAIT
        if cut == 0 and char == " ":
            self._blank = at + 1
        if cut == 0 and self._weight >= MOST_WEIGHT:
            cut = self._clause or self._blank or at + 1
            self._scan = cut
        return min(cut, len(text))

    def _fence(self, at: int) -> int:
        """Code is one silent piece, however long."""
        seen = self._text[at : at + len(FENCE)]
        if len(seen) < len(FENCE) and FENCE.startswith(seen) and not self._ended:
            return _WAIT
        if seen != FENCE:
            return 0
        self._fenced = not self._fenced
        self._scan = at + len(FENCE) - 1
        return 0

    def _line(self, at: int) -> int:
        """A line ends a sentence where a new block begins, or where it is a block of its own."""
        begins = self._text.rfind("\n", 0, at) + 1
        if _OWN_LINE.match(self._text, begins, at):
            return at + 1
        rest = self._text[at + 1 : at + 8]
        if len(rest) < 7 and not self._ended and (not rest.strip(" \t") or not _BLOCK.match(rest)):
            # Whether a block begins can be told once there is a character that none begins with.
            head = rest.lstrip(" \t")
            if not head or head[0] in "#`" or head[0].isdigit():
                return _WAIT
        return at + 1 if _BLOCK.match(rest) else 0

    def _stop(self, at: int) -> int:
        """A full stop and its like, with the quotes and citations behind it."""
        text, char = self._text, self._text[at]
        if char == ";":
            return 0
        if char == "." and (_LIST_MARK.match(text, text.rfind("\n", 0, at) + 1, at) or _is_short(text, at)):
            return 0
        end = self._closed(at + 1)
        if end is _WAIT:
            return _WAIT
        if char in _WIDE_STOPS:
            return end
        if end >= len(text):
            return end if self._ended else _WAIT
        following = text[end]
        apart = text[at + 1].isspace() or following.isspace() or _weight(following) == HAN
        return end if apart else 0

    def _closed(self, at: int) -> int:
        """Behind what closes with the sentence."""
        text = self._text
        while at < len(text):
            if text[at] in _CLOSERS or text[at] in _STOPS:
                at += 1
                continue
            cited = _CITATION.match(text, at, at + MOST_CITED)
            if cited is None:
                if not self._ended and _may_be_cited(text[at : at + MOST_CITED]):
                    return _WAIT
                return at
            at = cited.end()
        return at if self._ended else _WAIT

    def _clause_end(self, at: int) -> int:
        text, char = self._text, self._text[at]
        if self._weight < min(FIRST_WEIGHT, CLAUSE_WEIGHT):
            return 0
        if char not in _WIDE_CLAUSES:
            if at + 1 >= len(text):
                return 0 if self._ended else _WAIT
            if not text[at + 1].isspace():
                return 0
        self._clause = at + 1
        return at + 1 if self._weight >= (FIRST_WEIGHT if self._first else CLAUSE_WEIGHT) else 0


_WAIT = -1


def _is_short(text: str, at: int) -> bool:
    """Whether the stop at ``at`` ends an abbreviation, or stands within a number."""
    if _ABBREVIATION.search(text, max(0, at - 12), at):
        return True
    return at > 0 and text[at - 1].isdigit() and text[at + 1 : at + 2].isdigit()


def _may_be_cited(rest: str) -> bool:
    """Whether what follows may become a citation when more of it has come."""
    return len(rest) < MOST_CITED and _HALF_CITED.fullmatch(rest) is not None
