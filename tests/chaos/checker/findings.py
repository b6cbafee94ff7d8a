"""Where breaches are kept: each with the happenings of its client before and after it."""

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

from ..history import Closed, Happening, Opened, Received, Sent
from .verdict import RULES, Violation

BEFORE = 8
AFTER = 3
KEPT = 100
"""Breaches of one rule that are kept with their evidence; all are counted."""

Wire = Opened | Sent | Received | Closed


@dataclass(slots=True)
class _Finding:
    violation: Violation
    evidence: list[Happening] = field(default_factory=list)
    wanted: int = AFTER


class Findings:
    """Call :meth:`note` with every happening of a client before it is judged."""

    def __init__(self) -> None:
        self.broken: Counter[str] = Counter()
        self._found: list[_Finding] = []
        self._recent: defaultdict[str, deque[Happening]] = defaultdict(lambda: deque(maxlen=BEFORE))
        self._waiting: dict[str, list[_Finding]] = {}
        self._known: set[tuple[str, str, str]] = set()

    def note(self, happening: Wire) -> None:
        """Remember it as evidence for what is found next, and for what was just found."""
        client = happening.client
        self._recent[client].append(happening)
        if client in self._waiting:
            self._follow(client, happening)

    def _follow(self, client: str, happening: Happening) -> None:
        for finding in self._waiting[client]:
            finding.evidence.append(happening)
            finding.wanted -= 1
        waiting = [finding for finding in self._waiting[client] if finding.wanted]
        if waiting:
            self._waiting[client] = waiting
        else:
            del self._waiting[client]

    def breach(self, rule: str, client: str, turn: str, at: float, what: str) -> None:
        """A rule was broken. The same rule counts once for each turn of a client."""
        if turn and (rule, client, turn) in self._known:
            return
        self._known.add((rule, client, turn))
        self.broken[rule] += 1
        if self.broken[rule] > KEPT:
            return
        finding = _Finding(Violation(rule, RULES[rule].guarantee, client, turn, at, what), list(self._recent[client]))
        self._found.append(finding)
        self._waiting.setdefault(client, []).append(finding)

    def violations(self) -> list[Violation]:
        """In order of time, each with its evidence."""
        found = sorted(self._found, key=lambda finding: finding.violation.at)
        return [
            Violation(each.rule, each.guarantee, each.client, each.turn, each.at, each.what, tuple(finding.evidence))
            for finding in found
            for each in (finding.violation,)
        ]
