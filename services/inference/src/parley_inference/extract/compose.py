"""The answer's text, and the small pieces in which it is streamed."""

import re
from collections.abc import Sequence
from itertools import groupby

from parley_inference.extract import phrases
from parley_inference.extract.blocks import Kind
from parley_inference.extract.patterns import LEADS_ON
from parley_inference.extract.questions import read_question
from parley_inference.extract.ranking import ENOUGH_CJK, ENOUGH_LATIN, Candidate, choose
from parley_inference.extract.terms import is_chinese, is_cjk
from parley_protocol.events import Source
from parley_protocol.work import ChatMessage

SMALL_TALK = "small_talk"
"""The intent that needs no passages."""
NO_DOCUMENTS = "no_documents"
"""The intent of a question to an empty knowledge base."""

_PIECE = re.compile(
    r"[\u3400-\u9fff\uac00-\ud7af\u3040-\u30ff]{1,3}[，。！？；：、”’」』）》…]*\s*|[^\s\u3400-\u9fff\uac00-\ud7af\u3040-\u30ff]{1,24}\s*|\s+"
)


def answer(
    question: str,
    sources: Sequence[Source],
    *,
    intent: str = "",
    kb: str = "default",
    messages: Sequence[ChatMessage] = (),
) -> str:
    """The whole answer: quoted units with citations ``[n]``, or one of the stated phrases. A pure function."""
    if not sources and intent == SMALL_TALK:
        return phrases.small_talk(question)
    if not sources and intent == NO_DOCUMENTS:
        return phrases.nothing_ingested(is_chinese(question), kb)
    asked = read_question(question, messages)
    choice = choose(asked, sources)
    if not choice.picked:
        return phrases.nothing_found(asked.chinese)
    if choice.coverage < (ENOUGH_CJK if asked.chinese else ENOUGH_LATIN):
        nearest = max(choice.picked, key=lambda candidate: candidate.score)
        return phrases.nearest(asked.chinese) + _write([nearest])
    return _write(choice.picked)


def pieces(text: str) -> list[str]:
    """``text`` in words and short CJK chunks; joined they are ``text`` again."""
    return _PIECE.findall(text)


def _write(picked: Sequence[Candidate]) -> str:
    """Groups of one passage, each with one citation at its end."""
    parts = [_group(list(group), source + 1) for source, group in groupby(picked, key=lambda item: item.source)]
    text = parts[0]
    for part in parts[1:]:
        text += ("\n\n" if "\n" in text or "\n" in part else " ") + part
    return text


def _group(picked: list[Candidate], number: int) -> str:
    text, last = "", None
    listed = sum(candidate.unit.kind in (Kind.ITEM, Kind.ROW) for candidate in picked) > 1
    for candidate in picked:
        unit = candidate.unit
        line = _line(candidate) if listed else unit.text
        if not text:
            text = line
        elif unit.kind is Kind.SENTENCE and last is Kind.SENTENCE and not LEADS_ON.search(text):
            text += ("" if _closes_wide(text) else " ") + line
        elif unit.kind is Kind.CODE or last is Kind.CODE or Kind.SENTENCE is unit.kind:
            text += "\n\n" + line
        else:
            text += ("\n\n" if last is Kind.SENTENCE else "\n") + line
        last = unit.kind
    if text.endswith("；"):
        # Half of a long sentence: nothing follows here.
        text = text[:-1] + "。"
    if last is Kind.CODE:
        return f"{text}\n\n[{number}]"
    return f"{text}{'' if _closes_wide(text) else ' '}[{number}]"


def _line(candidate: Candidate) -> str:
    unit = candidate.unit
    if unit.kind is Kind.ITEM:
        return f"{unit.number} {unit.text}" if unit.number else f"- {unit.text}"
    if unit.kind is Kind.ROW:
        return f"- {unit.text}"
    return unit.text


def _closes_wide(text: str) -> bool:
    return bool(text) and (is_cjk(text[-1]) or text[-1] in "。！？；：，、”’」』）》…")
