"""Word error rate."""

import re
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def words(text: str) -> list[str]:
    """As they are compared: lower case, without punctuation."""
    return _WORD.findall(text.lower())


def distance(said: Sequence[str], heard: Sequence[str]) -> int:
    """Words put in the place of others, left out and put in, at least."""
    row = list(range(len(heard) + 1))
    for index, word in enumerate(said, 1):
        before, row[0] = row[0], index
        for column, other in enumerate(heard, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (word != other))
    return row[-1]


def rate(pairs: Sequence[tuple[str, str]]) -> float:
    """Of (said, heard), all words together: may be above 1. Raises ValueError where nothing was said."""
    total = sum(len(words(said)) for said, _ in pairs)
    if not total:
        raise ValueError("a word error rate needs words that were said")
    return sum(distance(words(said), words(heard)) for said, heard in pairs) / total
