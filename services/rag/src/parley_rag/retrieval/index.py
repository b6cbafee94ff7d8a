"""An incremental index of one knowledge base: BM25F over body and headings, then proximity among the best.

BM25F: Robertson, Zaragoza, "The Probabilistic Relevance Framework" (2009). Proximity: Büttcher, Clarke, Lushman,
"Term proximity scoring for ad-hoc retrieval on very large text collections" (2006). Scores depend on what is stored
alone, never on the order in which it came, so every process and every rebuild gives the same results.
"""

import bisect
import math
from array import array
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from parley_rag.tokens import CJK_START, Term, content_terms, query_terms, terms

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Tuning:
    """Weights, set by ``bench/retrieval``. ``lead``: what opens a section says what it is about."""

    k1: float = 3.0
    b: float = 0.75
    title: float = 3.0
    lead: float = 2.0
    unigram: float = 0.1
    compound: float = 0.4
    proximity: float = 0.1
    context: float = 0.4
    candidates: int = 64


DEFAULT = Tuning()
MAX_QUERY = 2_000
"""Code points of a query that are read."""
LEAD_WORDS = 32
LEAD_CHARACTERS = 100
"""Length of a lead: words, or characters where the text is Chinese."""
MAX_TERMS = 96
"""Distinct terms of a query that are scored; the rarest are kept."""


@dataclass(frozen=True, slots=True)
class Analysed:
    """Terms of one passage, ready to be added: counts by field, and the body's units in order."""

    body: Counter[str]
    title: Counter[str]
    lead: Counter[str]
    units: tuple[str, ...]


def analyse(title: str, text: str, *, opens: bool = True) -> Analysed:
    """Pure, and the costly part of adding a passage. ``opens``: the passage is the first of its section."""
    body = list(terms(text))
    return Analysed(
        body=Counter(term.text for term in body),
        title=Counter(term.text for term in terms(title)),
        lead=_lead(body) if opens else Counter(),
        units=tuple(term.text for term in body if term.unit),
    )


def _lead(body: list[Term]) -> Counter[str]:
    counts: Counter[str] = Counter()
    room = 1.0
    for term in body:
        counts[term.text] += 1
        if term.unit:
            room -= 1 / (LEAD_CHARACTERS if term.text > CJK_START else LEAD_WORDS)
        if room <= 0:
            break
    return counts


class _Postings:
    """Where one term occurs: slots in rising order, with its count in the body and its weight in title and lead."""

    __slots__ = ("_frozen", "body", "head", "slots")

    def __init__(self) -> None:
        self.slots = array("i")
        self.body = array("H")
        self.head = array("f")
        self._frozen: tuple[Ints, Floats, Floats] | None = None

    def add(self, slot: int, body: int, head: float) -> None:
        place = len(self.slots)
        if place and self.slots[-1] > slot:
            place = bisect.bisect_left(self.slots, slot)
        self.slots.insert(place, slot)
        self.body.insert(place, min(body, 65_535))
        self.head.insert(place, head)
        self._frozen = None

    def remove(self, slot: int) -> None:
        place = bisect.bisect_left(self.slots, slot)
        for column in (self.slots, self.body, self.head):
            del column[place]
        self._frozen = None

    def arrays(self) -> tuple[Ints, Floats, Floats]:
        if self._frozen is None:
            self._frozen = (
                np.array(self.slots, dtype=np.int32),
                np.array(self.body, dtype=np.float64),
                np.array(self.head, dtype=np.float64),
            )
        return self._frozen


class _Vocabulary:
    """Numbers for terms, and each one's postings. A term that no passage holds any more gives its number back, so that
    what was once stored takes no memory.
    """

    def __init__(self) -> None:
        self.postings: list[_Postings] = []
        self._numbers: dict[str, int] = {}
        self._texts: list[str] = []
        self._spare: list[int] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def find(self, text: str) -> int:
        """-1 for a term that no passage holds."""
        return self._numbers.get(text, -1)

    def intern(self, text: str) -> int:
        number = self._numbers.get(text)
        if number is not None:
            return number
        if self._spare:
            number = self._spare.pop()
            self._texts[number] = text
        else:
            number = len(self.postings)
            self._texts.append(text)
            self.postings.append(_Postings())
        self._numbers[text] = number
        return number

    def remove(self, number: int, slot: int) -> None:
        """The passage in ``slot`` holds the term no more."""
        self.postings[number].remove(slot)
        if not self.postings[number].slots:
            self.postings[number] = _Postings()
            del self._numbers[self._texts[number]]
            self._texts[number] = ""
            self._spare.append(number)


