"""One gateway of the model: the real session, flow, resume, turn and view machines, rebuilt from a snapshot for each
step and frozen again after it. Time stands still at 0; a timer is an input of its own.

Snapshots are plain tuples. ``seq`` numbers are counted from :data:`SEQ` in each step, since only their continuity
matters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from parley_gateway.core import effects as fx
from parley_gateway.core import flow
from parley_gateway.core.entry import Check, Entry, Phase, Request
from parley_gateway.core.session import Session
from parley_gateway.core.told import Told
from parley_gateway.core.turn import HOLD_S, TERMINAL_HOLD_S, Turn, Verdict
from parley_gateway.core.view import View
from parley_gateway.core.watch import SILENCE_S
from parley_protocol.client import ServerFrame
from parley_protocol.events import Event, Terminal, TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.position import Position, TextCheck, decode_position

SEQ = 100
BUDGET_S = 100.0
LATER_S = 50.0
KEYS = (TurnKey("t", "s", "1"), TurnKey("t", "s", "2"))
INDEX = {key.turn: index for index, key in enumerate(KEYS)}
REQUESTS = tuple(Request(turn=key.turn, text="q", kb="k", budget_s=BUDGET_S, digest="d" + key.turn) for key in KEYS)
_TIMES = frozenset(
    ("accepted_at", "deadline_at", "due_at", "ended_at", "first_at", "heard", "started_at", "span", "watch", "session")
)
_NAMED = frozenset(
    (
        *("phase", "request", "row_digest", "submissions", "again", "checking", "detached_fence", "abandoned", "left"),
        *("leave_at", "elsewhere", "forced", "cancel_by", "turn", "views", "others"),
    )
)
ENTRY_REST = tuple(slot for slot in Entry.__slots__ if slot not in _TIMES | _NAMED)
"""Further fields of an entry, all of them plain values."""
_TURN_NAMED = frozenset(
    (
        *("key", "latency", "hold_until", "fence", "n", "text", "known", "restarts", "rev", "marks", "last", "frozen"),
        *("closed", "terminal", "held"),
    )
)
TURN_REST = tuple(slot for slot in (*Told.__slots__, *Turn.__slots__) if slot not in _TURN_NAMED)
_DELIVERED = (Verdict.EXTENDED, Verdict.MARKED, Verdict.REPLACED)


class ViewSnap(NamedTuple):
    """``core.view.View`` without its sequence number: ``used`` says whether it has one."""

    sink: str
    used: bool
    at: int
    rev: int
    restarts: int
    checked: int | None
    floor: tuple[int, int]
    done: bool


class TurnSnap(NamedTuple):
    """``core.turn.Turn`` without its times: ``holding`` says whether something is held for a moment."""

    fence: int
    n: int
    text: str
    known: bool
    restarts: int
    rev: int
    marks: tuple[Any, ...]
    last: Any
    frozen: bool
    closed: bool
    terminal: Any
    held: tuple[tuple[int, Any], ...] | None
    holding: bool
    rest: tuple[Any, ...]

    @property
    def waits(self) -> bool:
        return bool(self.rest[TURN_REST.index("waits")])


class EntrySnap(NamedTuple):
    """``core.entry.Entry``. ``answered``: the highest fence whose begin was answered (a ghost for invariant 6)."""

    place: int
    phase: Phase
    asked: bool
    row_digest: str
    submissions: tuple[str, ...]
    again: bool
    checking: Check
    detached: int
    abandoned: bool
    leaving: bool
    left: bool
    elsewhere: bool
    forced: TurnStatus | None
    cancelling: bool
    watching: bool
    due: bool
    ending: bool
    answered: int
    rest: tuple[Any, ...]
    turn: TurnSnap
    views: tuple[ViewSnap, ...]
    others: tuple[str, ...]


class Gate(NamedTuple):
    """One gateway process. ``outs``: what it is publishing, as (kind, turn, status, sent)."""

    name: str
    entries: tuple[EntrySnap, ...] = ()
    open: tuple[int, ...] = ()
    line: tuple[int, ...] = ()
    sinks: tuple[str, ...] = ()
    stalled: tuple[str, ...] = ()
    outs: tuple[tuple[str, int, str, bool], ...] = ()
    abandon_s: float = 0.0

    def entry(self, index: int) -> EntrySnap | None:
        for entry in self.entries:
            if entry.place == index:
                return entry
        return None


class Sock:
    """A sink that keeps what is pushed and drains views at once, unless it is stalled."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.queued: list[View] = []
        self.frames: list[ServerFrame] = []

    def push(self, frame: ServerFrame) -> None:
        self.frames.append(frame)

    def touch(self, view: View) -> None:
        if not view.queued:
            view.queued = True
            self.queued.append(view)

    def drain(self) -> None:
        for view in self.queued:
            view.queued = False
            while (frame := view.next_frame()) is not None:
                self.frames.append(frame)
        self.queued.clear()


