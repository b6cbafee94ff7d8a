"""Text to search terms, for English and Chinese (and Japanese, Korean) without a dictionary.

Words are folded (NFKC, lower case) and stemmed; identifiers (``snake_case``, ``camelCase``, ``apt-get``, ``a.b.c``)
yield their parts and stay whole as well; CJK runs yield single characters and overlapping pairs.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

import snowballstemmer  # type: ignore[import-untyped]  # it ships no types

from parley_rag.words import word_list

CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
CJK_START = "\u2e80"
"""Terms that sort after this one are Chinese, Japanese or Korean."""
_CJK_CHAR = re.compile(f"[{CJK}\U00020000-\U0003ffff]")
_LATIN = rf"[^\W_{CJK}\U00020000-\U0003ffff]"
_TOKEN = re.compile(
    rf"(?P<cjk>[{CJK}\U00020000-\U0003ffff]+)|(?P<word>_*{_LATIN}+(?:[._'’/:@-]*_*{_LATIN}+)*[+#]{{0,2}})"
)
_PART = re.compile(rf"{_LATIN}+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[a-z]{2})(?=\d)|(?<=\d)(?=[A-Za-z]{2})")
_POSSESSIVE = re.compile(r"['’](?:s|t|re|ve|ll|d|m)?(?=\W|$)", re.IGNORECASE)

MAX_WORD = 64
"""Code points of a term; longer ones (hashes, base64) are cut."""

STOP_WORDS = word_list("stop_words")
"""Left out of a query that has other words. Kept in the index."""

_STOP_CJK = re.compile(
    "请问一下|请问|请告诉我|告诉我|我想知道|想知道|能不能|可不可以|是不是|有没有|什么样的|什么样|什么是|是什么|什么叫|什么|怎么样|怎么办"
    "|怎么|怎样|如何|为什么|为何|哪些|哪个|哪里|哪儿|多少|可以|能够|一下|介绍|(?:吗|呢|吧|啊|呀|嘛|了|的)(?=[^\\w]|$)"
)

_stem = snowballstemmer.stemmer("english").stemWord


class Term(NamedTuple):
    """A term to count. ``unit``: a word part or a single character, which takes one place in the text; the others
    (whole identifiers, character pairs) overlap with units.
    """

    text: str
    unit: bool


@functools.lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """Porter's English stem of a lower-case word; words with digits or other scripts are left alone."""
    return _stem(word) if word.isascii() and word.isalpha() else word


def fold(text: str) -> str:
    """NFKC: full-width letters, ligatures and half-width kana become the plain ones. Case is kept."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def terms(text: str) -> Iterator[Term]:
    """All terms of ``text`` in order."""
    for match in _TOKEN.finditer(fold(text)):
        run = match.group("cjk")
        if run is None:
            yield from _parts(match.group("word"))
            continue
        previous = ""
        for char in run:
            if previous:
                yield Term(previous + char, unit=False)
            yield Term(char, unit=True)
            previous = char


def _parts(word: str) -> tuple[Term, ...]:
    return _word(word) if len(word) <= MAX_WORD else _word.__wrapped__(word)  # nothing large stays in the cache


@functools.lru_cache(maxsize=100_000)
def _word(word: str) -> tuple[Term, ...]:
    tail = word[len(word.rstrip("+#")) :]
    bare = _POSSESSIVE.sub("", word.rstrip("+#"))
    parts = [piece for part in _PART.findall(bare) for piece in _CAMEL.split(part)]
    result = [Term(stem(part.lower()[:MAX_WORD]), unit=True) for part in parts]
    if len(parts) > 1 or tail:
        # meta-package is metapackage, max_size is maxSize; 3.10 and a/b stay as they stand.
        whole = bare.lower().strip("_") if any(mark in bare for mark in "./:@") else stem("".join(parts).lower())
        result.append(Term(whole[:MAX_WORD] + tail, unit=False))
    return tuple(result)


def query_terms(text: str) -> list[Term]:
    """Terms of a question: without stop words, unless nothing else is left."""
    return content_terms(text) or list(terms(text))


def content_terms(text: str) -> list[Term]:
    """Terms that carry meaning: without stop words and question phrases. May be empty."""
    folded = fold(text)
    # Among Chinese, a Latin word is a name: ``at`` is the command.
    return list(terms(_STOP_CJK.sub(" ", folded)) if _CJK_CHAR.search(folded) else _without_stops(folded))


def _without_stops(text: str) -> Iterator[Term]:
    for match in _TOKEN.finditer(text):
        word = match.group("word")
        if word is not None and _POSSESSIVE.sub("", word).lower() not in STOP_WORDS:
            yield from _parts(word)


def is_wide(text: str) -> bool:
    """Whether ``text`` reads as Chinese (or Japanese, Korean): a tenth of its characters, or any in a short one."""
    return len(_CJK_CHAR.findall(text)) * 10 > len(text)