@dataclass(frozen=True, slots=True)
class _Query:
    """A question against the current contents: distinct terms by weight, and its units in order."""

    weights: dict[int, float]
    units: tuple[int, ...]
    ideal: float


class PassageIndex:
    """Passages by their order key (any sortable tuple). Not for use from several threads at once."""

    def __init__(self, tuning: Tuning = DEFAULT) -> None:
        self._tuning = tuning
        self._vocabulary = _Vocabulary()
        self._keys: list[tuple[str, int] | None] = []
        self._terms: list[tuple[int, ...]] = []
        self._units: list[Ints] = []
        self._lengths = array("i")
        self._free: list[int] = []
        self._norms: Floats | None = None

    def __len__(self) -> int:
        return len(self._keys) - len(self._free)

    @property
    def vocabulary(self) -> int:
        """Distinct terms held."""
        return len(self._vocabulary)

    def add(self, key: tuple[str, int], passage: Analysed) -> int:
        """Add a passage; returns its slot, by which it is removed."""
        slot = self._slot()
        tuning = self._tuning
        every = passage.body.keys() | passage.title.keys()
        self._keys[slot] = key
        self._terms[slot] = tuple(self._vocabulary.intern(term) for term in every)
        self._units[slot] = np.array([self._vocabulary.intern(unit) for unit in passage.units], dtype=np.int32)
        self._lengths[slot] = len(passage.units)
        for number, term in zip(self._terms[slot], every, strict=True):
            head = tuning.title * passage.title.get(term, 0) + tuning.lead * passage.lead.get(term, 0)
            self._vocabulary.postings[number].add(slot, passage.body.get(term, 0), head)
        self._norms = None
        return slot

    def remove(self, slot: int) -> None:
        """Forget the passage in ``slot``."""
        for term in self._terms[slot]:
            self._vocabulary.remove(term, slot)
        self._keys[slot] = None
        self._terms[slot] = ()
        self._units[slot] = np.empty(0, dtype=np.int32)
        self._lengths[slot] = 0
        self._free.append(slot)
        self._norms = None

    def search(self, query: str, limit: int, context: str = "") -> list[tuple[int, float]]:
        """(slot, score) of the best ``limit``. Scores: 0 to about 1, the share of the question that was met.
        Words of ``context`` that are not in ``query`` count for :attr:`Tuning.context` of their weight.
        """
        lead = content_terms(query[:MAX_QUERY]) if context else query_terms(query[:MAX_QUERY])
        wanted = self._query(lead, content_terms(context[:MAX_QUERY]))
        if not wanted.weights or not len(self):
            return []
        scores = self._bm25f(wanted)
        found = self._best(scores, max(limit, self._tuning.candidates))
        if not found.size:
            return []
        totals = (scores[found] + self._proximity(found, wanted)) / wanted.ideal
        ranked = sorted(zip(found.tolist(), totals.tolist(), strict=True), key=self._rank)
        return ranked[:limit]

    def _rank(self, item: tuple[int, float]) -> tuple[float, tuple[str, int]]:
        return -round(item[1], 9), self._keys[item[0]] or ("", 0)

    def _slot(self) -> int:
        if self._free:
            return self._free.pop()
        self._keys.append(None)
        self._terms.append(())
        self._units.append(np.empty(0, dtype=np.int32))
        self._lengths.append(0)
        return len(self._keys) - 1

    def _query(self, wanted: list[Term], context: list[Term]) -> _Query:
        counts = {text: float(min(count, 3)) for text, count in Counter(term.text for term in wanted).items()}
        for term in context:
            counts.setdefault(term.text, self._tuning.context)
        units = {term.text for term in (*wanted, *context) if term.unit}
        weights: dict[int, float] = {}
        ideal = 0.0
        for text, count in counts.items():
            number = self._vocabulary.find(text)
            weight = self._idf(number) * _kind_weight(self._tuning, text, text in units) * count
            ideal += weight
            if number >= 0:
                weights[number] = weight
        if len(weights) > MAX_TERMS:
            weights = dict(sorted(weights.items(), key=lambda item: -item[1])[:MAX_TERMS])
        order = tuple(self._vocabulary.find(term.text) for term in wanted if term.unit)
        return _Query(weights, order, ideal or 1.0)

    def _idf(self, number: int) -> float:
        df = len(self._vocabulary.postings[number].slots) if number >= 0 else 0
        return math.log(1 + (len(self) - df + 0.5) / (df + 0.5))

    def _length_norms(self) -> Floats:
        if self._norms is None:
            self._norms = _norm(np.array(self._lengths, dtype=np.float64), self._tuning.b, len(self))
        return self._norms

    def _bm25f(self, wanted: _Query) -> Floats:
        scores = np.zeros(len(self._keys))
        norms = self._length_norms()
        for number, weight in wanted.weights.items():
            slots, body, head = self._vocabulary.postings[number].arrays()
            tf = body * norms[slots] + head
            scores[slots] += weight * tf / (self._tuning.k1 + tf)
        return scores

    def _best(self, scores: Floats, count: int) -> npt.NDArray[np.intp]:
        """The best ``count`` slots above zero; among equals at the edge, those first in order."""
        if scores.size <= count:
            return np.flatnonzero(scores > 0)
        floor = np.partition(scores, scores.size - count)[scores.size - count]
        if floor <= 0:
            return np.flatnonzero(scores > 0)
        above = np.flatnonzero(scores > floor)
        level = sorted(np.flatnonzero(scores == floor).tolist(), key=lambda slot: self._keys[slot] or ("", 0))
        return np.concatenate((above, np.array(level[: count - above.size], dtype=np.intp)))

    def _proximity(self, found: npt.NDArray[np.intp], wanted: _Query) -> Floats:
        distinct = {number: i for i, number in enumerate(dict.fromkeys(wanted.units)) if number >= 0}
        if self._tuning.proximity == 0 or len(distinct) < 2:
            return np.zeros(found.size)
        lookup = np.full(len(self._vocabulary.postings), -1, dtype=np.int32)
        lookup[list(distinct)] = list(distinct.values())
        idf = np.zeros(len(set(wanted.units)))
        idf[list(distinct.values())] = [self._idf(number) for number in distinct]
        pull = neighbours(
            [lookup[self._units[slot]] for slot in found],
            idf,
            [(distinct[a], distinct[b]) for a, b in pairwise(wanted.units) if a in distinct and b in distinct],
        )
        k = (self._tuning.k1 / self._length_norms()[found])[:, None]
        gained: Floats = (np.minimum(idf, 1.0) * pull * (self._tuning.k1 + 1) / (k + pull)).sum(axis=1)
        return self._tuning.proximity * gained


