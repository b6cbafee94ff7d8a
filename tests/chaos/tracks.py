"""One turn as one client is told of it: numbers, text and end, over all of the client's sockets.

What a socket tells of a turn is a *view*. A new socket goes on after the position of its hello; where hello has none
for the turn, or the turn is asked again there, the turn is told from its start; after ``welcome.gap`` anything may come.
"""

from dataclasses import dataclass, field
from typing import Any

from .answers import Reading, read
from .findings import Findings
from .history import Asked

Frame = dict[str, Any]
MOST_HOLES = 1000
"""Frames missing at one place that are named one by one."""


@dataclass(slots=True)
class Socket:
    """``base``: turn and seq of the position in its hello; ``unknown``: that position, or the hello, was not seen."""

    number: int
    hello: Frame | None = None
    base: tuple[str, int] | None = None
    unknown: bool = False
    gap: bool = False
    degraded: bool = False
    starts: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class End:
    """What a ``turn.done`` says, as far as it must be the same for everyone."""

    status: str
    text: str
    sources: Any

    @staticmethod
    def of(frame: Frame) -> "End":
        return End(str(frame.get("status")), str(frame.get("text")), frame.get("sources"))

    def differs(self, other: "End") -> str:
        """What is not the same, in words; "" where nothing differs."""
        if self.status != other.status:
            return f"status {self.status!r}, before {other.status!r}"
        if self.text != other.text:
            return f"text {clip(self.text)}, before {clip(other.text)}"
        return "" if self.sources == other.sources else "other sources"


