"""Who takes part in a run, as far as the history tells: sessions, clients with their sockets, and faults."""

import math
from collections import Counter
from dataclasses import dataclass, field

from ..history import Asked, Closed, Healed, Injected
from .tracks import End, Frame, Socket, Track

RECOVERY_S = 5.0
"""A fault explains what happens up to so long after it was taken back: twice what the slowest recovery takes, that of a
half-open link, which is noticed after 2.5 heartbeats of a second.
"""
WORLD = frozenset({"broker", "links", "rolling"})
"""Targets that are nobody's in particular: such a fault may explain anything in its time."""
POSITIONS = 4096
"""Positions of a client that are kept; it resumes from one of the last."""
LEFT = frozenset({1000, 1001})


@dataclass(slots=True)
class Session:
    """Everything by turn. ``partial``: it began before the history, so turns in it may be unknown here."""

    id: str = ""
    partial: bool = False
    asked: dict[str, Asked] = field(default_factory=dict)
    questions: dict[str, str] = field(default_factory=dict)
    """The text that a turn was first asked with."""
    starts: Counter[str] = field(default_factory=Counter)
    cancels: dict[str, float] = field(default_factory=dict)
    """When a client last cancelled it."""
    ends: dict[str, End] = field(default_factory=dict)
    stored: dict[str, str] = field(default_factory=dict)
    """Statuses as read again."""
    runs: dict[str, dict[str, float]] = field(default_factory=dict)
    """Marks of the runs that spoke, and when a word of each was first read by anyone."""

    def absorb(self, other: "Session") -> None:
        """Take over what a client did before it was known to be of this session."""
        for turn, asked in other.asked.items():
            self.asked.setdefault(turn, asked)
        for turn, text in other.questions.items():
            self.questions.setdefault(turn, text)
        self.starts.update(other.starts)
        self.cancels.update(other.cancels)
        self.partial = self.partial or other.partial


class Client:
    """``line``: its turns that were sent and are not over, in order. ``tracks``: all of them."""

    def __init__(self, name: str, session: Session) -> None:
        self.name = name
        self.session = session
        self.tracks: dict[str, Track] = {}
        self.line: dict[str, Track] = {}
        self.cancelled: set[str] = set()
        """Turns that this client itself has cancelled: what was delivered to it is what is kept."""
        self._sockets: dict[int, Socket] = {}
        self._positions: dict[str, tuple[str, int, float]] = {}
        self._forgot = False
        self._last: Closed | None = None

    def open(self, number: int) -> None:
        """A new socket."""
        self._sockets[number] = Socket(number)

    def socket(self, number: int) -> Socket:
        """One whose opening was not seen is unknown in all respects."""
        socket = self._sockets.get(number)
        if socket is None:
            socket = self._sockets[number] = Socket(number, unknown=True)
            self.session.partial = True
        return socket

    def greet(self, socket: Socket, hello: Frame) -> None:
        """Its hello was sent."""
        socket.hello = hello
        position = hello.get("position")
        if position is not None:
            known = self._positions.get(position)
            socket.base = known[:2] if known is not None else None
            outside = self.session.partial or self._forgot
            socket.unknown = socket.unknown or (known is None and outside)

    def join(self, session: Session, id: str) -> None:
        """Its session is known now."""
        session.id = id
        if session is not self.session:
            if not self.session.id:
                session.absorb(self.session)
            self.session = session

    def close(self, closed: Closed) -> None:
        """A socket has ended."""
        self._sockets.pop(closed.socket, None)
        self._last = closed

    def note_position(self, position: str, turn: str, seq: int, at: float) -> None:
        """A frame with this position was read."""
        positions = self._positions
        positions[position] = (turn, seq, at)
        if len(positions) > POSITIONS:
            self._forgot = True
            for old in list(positions)[: POSITIONS // 2]:
                del positions[old]

    def read_at(self, position: str) -> float | None:
        """When the frame with this position was read."""
        known = self._positions.get(position)
        return known[2] if known is not None else None

    @property
    def degraded(self) -> bool:
        """Whether a socket that is still open was told so last."""
        return any(socket.degraded for socket in self._sockets.values())

    def stayed(self, until: float | None) -> bool:
        """Whether it did not leave for good before ``until`` (None: the end)."""
        last = self._last
        if self._sockets or last is None or not last.own or last.code not in LEFT:
            return True
        return until is not None and last.at >= until


@dataclass(slots=True)
class _Span:
    fault: str
    target: str
    begin: float
    end: float = math.inf


class Faults:
    """What was injected, and from when to when it may explain things.

    A turn that faults were aimed at is hit by those, to its end, and by faults of the whole world in their time; what
    else happens to the installation is not aimed at it, and explains nothing of it.
    """

    def __init__(self) -> None:
        self.total = 0
        self.counts: Counter[tuple[str, str]] = Counter()
        """By fault and phase, once for each turn aimed at."""
        self._spans: list[_Span] = []
        self._open: dict[tuple[str, str], _Span] = {}
        self._aimed: dict[str, list[_Span]] = {}

    def injected(self, fault: Injected) -> None:
        """One fault may be aimed at several turns, with an entry for each of them."""
        self.counts[fault.fault, fault.phase] += 1
        span = self._open.get((fault.fault, fault.target))
        if span is None or span.begin != fault.at:
            self.total += 1
            span = _Span(fault.fault, fault.target, fault.at)
            self._spans.append(span)
            self._open[fault.fault, fault.target] = span
        if fault.turn:
            self._aimed.setdefault(fault.turn, []).append(span)

    def healed(self, fault: Healed) -> None:
        """It is over; what it caused may still come."""
        span = self._open.pop((fault.fault, fault.target), None)
        if span is not None:
            span.end = fault.at

    def between(self, since: float, until: float, turn: str = "") -> int:
        """Faults that may have had an effect in this time: on ``turn``, or on anything."""
        return len(self.names(since, until, turn))

    def names(self, since: float, until: float, turn: str = "") -> list[str]:
        """What they are called."""
        aimed = self._aimed.get(turn)
        found = [one for one in self._spans if one.begin <= until and one.end + RECOVERY_S >= since]
        if aimed is not None:
            found = [one for one in found if one.target in WORLD and one not in aimed]
            found += [one for one in aimed if one.begin <= until]
        return [one.fault for one in found]

    def aimed_at(self, turn: str) -> float | None:
        """When a fault was last aimed at ``turn``; None: never."""
        aimed = self._aimed.get(turn)
        return aimed[-1].begin if aimed else None