@dataclass(slots=True)
class Out:
    """What a step of a gateway gave: its next snapshot, messages to send, frames by socket."""

    gate: Gate
    sends: list[tuple[Any, ...]] = field(default_factory=list)
    frames: list[tuple[str, ServerFrame]] = field(default_factory=list)
    trouble: str = ""


class Live:
    """A gateway thawed for one step."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.socks = {name: Sock(name) for name in gate.sinks}
        self.session = Session("s", "t", "u", max_open=8, abandon_s=gate.abandon_s)
        self.session.sinks = [self.socks[name] for name in gate.sinks]
        self.answered: dict[str, int] = {}
        self.outs = list(gate.outs)
        self.out = Out(gate)
        for snap in gate.entries:
            self._thaw(snap)
        self.session.open = [self.session.entries[KEYS[index].turn] for index in gate.open]
        self.session.line = [self.session.entries[KEYS[index].turn] for index in gate.line]

    def _thaw(self, snap: EntrySnap) -> None:
        key = KEYS[snap.place]
        turn = _thaw_turn(key, snap.turn)
        entry = Entry(self.session, turn, REQUESTS[snap.place] if snap.asked else None, 0.0, BUDGET_S)
        entry.phase, entry.row_digest, entry.submissions = snap.phase, snap.row_digest, snap.submissions
        entry.again, entry.checking, entry.forced = snap.again, snap.checking, snap.forced
        entry.detached_fence, entry.abandoned = snap.detached, snap.abandoned
        entry.left, entry.elsewhere = snap.left, snap.elsewhere
        entry.leave_at = LATER_S if snap.leaving else 0.0
        entry.cancel_by = LATER_S if snap.cancelling else 0.0
        entry.first_at = entry.accepted_at = 1.0
        for slot, value in zip(ENTRY_REST, snap.rest, strict=True):
            setattr(entry, slot, value)
        watch = entry.watch
        watch.step = (0 if snap.due else 1) if snap.watching else -1
        watch.due = 0.0 if snap.due else SILENCE_S
        watch.ending_until = LATER_S if snap.ending else 0.0
        entry.views = [_thaw_view(turn, self.socks[view.sink], view) for view in snap.views]
        entry.others = tuple(self.socks[name] for name in snap.others)
        self.answered[key.turn] = snap.answered
        self.session.entries[key.turn] = entry

    def entry(self, index: int) -> Entry | None:
        return self.session.entries.get(KEYS[index].turn)

    def carry(self, effects: list[fx.Effect]) -> None:
        """``dispatch.Dispatch.apply``: what is I/O becomes a message or a pending publish."""
        for effect in effects:
            match effect:
                case fx.Touch(entry):
                    for view in entry.views:
                        view.sink.touch(view)
                case fx.Tell(entry, frame):
                    for view in entry.views:
                        view.sink.push(frame)
                case fx.TellOne(sink, frame):
                    sink.push(frame)
                case fx.Publish(entry):
                    self.outs.append(("job", INDEX[entry.turn.key.turn], "", False))
                    self.out.sends.append(("order", INDEX[entry.turn.key.turn]))
                case fx.PublishRecord(entry, status):
                    self.outs.append(("record", INDEX[entry.turn.key.turn], status.value, False))
                case fx.SendStop(key, fence, to):
                    self.out.sends.append(("stop", INDEX[key.turn], fence, to))
                case fx.SendPrefix(to, prefix):
                    index = INDEX[prefix.key.turn]
                    self.answered[prefix.key.turn] = max(self.answered.get(prefix.key.turn, 0), prefix.fence)
                    self.out.sends.append(("prefix", index, prefix.fence, prefix.text, to))
                case fx.SendLeave(key):
                    self.out.sends.append(("left", INDEX[key.turn]))
                case fx.Watch(entry, _, attach):
                    self.out.sends.append(("read", INDEX[entry.turn.key.turn], attach))
                case _:
                    pass

    def events(self, index: int, fence: int, events: tuple[Event, ...], sender: str) -> None:
        """``fanin.FanIn._on_turn``."""
        entry = self.entry(index)
        if entry is None:
            if sender and not all(isinstance(event, Terminal) for event in events):
                self.out.sends.append(("leave", index, fence, sender))
            return
        for event in events:
            verdict, effects = flow.on_event(entry, fence, event, sender, 0.0)
            if verdict in _DELIVERED and fence < self.answered.get(entry.turn.key.turn, 0):
                self.out.trouble = f"6: an item of fence {fence} was delivered after a higher begin was answered"
            self.carry(effects)

    def freeze(self) -> Out:
        stalled = tuple(name for name in self.gate.stalled if name in self.socks)
        for name, sock in self.socks.items():
            if name not in stalled:
                sock.drain()
            self.out.frames += [(name, frame) for frame in sock.frames]
        session = self.session
        self.out.gate = Gate(
            self.gate.name,
            tuple(_freeze(entry, self.answered) for entry in session.entries.values()),
            tuple(INDEX[entry.turn.key.turn] for entry in session.open),
            tuple(INDEX[entry.turn.key.turn] for entry in session.line),
            tuple(sorted(_name(sink) for sink in session.sinks)),
            stalled,
            tuple(self.outs),
            self.gate.abandon_s,
        )
        return self.out


def _name(sink: Any) -> str:
    return str(sink.name)


def _thaw_turn(key: TurnKey, snap: TurnSnap) -> Turn:
    turn = Turn(key, fence=snap.fence, known=snap.known)
    turn.n, turn.text, turn.restarts, turn.rev = snap.n, snap.text, snap.restarts, snap.rev
    turn.marks, turn.last, turn.frozen, turn.closed = list(snap.marks), snap.last, snap.frozen, snap.closed
    turn.terminal = snap.terminal
    for slot, value in zip(TURN_REST, snap.rest, strict=True):
        setattr(turn, slot, value)
    turn.held = None if snap.held is None else dict(snap.held)
    turn.hold_until = (TERMINAL_HOLD_S if snap.terminal is not None else HOLD_S) if snap.holding else 0.0
    return turn


def _thaw_view(turn: Turn, sock: Sock, snap: ViewSnap) -> View:
    view = View(turn, sock)
    view.seq = SEQ if snap.used else 0
    view.at, view.rev, view.restarts = snap.at, snap.rev, snap.restarts
    view.checked, view.floor, view.done = snap.checked, snap.floor, snap.done
    view.check = TextCheck()
    if snap.checked is None and snap.restarts == turn.restarts:
        view.check.feed(turn.text[: snap.at])
    return view


def _freeze(entry: Entry, answered: dict[str, int]) -> EntrySnap:
    turn, watch = entry.turn, entry.watch
    over = turn.closed
    held = None if turn.held is None else tuple(sorted(turn.held.items()))
    return EntrySnap(
        INDEX[turn.key.turn],
        entry.phase,
        entry.request is not None,
        entry.row_digest,
        entry.submissions,
        entry.again,
        Check.NONE if over else entry.checking,
        0 if over else entry.detached_fence,
        entry.abandoned,
        bool(entry.leave_at) and not over,
        entry.left,
        entry.elsewhere,
        entry.forced,
        bool(entry.cancel_by) and not over,
        watch.on and not over,
        watch.on and watch.due <= 0.0 and not over,
        bool(watch.ending_until) and not over,
        answered.get(turn.key.turn, 0),
        tuple(getattr(entry, slot) for slot in ENTRY_REST),
        TurnSnap(
            turn.fence,
            turn.n,
            turn.text,
            turn.known,
            turn.restarts,
            turn.rev,
            tuple(turn.marks),
            turn.last,
            turn.frozen,
            turn.closed,
            turn.terminal,
            held,
            bool(turn.hold_until) and not over,
            tuple(getattr(turn, slot) for slot in TURN_REST),
        ),
        tuple(
            ViewSnap(_name(v.sink), v.seq != 0, v.at, v.rev, v.restarts, v.checked, v.floor, v.done)
            for v in entry.views
        ),
        tuple(sorted(_name(sink) for sink in entry.others)),
    )


def place(frame: Any) -> Position:
    """The frame's position, with its number counted from :data:`SEQ`."""
    return msgspec.structs.replace(decode_position(frame.position), seq=SEQ - 1)
