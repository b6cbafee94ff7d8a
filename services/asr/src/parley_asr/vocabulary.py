"""A language model of what a knowledge base is about, mixed with a general one. Pure.

For engines that recognise words by n-grams: the words of the base's passages get a probability that they lack in
everyday speech, and so do the pairs and triples in which they stand. What the base does not say keeps the general
model's probability, scaled down.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
DISCOUNT = 0.5
OWN = 0.8
"""Share of the base's own text in each probability."""
COMMON = 5000
"""Words of everyday speech that can be said of any base."""
FREQUENT = 120
"""Of those: words whose followers are taken from the general model too."""
FOLLOWERS = 1500
LEAST_FOLLOWER = 1e-3

_TOKEN = re.compile(r"[A-Z]{2,}(?![a-z])|[A-Z]?[a-z]+(?:'[a-z]+)*|[A-Z]|\d+")
_SENTENCE = re.compile(r"[.!?;:|\n\r。！？；：]+")
_TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", *_TEENS]
_TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


General = Callable[[Sequence[str]], float]
"""Probability of the last word after the ones before it."""


def spoken_number(number: int) -> list[str]:
    """Below a million, as it is said."""
    if number >= 1000:
        rest = spoken_number(number % 1000) if number % 1000 else []
        return [*spoken_number(number // 1000), "thousand", *rest]
    if number >= 100:
        rest = spoken_number(number % 100) if number % 100 else []
        return [_ONES[number // 100], "hundred", *rest]
    if number >= 20:
        return [_TENS[number // 10], *([_ONES[number % 10]] if number % 10 else [])]
    return [_ONES[number]]


def sentences(text: str) -> Iterator[list[str]]:
    """Words as they are said, as they are written: lower-case but for abbreviations."""
    for piece in _SENTENCE.split(text):
        words: list[str] = []
        for token in _TOKEN.findall(piece.replace("’", "'")):
            if not token.isdigit():
                words.append(token if token.isupper() and len(token) > 1 else token.lower())
            elif len(token) <= 6:
                words += spoken_number(int(token))
        if words:
            yield words


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one base's text."""

    unigrams: Counter[str]
    bigrams: Counter[tuple[str, str]]
    trigrams: Counter[tuple[str, str, str]]


def count(texts: Iterable[str], known: Callable[[str], bool], *, most: int) -> Counts:
    """N-grams of words that are ``known``; of at most ``most`` words of text. An unknown one parts its sentence."""
    unigrams: Counter[str] = Counter()
    bigrams: Counter[tuple[str, str]] = Counter()
    trigrams: Counter[tuple[str, str, str]] = Counter()
    seen = 0
    for text in texts:
        for sentence in sentences(text):
            words = [BEGIN, *(word.lower() if known(word.lower()) else UNKNOWN for word in sentence), END]
            unigrams.update(word for word in words[1:] if word != UNKNOWN)
            bigrams.update(pair for pair in pairwise(words) if UNKNOWN not in pair)
            trigrams.update(
                triple for triple in zip(words, words[1:], words[2:], strict=False) if UNKNOWN not in triple
            )
            seen += len(sentence)
        if seen >= most:
            break
    return Counts(unigrams, bigrams, trigrams)


def arpa(counts: Counts, common: Sequence[str], general: General) -> Iterator[str]:
    """Lines of the mixed model in ARPA's format. ``common``: words of the general model, most frequent first."""
    unigrams = _unigrams(counts, common, general)
    bigrams = _bigrams(counts, unigrams, common, general)
    trigrams = _trigrams(counts, bigrams)
    yield "\\data\\"
    yield from (f"ngram {order}={len(table)}" for order, table in ((1, unigrams), (2, bigrams), (3, trigrams)))
    yield from ("", "\\1-grams:")
    spare = _spare(bigrams, lambda pair: (pair[0],), lambda pair: unigrams[pair[1]])
    for word, probability in sorted(unigrams.items()):
        yield f"{_log(probability)} {word} {_log(spare.get((word,), 1.0))}"
    yield from ("", "\\2-grams:")
    lower = _after(unigrams, bigrams, spare)
    spare2 = _spare(trigrams, lambda triple: triple[:2], lambda triple: lower(triple[1], triple[2]))
    for pair, probability in sorted(bigrams.items()):
        yield f"{_log(probability)} {' '.join(pair)} {_log(spare2.get(pair, 1.0))}"
    yield from ("", "\\3-grams:")
    for triple, probability in sorted(trigrams.items()):
        yield f"{_log(probability)} {' '.join(triple)}"
    yield from ("", "\\end\\")


def _unigrams(counts: Counts, common: Sequence[str], general: General) -> dict[str, float]:
    total = sum(counts.unigrams.values()) or 1
    words = dict.fromkeys([*common, *counts.unigrams, END])
    found = {word: OWN * counts.unigrams[word] / total + (1 - OWN) * general((word,)) for word in words}
    whole = sum(found.values()) or 1.0
    return {word: max(probability / whole, 1e-9) for word, probability in found.items()} | {BEGIN: 1e-10}


def _bigrams(
    counts: Counts, unigrams: dict[str, float], common: Sequence[str], general: General
) -> dict[tuple[str, str], float]:
    begun = _heads(counts.bigrams, lambda pair: pair[0])
    found = {
        pair: OWN * (number - DISCOUNT) / begun[pair[0]] + (1 - OWN) * general(pair)
        for pair, number in counts.bigrams.items()
    }
    followers = [word for word in common[:FOLLOWERS] if word in unigrams]
    for head in (BEGIN, *common[:FREQUENT]):
        share = 1 - OWN if head in begun else 1.0
        for word in followers:
            if (head, word) not in found and (probability := general((head, word))) >= LEAST_FOLLOWER:
                found[head, word] = share * probability
    return found


def _trigrams(counts: Counts, bigrams: dict[tuple[str, str], float]) -> dict[tuple[str, str, str], float]:
    begun = _heads(counts.trigrams, lambda triple: triple[:2])
    return {
        triple: OWN * (number - DISCOUNT) / begun[triple[:2]] + (1 - OWN) * bigrams[triple[1:]]
        for triple, number in counts.trigrams.items()
    }


def _heads(counted: Counter, head: Callable) -> Counter:  # type: ignore[type-arg]
    heads: Counter = Counter()  # type: ignore[type-arg]
    for gram, number in counted.items():
        heads[head(gram)] += number
    return heads


def _spare(table: dict, head: Callable, lower: Callable) -> dict[tuple[str, ...], float]:  # type: ignore[type-arg]
    """What is left for words that were not seen after a head, over what they have in the lower order."""
    seen: defaultdict[tuple[str, ...], float] = defaultdict(float)
    below: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for gram, probability in table.items():
        seen[head(gram)] += probability
        below[head(gram)] += lower(gram)
    return {
        one: max(1e-4, 1 - min(mass, 0.9999)) / max(1e-4, 1 - min(below[one], 0.9999)) for one, mass in seen.items()
    }


def _after(
    unigrams: dict[str, float], bigrams: dict[tuple[str, str], float], spare: dict[tuple[str, ...], float]
) -> Callable[[str, str], float]:
    def probability(head: str, word: str) -> float:
        found = bigrams.get((head, word))
        return spare.get((head,), 1.0) * unigrams[word] if found is None else found

    return probability


def _log(probability: float) -> str:
    return f"{math.log10(probability):.4f}"
