"""The embedded assessor: judges by what the playbook's rules say to look for, without a model. Chinese and English.

A rule is one section of a document of the playbook, short enough to be one passage. Its list says what is a risk for
whom, when it is none, and why:

    - For the buyer (high): {seller} … [not be liable|no liability]
    - For both (low): ...
    - Unless: wilful misconduct; gross negligence
    - Reason for the buyer: ...

    - 买方（高）：{卖方}…[不承担|不负]…责任
    - 双方（低）：……
    - 除外：故意；重大过失
    - 买方理由：……

What ``Unless`` names makes a risk none in its own sentence only.

How patterns are written: ``patterns``. Passages without such lines are no rules for this assessor.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from parley_protocol.events import Source
from parley_protocol.reviews import Risk, Verdict
from parley_rag.review.assessor import Brief, cited
from parley_rag.review.parties import Facts, Side
from parley_rag.review.patterns import Pattern, compiled, normal, sentences

NAME = "playbook"
_LINE = re.compile(r"^[ \t]*[-*•]?[ \t]*([^:：\n]{1,40})[:：][ \t]*(.+)$", re.MULTILINE)
_SIGNAL = re.compile(
    r"^(?:for (?:the )?)?(buyer|seller|both|买方|卖方|双方)\s*[(（]\s*(high|medium|low|高|中|低)\s*[)）]$"
)
_REASON = re.compile(r"^(?:reason(?: for (?:the )?(buyer|seller|both))?|(买方|卖方|双方)?理由)$")
_UNLESS = frozenset({"unless", "除外", "例外"})
_SIDES = {"buyer": Side.BUYER, "买方": Side.BUYER, "seller": Side.SELLER, "卖方": Side.SELLER}
_RISKS = {"high": Risk.HIGH, "高": Risk.HIGH, "medium": Risk.MEDIUM, "中": Risk.MEDIUM, "low": Risk.LOW, "低": Risk.LOW}
_ORDER = (Risk.HIGH, Risk.MEDIUM, Risk.LOW)
_FOR = {Side.BUYER: ("对买方：", "For the buyer: "), Side.SELLER: ("对卖方：", "For the seller: ")}


@dataclass(frozen=True, slots=True)
class Signal:
    """``patterns`` are a risk for ``side``; None: for both."""

    side: Side | None
    risk: Risk
    patterns: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as this assessor uses it, its riskiest signals first."""

    signals: tuple[Signal, ...]
    unless: tuple[Pattern, ...]
    reasons: tuple[tuple[Side | None, str], ...]

    def judge(self, clause: str, side: Side | None) -> tuple[Side | None, Risk] | None:
        """(whose risk, how large) of ``clause`` for ``side`` (None: for either); None where the rule is kept."""
        whole = normal(clause)
        for signal in self.signals:
            if side is not None and signal.side not in (None, side):
                continue
            hits = [pattern for pattern in signal.patterns if pattern.found(whole)]  # most clauses end here
            if hits and any(self._offends(text, hits) for text in sentences(clause)):
                return signal.side, signal.risk
        return None

    def _offends(self, sentence: str, patterns: Sequence[Pattern]) -> bool:
        found = any(pattern.found(sentence) for pattern in patterns)
        return found and not any(pattern.found(sentence) for pattern in self.unless)

    def reason(self, side: Side | None) -> str:
        """In the words of the playbook."""
        said = dict(reversed(self.reasons))
        return said.get(side) or said.get(None) or next(iter(said.values()), "")


class PlaybookAssessor:
    """See :class:`parley_rag.review.assessor.Assessor`."""

    name = NAME

    async def assess(self, clause: str, rules: Sequence[Source], brief: Brief) -> tuple[Verdict, ...]:
        """See ``Assessor``. A millisecond for a usual clause and seven for a page, on the loop."""
        found: dict[str, Verdict] = {}
        for source in rules:
            rule = _cached(source.text, tuple(sorted(brief.facts.parties.items())))
            judged = rule.judge(clause, brief.side)
            if judged is not None:
                verdict = Verdict(risk=judged[1], reason=_said(rule, judged[0], brief, source), rule=cited(source))
                found.setdefault(source.id, verdict)
        return tuple(sorted(found.values(), key=lambda verdict: _ORDER.index(verdict.risk)))

    async def close(self) -> None:
        """Nothing is held."""


def parse(passage: str, facts: Facts) -> Rule:
    """The rule that a passage states; one without signals where it states none."""
    signals: list[Signal] = []
    unless: tuple[Pattern, ...] = ()
    reasons: list[tuple[Side | None, str]] = []
    for match in _LINE.finditer(passage):
        key, said = match[1].strip().lower(), match[2].strip()
        if signal := _SIGNAL.match(key):
            signals.append(Signal(_SIDES.get(signal[1]), _RISKS[signal[2]], compiled(said, facts)))
        elif key in _UNLESS:
            unless += compiled(said, facts)
        elif reason := _REASON.match(key):
            reasons.append((_SIDES.get(reason[1] or reason[2] or ""), said))
    signals.sort(key=lambda one: _ORDER.index(one.risk))
    return Rule(tuple(signals), unless, tuple(reasons))


@lru_cache(maxsize=512)
def _cached(passage: str, parties: tuple[tuple[str, Side], ...]) -> Rule:
    return parse(passage, Facts(dict(parties)))


def _said(rule: Rule, side: Side | None, brief: Brief, source: Source) -> str:
    reason = rule.reason(side if side is not None else brief.side) or cited(source).title
    if brief.side is None and side is not None:
        reason = _FOR[side][int(reason.isascii())] + reason
    return reason