class Track:
    """``next``: the number after the last frame read; ``end``: what the first ``turn.done`` said."""

    def __init__(self, client: str, turn: str, findings: Findings) -> None:
        self.client = client
        self.turn = turn
        self.asked: Asked | None = None
        self.question: str | None = None
        self.sent_at: float | None = None
        self.accepted_at: float | None = None
        self.accepted = 0
        self.refused = ""
        self.first_at: float | None = None
        self.done_at: float | None = None
        self.restarts: list[float] = []
        self.end: End | None = None
        self.next = 0
        self._findings = findings
        self._socket = 0
        self._expected: int | None = 0
        self._resumed = False
        self._over = False
        self._told: list[tuple[int, str, Any]] = []
        self._holes: dict[int, str] = {}
        self._holed = False
        self._partial = False

    @property
    def spoken(self) -> bool:
        """Whether the server has taken the turn in."""
        return self.accepted_at is not None or self.next > 0 or self.end is not None

    def breach(self, rule: str, at: float, what: str) -> None:
        self._findings.breach(rule, self.client, self.turn, at, what)

    # --- numbers ----------------------------------------------------------------------------------------------

    def take(self, frame: Frame, kind: str, socket: Socket, at: float) -> bool:
        """The next frame with a number. False where it is not to be judged further: it was told before."""
        if socket.number != self._socket:
            self._begin(socket, at)
        seq = frame["seq"]
        if self._over:
            self.breach("after-done", at, f"{kind} {seq} came after turn.done")
            return False
        if self._expected is None:
            self._rebase(seq)
        assert self._expected is not None
        if seq == self._expected:
            self._expected = seq + 1
        elif seq > self._expected:
            self._skip(seq)
        elif not self._late(seq, kind, at):
            return False
        self._resumed = False
        self.next = max(self.next, seq + 1)
        self._keep(frame, kind, seq, at)
        return True

    def _begin(self, socket: Socket, at: float) -> None:
        """A view by a socket that has not spoken of this turn before."""
        self.settle(at)
        self._socket, self._resumed, self._holed = socket.number, False, False
        hello = socket.hello or {}
        if socket.base is not None and socket.base[0] == self.turn:
            self._resume(socket.base[1])
        elif socket.gap or socket.unknown:
            self._expected, self._over = None, False
        elif self.turn in socket.starts or not hello.get("position") or self.turn in hello.get("pending", ()):
            self._anew()
        else:
            self._expected = self.next

    def _resume(self, seq: int) -> None:
        self._expected, self._resumed = seq + 1, True
        self._told = [told for told in self._told if told[0] <= seq]
        self._over = bool(self._told) and self._told[-1][1] == "turn.done"
        # What a finished telling held is forgotten, so a text that goes on from its middle cannot be compared.
        self._partial = self._partial or self.next <= seq or (self.end is not None and not self._over)

    def _anew(self) -> None:
        self._expected, self._told, self._over, self._partial = 0, [], False, False

    def _rebase(self, seq: int) -> None:
        self._expected = seq
        if seq != self.next or not self._told:
            self._told, self._partial = [], seq > 0

    def _skip(self, seq: int) -> None:
        assert self._expected is not None
        rule = "unsaid-gap" if self._resumed else "missing"
        for number in range(self._expected, min(seq, self._expected + MOST_HOLES)):
            self._holes[number] = rule
        self._expected = seq + 1

    def _late(self, seq: int, kind: str, at: float) -> bool:
        """Whether a frame with a number already passed fills a hole."""
        if self._holes.pop(seq, None) is not None:
            self.breach("reordered", at, f"{kind} {seq} came after frames with higher numbers")
            return True
        rule = "replayed" if self._resumed else "repeated"
        self.breach(rule, at, f"{kind} {seq} came again; {self._expected} was expected")
        return False

    def settle(self, at: float) -> None:
        """The view is over: what is missing now stays missing."""
        for rule in sorted(set(self._holes.values())):
            numbers = [number for number, each in self._holes.items() if each == rule]
            self._holed = True
            self.breach(rule, at, f"no frame {_ranges(numbers)}")
        self._holes.clear()

    # --- text -------------------------------------------------------------------------------------------------

    def _keep(self, frame: Frame, kind: str, seq: int, at: float) -> None:
        if kind == "answer.delta":
            if self.first_at is None:
                self.first_at = at
            self._told.append((seq, kind, frame["text"]))
        elif kind in ("turn.restarted", "turn.done"):
            self._told.append((seq, kind, ""))
        elif kind == "retrieval":
            self._told.append((seq, kind, frame["sources"]))

    def close(self, frame: Frame, at: float, tag: str, words: int) -> None:
        """``turn.done``: compare what was told with what it says. ``words``: how many the whole answer has, 0 for
        unknown.
        """
        self.settle(at)
        self._over = True
        end = End.of(frame)
        if not self._holed and not self._partial:
            self._compare(end, at)
        self._read(end, at, tag, words)
        if self.end is None:
            self.end, self.done_at = end, at
        self._told = [(frame["seq"], "turn.done", "")]

    def _segments(self) -> list[str]:
        segments: list[list[str]] = [[]]
        for _, kind, what in sorted(self._told, key=lambda told: told[0]):
            if kind == "answer.delta":
                segments[-1].append(what)
            elif kind == "turn.restarted":
                segments.append([])
        return ["".join(parts) for parts in segments]

    def _compare(self, end: End, at: float) -> None:
        text = self._segments()[-1]
        if text != end.text:
            self.breach("text", at, f"deltas make {clip(text)}, turn.done says {clip(end.text)}")
        sources = [what for _, kind, what in sorted(self._told, key=lambda told: told[0]) if kind == "retrieval"]
        if end.status == "completed" and sources and sources[-1] != end.sources:
            self.breach(
                "sources", at, f"retrieval named {len(sources[-1])} sources, turn.done {len(end.sources or ())}"
            )

    def _read(self, end: End, at: float, tag: str, words: int) -> None:
        readings = [read(text, tag, whole=False) for text in self._segments()[:-1]]
        last = read(end.text, tag, whole=end.status == "completed")
        for reading in (*readings, last):
            for flaw in reading.flaws:
                self.breach(flaw.rule, at, flaw.what)
        if end.status == "completed" and last.last and words and last.last < words and not last.flaws:
            self.breach("torn-lost", at, f"the answer ends with word {last.last} of {words}")
        self._runs((*readings, last), at)

    def _runs(self, readings: tuple[Reading, ...], at: float) -> None:
        """A run that was superseded does not come back."""
        past: list[str] = []
        for reading in readings:
            for run in reading.runs:
                if run in past[:-1]:
                    self.breach("fenced", at, f"run {run!r} speaks again after run {past[-1]!r}")
                if not past or run != past[-1]:
                    past.append(run)

    def stop(self, at: float, tag: str) -> None:
        """The history ends with the turn open: judge what there is."""
        self.settle(at)
        if not self._over and self._told:
            self._runs(tuple(read(text, tag, whole=False) for text in self._segments()), at)


def clip(text: str, most: int = 60) -> str:
    """Both ends of a text, quoted, with its length."""
    if len(text) <= 2 * most:
        return repr(text)
    return f"{text[:most]!r} ... {text[-most:]!r} ({len(text)} characters)"


def _ranges(numbers: list[int]) -> str:
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in parts)
