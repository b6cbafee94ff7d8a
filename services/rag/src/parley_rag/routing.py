"""What a question is and where it goes. Pure.

Retrieve by default: only a message that is small talk from its first word to its last skips retrieval. A gate that
guesses harder loses answers silently.
"""

import enum
import re
import unicodedata
from dataclasses import dataclass

from parley_rag.words import word_list


class Intent(enum.StrEnum):
    """What the user's words were taken for."""

    QUESTION = "question"
    FOLLOW_UP = "follow_up"
    """A question that leans on the turn before it."""
    SMALL_TALK = "small_talk"
    NO_DOCUMENTS = "no_documents"
    """A question to the default base before anything was ingested."""
    QUERY_DATA = "query_data"
    """A question about measured data."""


class Route(enum.StrEnum):
    """Where it goes."""

    KNOWLEDGE_BASE = "knowledge_base"
    SMALL_TALK = "small_talk"
    QUERY_DATA = "query_data"


@dataclass(frozen=True, slots=True)
class Decision:
    """Intent and route of one message."""

    intent: Intent
    route: Route


_ALLOWED = word_list("small_talk")
"""The allow-list, folded as :func:`_fold` does; Chinese in simplified and traditional characters."""

_MAX_SMALL_TALK = 60
"""Code points: anything longer is a question."""


def _fold(text: str) -> str:
    """Lower case, without punctuation, symbols (emoji too) and repeated white space."""
    folded = unicodedata.normalize("NFKC", text).lower().replace("'", "").replace("’", "")
    kept = "".join(" " if unicodedata.category(char)[0] in "PSZC" else char for char in folded)
    return re.sub(r"\s+", " ", kept).strip()


def is_small_talk(text: str) -> bool:
    """Whether all of ``text`` is on the allow-list, also as several phrases ("hi, thanks!")."""
    if len(text) > _MAX_SMALL_TALK:
        return False
    if _fold(text) in _ALLOWED:
        return True
    parts = [_fold(part) for part in re.split(r"[,.!?;~，。！？；～…、\n]+", text)]
    return all(part in _ALLOWED for part in parts if part)


def decide(question: str, *, leans: bool) -> Decision:
    """``leans``: the question was found to depend on the conversation."""
    if is_small_talk(question):
        return Decision(Intent.SMALL_TALK, Route.SMALL_TALK)
    return Decision(Intent.FOLLOW_UP if leans else Intent.QUESTION, Route.KNOWLEDGE_BASE)
