"""Picks the one to four units that answer a question best.

A unit's score is BM25 over the units of all passages (Robertson and Zaragoza 2009, k1 = 1.2, b = 0.4: sentences differ
little in length for reasons of content), plus a share for the question's terms in its heading, times factors for the
passage's own score, the place in its block, the language and the kind of question. Further units are taken while they
add terms of the question that the chosen ones lack (maximal marginal relevance, Carbonell and Goldstein 1998).
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from parley_inference.extract.blocks import Kind, Unit, units
from parley_inference.extract.patterns import DEFINES, ENDS, LEADS_ON, LEANS, fits
from parley_inference.extract.questions import Asks, Question
from parley_inference.extract.terms import STOP_STEMS, is_chinese, terms, words
from parley_protocol.events import Source

K1, B = 1.2, 0.4
HEADING_SHARE, PATH_SHARE = 0.45, 0.2
"""What a term of the question is worth in the unit's own heading and in the headings above that."""
CACHED = 512
"""Passages whose units are kept: the same ones answer many questions."""
MAX_UNITS = 4
MAX_LATIN, MAX_CJK = 640, 320
"""Characters of an answer, code blocks aside."""
SHORT_LATIN, SHORT_CJK = 40, 12
"""Characters below which a unit is rarely a whole thought."""
KEEP, KEEP_ELSEWHERE = 0.42, 0.6
"""A further unit must be worth this part of the best one, in a passage already quoted or in another."""
BRIEF_LATIN, BRIEF_CJK = 90, 40
"""Characters below which a single sentence takes the next one along."""
MAX_CODE_LINES = 14
FEW_UNITS = 24
SHOWS_HOW = 1.25
"""Factor for a section with a block of code where a way to do something is asked for."""
OPENING = 2
"""Units at the start of a passage that a heading speaks for."""
SEPARATOR = " › "
"""Between the headings of a title."""
ENOUGH_LATIN, ENOUGH_CJK = 0.3, 0.2
"""Below this part of the question's weight the answer is only the nearest passage. Lower for Chinese, where pairs that
straddle two words match nothing."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A unit, the passage it is from (from 0) and what it is worth."""

    source: int
    unit: Unit
    score: float
    found: frozenset[str]
    """Terms of the question in the unit or its heading."""
    bag: frozenset[str] = frozenset()
    """Terms of the unit, without stop words."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Units to quote, and the part of the question's weight that they cover."""

    picked: tuple[Candidate, ...]
    coverage: float


@dataclass(frozen=True, slots=True)
class _Line:
    """A unit with its terms, and those of its heading and of the headings above."""

    unit: Unit
    counts: Counter[str]
    bag: frozenset[str]
    heading: frozenset[str]
    path: frozenset[str]
    words: frozenset[str]
    chinese: bool
    last: bool


@lru_cache(maxsize=CACHED)
def _lines(text: str, title: str) -> tuple[_Line, ...]:
    found = units(text, title)
    headings = {heading: _heading_terms(heading) for heading in {unit.heading for unit in found}}
    lines = []
    for place, unit in enumerate(found, start=1):
        counts = Counter(terms(unit.text))
        own, above = headings[unit.heading]
        lines.append(
            _Line(
                unit,
                counts,
                frozenset(counts),
                own,
                above,
                words(unit.text),
                is_chinese(unit.text),
                place == len(found),
            )
        )
    return tuple(lines)


def _heading_terms(heading: str) -> tuple[frozenset[str], frozenset[str]]:
    path, _, last = heading.rpartition(SEPARATOR)
    return frozenset(terms(last)), frozenset(terms(path))


