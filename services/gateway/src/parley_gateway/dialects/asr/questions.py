"""Whether an utterance holds a question, in Chinese, English or both. Pure.

A question is what asks for information: direct, indirect ("I wonder if ..."), or as an imperative ("list the open
orders"). Not: statements with a question word in them, tags ("..., right"), rhetorical ones, fillers, backchannels,
commands to do something. Recognisers give no punctuation, so nothing depends on it; a question mark helps.

``python -m bench.questions`` reports precision and recall on labelled utterances.
"""

import re
import unicodedata

from parley_gateway.dialects.asr import chinese, english

MAX_READ = 2_000
"""Characters looked at, from the end: what is asked comes last, and this runs on the gateway's loop."""

_CLAUSE = re.compile(r"[^,.!?;:\n、]+[?]*")
_WIDE = re.compile(r"[\u3400-\u9fff]+")
_POINT = re.compile(r"(?<=\d)[.,](?=\d)")


def is_question(text: str) -> bool:
    """Whether any clause of ``text`` asks for information."""
    folded = unicodedata.normalize("NFKC", text[-MAX_READ:]).lower().translate(_PLAIN)
    clauses = _CLAUSE.findall(_POINT.sub("", folded))
    return any(
        _asks(clause.rstrip("?").strip(), clause.endswith("?"), bool(index)) for index, clause in enumerate(clauses)
    )


def _asks(clause: str, marked: bool, follows: bool) -> bool:
    """``marked``: it ends in a question mark; ``follows``: something was said before it, so that it may be a tag."""
    if not clause:
        return False
    if not _WIDE.search(clause):
        return english.asks(clause, marked=marked, follows=follows)
    return chinese.asks(clause, marked=marked) or english.asks(_WIDE.sub(" x ", clause))


_PLAIN = str.maketrans('’‘。「」“”"', "''.     ") | str.maketrans(
    "嗎麼誰為什樣幾裡裏哪個嘛會請問幫說講過還沒時間點號這們給對嘗難處決訴紹釋總結較對應講聽見並與讓",
    "吗么谁为什样几里里哪个嘛会请问帮说讲过还没时间点号这们给对尝难处决诉绍释总结较对应讲听见并与让",
)
"""Curly quotes, and the traditional characters of the words that tell a question."""