def _kind_weight(tuning: Tuning, text: str, unit: bool) -> float:
    if unit:
        return tuning.unigram if len(text) == 1 and text > CJK_START else 1.0
    return 1.0 if text > CJK_START else tuning.compound


def neighbours(texts: list[Ints], idf: Floats, order: list[tuple[int, int]]) -> Floats:
    """How strongly each word of a question is pulled by its neighbours in each text; shape (texts, words).

    A text is an array of word numbers with -1 for words that were not asked for. Two different words with none asked
    for between them pull each other by the other's idf over their distance squared, twice as much in a given order.
    """
    row = np.repeat(np.arange(len(texts)), [text.size for text in texts])
    unit = np.concatenate(texts)
    place = np.flatnonzero(unit >= 0)
    unit, row = unit[place], row[place]
    near = (row[1:] == row[:-1]) & (unit[1:] != unit[:-1])
    left, right, rows = unit[:-1][near], unit[1:][near], row[:-1][near]
    ordered = np.zeros((idf.size, idf.size))
    for a, b in order:
        ordered[a, b] = 1.0
    strength = (1.0 + ordered[left, right]) / np.diff(place)[near].astype(np.float64) ** 2
    pull = np.zeros((len(texts), idf.size))
    np.add.at(pull, (rows, left), strength * idf[right])
    np.add.at(pull, (rows, right), strength * idf[left])
    return pull


def _norm(lengths: Floats, b: float, count: int) -> Floats:
    """Factor by which a count in each slot weighs, by the slot's length against the average one."""
    average = float(lengths.sum()) / max(count, 1)
    return np.asarray(1.0 / (1.0 - b + b * lengths / (average or 1.0)))
