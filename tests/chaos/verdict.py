"""What the checker finds, and the rules it knows, each beside its guarantee."""

from collections import Counter
from dataclasses import dataclass, field

from .history import Happening


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken. ``evidence``: the happenings around it."""

    rule: str
    guarantee: str
    client: str
    turn: str
    at: float
    what: str
    evidence: tuple[Happening, ...] = ()


@dataclass(slots=True)
class Verdict:
    """``ok`` where nothing was broken."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.violations
