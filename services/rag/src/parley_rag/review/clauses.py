"""Cuts a contract into clauses. Pure; offsets are code points, and ``text[start:end]`` is the clause.

Articles and numbered paragraphs, Chinese and English, begin a clause: 第X条, 一、, 1., 2.3, Article, Section, Clause.
A heading alone joins what follows it. What is too long is cut at paragraphs, then at sentences, then by force. A
contract without any number is cut at its paragraphs.
"""

import re
from collections.abc import Iterator

MAX_CLAUSE = 1_500
"""Code points."""
MAX_HEADING = 40
"""A shorter piece without the end of a sentence is a heading."""

_HAN = "一二三四五六七八九十百千零〇两"
_AT_LINE = rf"""
    (?:^|(?<=[\n\f]))[ \t\u3000\#*]*
    (?: 第[{_HAN}\d]{{1,6}}[条章节]
      | [{_HAN}]{{1,3}}、
      | \d{{1,3}}(?:[.．]\d{{1,3}}){{1,3}}[.．、]?(?=[\s\u3000]|[^\s\d%％.．])
      | \d{{1,3}}[.．、)）](?=[\s\u3000]|[^\s\d%％])
      | (?:Article|ARTICLE|Section|SECTION|Clause|CLAUSE)\s+(?:\d{{1,3}}(?:\.\d{{1,3}})*|[IVXLC]{{1,6}})\b
      | §\s?\d
    )"""
_IN_LINE = rf"""
    (?<=[。；！])[ \t\u3000]*第[{_HAN}\d]{{1,6}}条(?![第、及和或的款项之规所约])
  | (?<=[.;][ ])(?:
        \d{{1,2}}(?:\.\d{{1,2}})*\.[ ]+(?=[A-Z][a-z])
      | (?:Article|Section)\s+\d{{1,3}}[.:]?\s+(?=[A-Z])
    )"""
_MARK = re.compile(f"{_AT_LINE}|{_IN_LINE}", re.VERBOSE)
_PARAGRAPH = re.compile(r"\n[ \t\u3000]*(?:\n[ \t\u3000]*)+|\f")
_LINE = re.compile(r"\n")
_SENTENCE = re.compile(r"[。！？；]|[.!?;](?=\s)")
_SPACE = " \t\r\n\f\v\u3000\u00a0"


def split(text: str) -> list[tuple[int, int]]:
    """Spans in order, not empty, not overlapping; everything but white space is in one of them."""
    marks = [_begin(text, match) for match in _MARK.finditer(text)]
    cuts = marks if marks else [match.end() for match in _PARAGRAPH.finditer(text)]
    pieces = [piece for piece in _between(text, cuts) if piece[0] < piece[1]]
    spans = _with_headings(text, pieces)
    return [part for start, end in spans for part in _bounded(text, start, end, (_PARAGRAPH, _LINE, _SENTENCE))]


def _begin(text: str, match: "re.Match[str]") -> int:
    start = match.start()
    while start < match.end() and text[start] in _SPACE:
        start += 1
    return start


def _between(text: str, cuts: list[int]) -> Iterator[tuple[int, int]]:
    last = 0
    for cut in (*cuts, len(text)):
        yield _trimmed(text, last, cut)
        last = cut


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] in _SPACE:
        start += 1
    while start < end and text[end - 1] in _SPACE:
        end -= 1
    return start, end


def _with_headings(text: str, pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """A heading goes with the piece after it; one at the very end stays by itself."""
    spans: list[tuple[int, int]] = []
    held: int | None = None
    for number, (start, end) in enumerate(pieces):
        begin = start if held is None else held
        last = number == len(pieces) - 1
        if not last and end - begin <= MAX_HEADING and not _SENTENCE.search(text[start:end] + " "):
            held = begin
            continue
        spans.append((begin, end))
        held = None
    return spans


def _bounded(text: str, start: int, end: int, levels: tuple["re.Pattern[str]", ...]) -> Iterator[tuple[int, int]]:
    """Pieces of at most :data:`MAX_CLAUSE`: cut at the first of ``levels``, neighbours joined while they fit."""
    if end - start <= MAX_CLAUSE:
        yield start, end
        return
    if not levels:
        for at in range(start, end, MAX_CLAUSE):
            yield from _nonempty(_trimmed(text, at, min(end, at + MAX_CLAUSE)))
        return
    cuts = [match.end() for match in levels[0].finditer(text, start, end)]
    begin = last = start
    for cut in (*cuts, end):
        if cut - begin > MAX_CLAUSE and last > begin:
            yield from _bounded_nonempty(text, begin, last, levels)
            begin = last
        last = cut
    yield from _bounded_nonempty(text, begin, end, levels)


def _bounded_nonempty(
    text: str, start: int, end: int, levels: tuple["re.Pattern[str]", ...]
) -> Iterator[tuple[int, int]]:
    for first, last in _nonempty(_trimmed(text, start, end)):
        yield from _bounded(text, first, last, levels[1:])


def _nonempty(span: tuple[int, int]) -> Iterator[tuple[int, int]]:
    if span[0] < span[1]:
        yield span


def plan(clauses: int, fanout: int, least: int) -> list[tuple[int, int]]:
    """(first, count) of each job: ``fanout`` jobs at most, ``least`` clauses each where there are enough. The same for
    the same figures, so that jobs that are sent anew are the same jobs.
    """
    size = max(least, -(-clauses // fanout))
    return [(first, min(size, clauses - first)) for first in range(0, clauses, size)]
