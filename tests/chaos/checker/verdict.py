"""What the checker finds, and the rules it knows, each beside the guarantee that it watches.

The headline of a run is four numbers, 0 / 0 / 0 / 0 where all is well: **lost** (a turn without its end, a frame, a
word), **duplicated** (a frame, an end, a word twice), **reordered**, **foreign** (another turn's or session's). Every
broken rule that is none of these counts as **other**; none of them may happen either.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from ..history import Happening

KINDS: Final = ("lost", "duplicated", "reordered", "foreign", "other")


@dataclass(frozen=True, slots=True)
class Rule:
    """``promise``: what has to hold. ``kind``: the headline number that a breach counts for."""

    guarantee: str
    kind: str
    promise: str


RULES: Final[dict[str, Rule]] = {
    "lost": Rule("G1", "lost", "an accepted turn ends in a turn.done that its client reads by the end of the run"),
    "unanswered": Rule("G1", "lost", "a turn that was sent is accepted or refused by the end of the run"),
    "not-stored": Rule("G1", "lost", "done means stored: a new reader without a position is told the whole turn"),
    "after-done": Rule("G1", "duplicated", "nothing of a turn follows its turn.done, and no second turn.done"),
    "failed": Rule("G1", "other", "a turn ends `failed` only where a fault explains it, and says why"),
    "expired-early": Rule("G1", "other", "a turn ends `expired` only after its own deadline"),
    "missing": Rule("G2", "lost", "seq is contiguous from 0: no frame is left out"),
    "repeated": Rule("G2", "duplicated", "no frame of a turn comes twice on a socket"),
    "reordered": Rule("G2", "reordered", "frames of a turn come in the order of seq"),
    "text": Rule("G2", "other", "the deltas since the last turn.restarted are the text of turn.done"),
    "record": Rule("G2", "other", "status, text and sources of turn.done are those that are stored"),
    "sources": Rule("G2", "other", "the sources of a completed turn are those of its last retrieval frame"),
    "torn-lost": Rule("G2", "lost", "no word of an answer is left out"),
    "torn-repeated": Rule("G2", "duplicated", "no word of an answer comes twice"),
    "torn-reordered": Rule("G2", "reordered", "words of an answer keep their order"),
    "overlap": Rule("G2", "reordered", "a session's turn says nothing before the turn asked earlier is done"),
    "unsaid-gap": Rule("G3", "lost", "after a resume nothing is missing, unless welcome said gap"),
    "replayed": Rule("G3", "duplicated", "after a resume nothing comes that was read before the position"),
    "early-gap": Rule("G3", "other", "within the resume window nothing is declared missing"),
    "session-lost": Rule("G3", "other", "within the resume window the session goes on"),
    "two-answers": Rule("G4", "duplicated", "a turn that is told again, to anyone, is told the same"),
    "accepted-twice": Rule("G4", "duplicated", "turn.accepted comes at most once for each turn.start"),
    "conflict": Rule("G4", "foreign", "another text under a used turn id gets nothing of that turn"),
    "fenced": Rule("G5", "other", "what is between two restarts is of one run, and no earlier run comes back"),
    "restart": Rule("G6", "other", "an answer starts anew only where a fault explains it"),
    "seamless": Rule("G6", "other", "an answer that repeats itself goes on where it was when only workers were killed"),
    "stalled": Rule("G6", "other", "an answer stands still for ten seconds at most when only workers were killed"),
    "uncalled-cancel": Rule("G7", "other", "a turn ends `cancelled` only where its client cancelled it"),
    "cancel-text": Rule("G7", "other", "a cancelled turn keeps exactly the text delivered to who cancelled it"),
    "cancel-ignored": Rule("G7", "other", "after a cancel the answer does not go on"),
    "close-code": Rule("G9", "other", "sockets end with 4000 to 4099, or without a word where a process died"),
    "retry-time": Rule("G10", "other", "a turn refused as overloaded is told when to come back"),
    "outage-pair": Rule("G12", "other", "degraded and restored come in turns, and the last one is restored"),
    "foreign-turn": Rule("FOREIGN", "foreign", "a client gets frames only of turns of its own session"),
    "foreign-text": Rule("FOREIGN", "foreign", "an answer holds only words of its own turn"),
    "malformed": Rule("PROTOCOL", "other", "every frame has the fields that the protocol names"),
    "error": Rule("PROTOCOL", "other", "refused are only: no room, no broker, a used turn id, an unknown turn"),
}


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

    def __str__(self) -> str:
        return f"{self.at:9.3f} s  {self.guarantee} {self.rule}: {self.client} {self.turn}: {self.what}"


@dataclass(frozen=True, slots=True)
class Told:
    """One turn as one client was told of it; times in seconds of the run, None for never."""

    client: str
    turn: str
    asked: float | None
    accepted: float | None
    first: float | None
    done: float | None
    status: str
    """``completed``, ``cancelled``, ``failed``, ``expired``, ``refused``, or ``open``."""
    restarts: tuple[float, ...]
    cancelled: float | None


@dataclass(slots=True)
class Verdict:
    """``counts`` holds everything that was counted, by the names in the report; ``faults`` by (fault, phase)."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    """Breaches by rule, those beyond the ones kept in ``violations`` too."""
    violations: list[Violation] = field(default_factory=list)
    turns: list[Told] = field(default_factory=list)
    finished: bool = False
    """Whether the history has its end; without it nothing is called lost."""

    @property
    def ok(self) -> bool:
        """Nothing was broken, something was judged, and the run came to its end."""
        return not self.broken and self.finished and self.counts["judged"] > 0

    def number(self, kind: str) -> int:
        """One number of the headline."""
        return sum(count for rule, count in self.broken.items() if RULES[rule].kind == kind)

    @property
    def headline(self) -> str:
        """``lost / duplicated / reordered / foreign``."""
        return " / ".join(str(self.number(kind)) for kind in KINDS[:4])