class _Corpus:
    """All units of all passages. Counted as at least :data:`FEW_UNITS`: in one short passage a word that every
    sentence has would otherwise weigh next to nothing beside a word that none has.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.lines = [
            (place, line) for place, source in enumerate(sources) for line in _lines(source.text, source.title)
        ]
        self.frequency = Counter(term for _, line in self.lines for term in line.bag)
        self.shown = {(place, line.unit.heading) for place, line in self.lines if line.unit.kind is Kind.CODE}
        """Sections with a block of code."""
        self.mean = max(1.0, sum(line.counts.total() for _, line in self.lines) / max(1, len(self.lines)))

    def idf(self, term: str) -> float:
        known = self.frequency[term]
        return math.log(1 + (max(len(self.lines), FEW_UNITS) - known + 0.5) / (known + 0.5))


def choose(question: Question, sources: Sequence[Source]) -> Choice:
    """The units to quote, best passage first, in reading order within a passage. Empty where nothing matches."""
    corpus = _Corpus(sources)
    weights = {term: weight * corpus.idf(term) for term, weight in question.weights.items()}
    total = sum(weights.values())
    ranked = _rank(question, sources, corpus, weights)
    if not ranked or not total:
        return Choice((), 0.0)
    picked = _pick(ranked, weights)
    found = frozenset[str]().union(*(candidate.found for candidate in picked))
    whole = _with_context(question, picked, corpus)
    return Choice(_in_order(whole), sum(weights[term] for term in found) / total)


def _rank(question: Question, sources: Sequence[Source], corpus: _Corpus, weights: dict[str, float]) -> list[Candidate]:
    best_score = max((source.score for source in sources), default=0.0)
    total = sum(weights.values())
    ranked: list[Candidate] = []
    for place, line in corpus.lines:
        own = frozenset(term for term in weights if term in line.bag)
        heading = frozenset(term for term in weights if term in line.heading)
        above = frozenset(term for term in weights if term in line.path)
        if not (own or heading) or (line.unit.kind is Kind.CODE and not _shows(question, line.unit)):
            continue
        length = line.counts.total() / corpus.mean
        score = sum(weights[term] * _saturated(line.counts[term], length) for term in own)
        titled = sum(weights[term] for term in heading)
        score += HEADING_SHARE * sum(weights[term] for term in heading - own)
        score += PATH_SHARE * sum(weights[term] for term in above - heading - own)
        score *= _passage_factor(place, sources[place].score, best_score) * _unit_factor(question, line, bool(own))
        if line.unit.index < OPENING:
            # Under a heading that is the question itself, the answer comes at once.
            score *= 1 + 0.8 * titled / total if total else 1.0
        if question.asks is Asks.PROCEDURE and (place, line.unit.heading) in corpus.shown:
            score *= SHOWS_HOW
        ranked.append(Candidate(place, line.unit, score, own | heading | above, line.bag - STOP_STEMS))
    ranked.sort(key=lambda candidate: (-candidate.score, candidate.source, candidate.unit.index))
    return ranked


def _shows(question: Question, unit: Unit) -> bool:
    """Whether a block of code answers by itself."""
    return question.asks is Asks.PROCEDURE and unit.text.count("\n") <= MAX_CODE_LINES


def _saturated(count: int, length: float) -> float:
    return count * (K1 + 1) / (count + K1 * (1 - B + B * length))


def _passage_factor(place: int, score: float, best: float) -> float:
    """Between 1 and 0.4: retrieval has seen more of the passage than one unit shows."""
    relative = score / best if best > 0 else 1.0
    return 0.4 + 0.6 * max(0.0, min(1.0, relative)) * (0.97**place)


def _unit_factor(question: Question, line: _Line, own: bool) -> float:
    text = line.unit.text
    factor = 1.1 if line.unit.first else 1.0
    if line.chinese != question.chinese:
        factor *= 0.75
    if text[:1].islower() or text.endswith(("?", "？")):
        factor *= 0.6
    if len(text) < (SHORT_CJK if line.chinese else SHORT_LATIN):
        factor *= 0.85
    if LEANS.search(text):
        factor *= 0.7
    if line.unit.kind is Kind.SENTENCE and not ENDS.search(text):
        # A caption or a label.
        factor *= 0.7
    if not own:
        factor *= 0.8
    if line.last and LEADS_ON.search(text):
        # What it leads on to is not here.
        factor *= 0.5
    if line.unit.kind is Kind.ROW and question.asks not in (Asks.QUANTITY, Asks.LISTING):
        factor *= 0.8
    if question.words:
        # The very form of a word counts a little: "install" is not "installed".
        factor *= 1 + 0.35 * len(question.words & line.words) / len(question.words)
    if question.asks is Asks.DEFINITION:
        return factor * _definition(question, line)
    return factor * fits(question.asks, line.unit)


def _definition(question: Question, line: _Line) -> float:
    """A definition names its subject first and then says what it is."""
    text = line.unit.text
    verb = DEFINES.search(text, 1)
    if not verb or verb.start() > 60:
        return 0.9
    subject = terms(text[: verb.start()], question=True)
    named = sum(term in question.weights for term in subject)
    if not named or line.unit.kind is Kind.ROW:
        return 1.0
    return 1.7 if 2 * named >= len(subject) else 1.2


def _pick(ranked: list[Candidate], weights: dict[str, float]) -> list[Candidate]:
    best = ranked[0]
    picked, room = [best], (MAX_CJK if is_chinese(best.unit.text) else MAX_LATIN) - len(best.unit.text)
    covered = set(best.found)
    # Of one passage, a few lines that say the same as others are not worth a look.
    pool = [candidate for candidate in ranked[1:40] if candidate.score >= KEEP * best.score]
    while pool and len(picked) < MAX_UNITS:
        valued = [(_gain(candidate, picked, covered, weights), candidate) for candidate in pool]
        gain, following = max(valued, key=lambda pair: (pair[0], -pair[1].source, -pair[1].unit.index))
        pool.remove(following)
        if gain < KEEP * best.score:
            break
        if gain < KEEP_ELSEWHERE * best.score and all(other.source != following.source for other in picked):
            continue
        if len(following.unit.text) > room:
            continue
        picked.append(following)
        covered |= following.found
        room -= len(following.unit.text)
    return picked


def _gain(candidate: Candidate, picked: list[Candidate], covered: set[str], weights: dict[str, float]) -> float:
    """The score, less what the chosen ones already say; more where it adds terms or goes on from a chosen unit."""
    same = max(_overlap(candidate.bag, other.bag) for other in picked)
    total = sum(weights.values())
    new = sum(weights[term] for term in candidate.found - covered) / total
    near = any(other.source == candidate.source and other.unit.block == candidate.unit.block for other in picked)
    return candidate.score * (1 - same) * (0.5 + min(0.5, 1.5 * new) + (0.15 if near else 0.0))


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    smaller = min(len(one), len(other))
    return len(one & other) / smaller if smaller else 1.0


def _with_context(question: Question, picked: list[Candidate], corpus: _Corpus) -> list[Candidate]:
    """Add what the chosen units need to be understood: the sentence a "This ..." leans on, the steps or the code that
    follow a colon.
    """
    places = {(place, line.unit.index): line.unit for place, line in corpus.lines}
    best = picked[0]
    chosen = {(candidate.source, candidate.unit.index): candidate for candidate in picked}
    for candidate in picked:
        for index in _needed(question, candidate, places):
            key = (candidate.source, index)
            chosen.setdefault(key, Candidate(candidate.source, places[key], candidate.score * 0.5, frozenset()))
    extra = _command(question, best, chosen.values(), corpus) or _more(best, chosen.values(), places)
    for unit in extra:
        chosen.setdefault((best.source, unit.index), Candidate(best.source, unit, best.score * 0.5, frozenset()))
    return list(chosen.values())


def _command(question: Question, best: Candidate, chosen: Iterable[Candidate], corpus: _Corpus) -> list[Unit]:
    """The block of code that shows how, from the section of the best unit."""
    if question.asks is not Asks.PROCEDURE or any(candidate.unit.kind is Kind.CODE for candidate in chosen):
        return []
    section = [line for place, line in corpus.lines if place == best.source and line.unit.heading == best.unit.heading]
    titled = any(term in section[0].heading for term in question.weights)
    shown = (line.unit for line in section if _shows(question, line.unit) and line.unit.kind is Kind.CODE)
    asked = frozenset(question.weights)
    return [unit for unit in shown if titled or asked & frozenset(terms(unit.text))][:1]


def _more(best: Candidate, chosen: Iterable[Candidate], places: dict[tuple[int, int], Unit]) -> list[Unit]:
    """The sentence after a short answer: it says how or why."""
    after = places.get((best.source, best.unit.index + 1))
    brief = len(best.unit.text) < (BRIEF_CJK if is_chinese(best.unit.text) else BRIEF_LATIN)
    if not brief or len(list(chosen)) > 1 or after is None:
        return []
    same = after.block == best.unit.block and after.kind is best.unit.kind is Kind.SENTENCE
    return [after] if same and not LEADS_ON.search(after.text) else []


def _needed(question: Question, candidate: Candidate, places: dict[tuple[int, int], Unit]) -> list[int]:
    unit, source = candidate.unit, candidate.source
    wanted: list[int] = []
    before = places.get((source, unit.index - 1))
    if LEANS.search(unit.text) and before and before.block == unit.block and before.kind is Kind.SENTENCE:
        wanted.append(before.index)
    after = places.get((source, unit.index + 1))
    if after is None or after.heading != unit.heading:
        return wanted
    procedural = question.asks is Asks.PROCEDURE
    if after.kind is Kind.CODE and (LEADS_ON.search(unit.text) or procedural):
        wanted.extend([after.index] if after.text.count("\n") <= MAX_CODE_LINES else [])
    elif after.kind in (Kind.ITEM, Kind.ROW) and LEADS_ON.search(unit.text):
        wanted.extend(_list_after(after, source, places))
    elif LEADS_ON.search(unit.text) and after.block != unit.block:
        wanted.append(after.index)
    elif unit.kind is Kind.ITEM and unit.number and question.asks is Asks.PROCEDURE:
        wanted.extend(_list_after(after, source, places)[:5])
    return wanted


def _list_after(first: Unit, source: int, places: dict[tuple[int, int], Unit]) -> list[int]:
    """Items of the list that ``first`` begins, at most eight."""
    found: list[int] = []
    index = first.index
    while len(found) < 8 and (unit := places.get((source, index))) and unit.block == first.block:
        found.append(index)
        index += 1
    return found


def _in_order(picked: list[Candidate]) -> tuple[Candidate, ...]:
    best = {candidate.source: 0.0 for candidate in picked}
    for candidate in picked:
        best[candidate.source] = max(best[candidate.source], candidate.score)
    return tuple(sorted(picked, key=lambda item: (-best[item.source], item.source, item.unit.index)))
