"""Reading a scripted answer: each word says whose it is, of which run, and the how many-th it is.

A word is ``t7``, ``TAG.t7`` or ``TAG.RUN.t7``; words are joined by one blank and count from 1. Text in any other form
is left alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_WORD = re.compile(r"(?:([\w-]+)\.)?(?:([0-9a-f]+)\.)?t(\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Flaw:
    """``rule``: one of ``verdict.RULES``."""

    rule: str
    what: str


@dataclass(slots=True)
class Reading:
    """``runs``: the marks of the runs that wrote the text, in order; ``last``: number of its last word."""

    flaws: list[Flaw]
    runs: list[str]
    last: int = 0


def read(text: str, tag: str, *, whole: bool) -> Reading:
    """``tag``: the turn's own word, "" where it is not known. ``whole``: the text ends with its last word; otherwise it
    may have been cut anywhere.
    """
    reading = Reading([], [])
    words = text.split(" ")
    if len(words) > 1 and not words[-1]:
        words.pop()
        whole = True  # the cut is between two words
    first = _WORD.fullmatch(words[0]) if text else None
    if first is None:
        return reading
    if (not tag or first[1] in (None, tag)) and words == _said(words[0], first[3], len(words)):
        return Reading([], [first[2] or ""], len(words))
    seen: set[str] = set()
    for flaw in _flaws(words, tag, reading, whole=whole):
        if flaw.rule not in seen:
            seen.add(flaw.rule)
            reading.flaws.append(flaw)
    return reading


def _said(first: str, number: str, count: int) -> list[str]:
    """The words of an answer without a flaw, by its first one."""
    mark = first[: -len(number)]
    return [f"{mark}{index}" for index in range(1, count + 1)]


def _flaws(words: list[str], tag: str, reading: Reading, *, whole: bool) -> Iterator[Flaw]:
    numbers = _Count()
    for index, word in enumerate(words, 1):
        match = _WORD.fullmatch(word)
        cut = not whole and index == len(words)
        if match is None:
            if not cut:
                yield Flaw("torn-lost", f"word {index} is {word[:80]!r}")
            continue
        whose, run, number = match[1], match[2] or "", int(match[3])
        if cut and number != numbers.last + 1:
            continue  # the beginning of a longer number
        if tag and whose and whose != tag:
            yield Flaw("foreign-text", f"word {index} is {word!r}; this turn's words begin with {tag!r}")
            continue
        if not reading.runs or run != reading.runs[-1]:
            if reading.runs:
                yield Flaw("fenced", f"word {index} is of run {run!r}, those before of {reading.runs[-1]!r}")
            reading.runs.append(run)
        if rule := numbers.take(number):
            yield Flaw(rule, f"word {index} is number {number}, the highest before is {numbers.last}")
    reading.last = numbers.last
    if numbers.missing:
        yield Flaw("torn-lost", f"no word number {min(numbers.missing)}, though there is number {numbers.last}")


class _Count:
    """Words by their numbers; ``last`` is the highest so far."""

    def __init__(self) -> None:
        self.last = 0
        self.missing: set[int] = set()

    def take(self, number: int) -> str:
        if number > self.last:
            self.missing.update(range(self.last + 1, min(number, self.last + 1000)))
            self.last = number
            return ""
        if number in self.missing:
            self.missing.remove(number)
            return "torn-reordered"
        return "torn-repeated"
