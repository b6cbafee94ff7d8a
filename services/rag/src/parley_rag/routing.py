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
    if _allowed(_fold(text)):
        return True
    parts = [_fold(part) for part in re.split(r"[,.!?;~，。！？；～…、\n]+", text)]
    return all(_allowed(part) for part in parts if part)


_TAIL = re.compile(
    r"(?<=[\u4e00-\u9fff]{2})[呀啊哦哈啦呢吧嘛哇喔噢]+$|(?<=\w) (?:there|today|again|everyone|all|guys|so much)$"
)

_HEAD = re.compile("^(?:那就?|嗯+|哦+|啊+|哎+)(?=[\u4e00-\u9fff]{2})")


def _allowed(folded: str) -> bool:
    """Whether it is on the list, also with a particle or an address behind it (晚上好呀, hello everyone), or is nothing
    but phrases of the list (ok great thanks, 好的谢谢).
    """
    bare = _HEAD.sub("", _TAIL.sub("", folded))
    return folded in _ALLOWED or bare in _ALLOWED or _phrases(folded)


def _phrases(text: str) -> bool:
    """Whether ``text`` is a row of allowed phrases: whole words, or at least two characters each."""
    reached = {0}
    for end in range(1, len(text) + 1):
        if end == len(text) or text[end] == " " or not text[end - 1].isascii():
            starts = (start for start in reached if end - start > 1)
            if any(text[start:end].strip() in _ALLOWED for start in starts):
                reached.add(end)
    return bool(text) and len(text) in reached


def decide(question: str, *, leans: bool) -> Decision:
    """``leans``: the question was found to depend on the conversation."""
    if is_small_talk(question):
        return Decision(Intent.SMALL_TALK, Route.SMALL_TALK)
    return Decision(Intent.FOLLOW_UP if leans else Intent.QUESTION, Route.KNOWLEDGE_BASE)
