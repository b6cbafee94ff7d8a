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
from parley_gateway.core.resume import Returning, resume, to_read
from parley_gateway.core.session import Session
from parley_gateway.core.turn import HOLD_S, TERMINAL_HOLD_S, Turn, Verdict
from parley_gateway.core.view import View
from parley_gateway.core.watch import SILENCE_S
from parley_protocol.client import Accepted, AnswerDelta, Done, ErrorFrame, Restarted, ServerFrame
from parley_protocol.control import Begin
from parley_protocol.events import Event, Terminal, TurnStatus
from parley_protocol.faults import ProtocolError
from parley_protocol.ids import TurnKey
from parley_protocol.position import Position, TextCheck, decode_position
from parley_runtime.store.ports import TurnRow

SEQ = 100
BUDGET_S = 100.0
LATER_S = 50.0
KEYS = (TurnKey("t", "s", "1"), TurnKey("t", "s", "2"))
INDEX = {key.turn: index for index, key in enumerate(KEYS)}
REQUESTS = tuple(
    Request(turn=key.turn, text="q", kb="k", budget_s=BUDGET_S, digest="d" + key.turn) for key in KEYS
)
_TIMES = frozenset(
    ("accepted_at", "deadline_at", "due_at", "ended_at", "first_at", "heard", "started_at", "span", "watch", "session")
)
_NAMED = frozenset(
    (
        *("phase", "request", "row_digest", "submission", "again", "checking", "detached_fence", "abandoned", "left"),
        *("leave_at", "elsewhere", "forced", "cancel_by", "turn", "views"),
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
TURN_REST = tuple(slot for slot in Turn.__slots__ if slot not in _TURN_NAMED)
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


class EntrySnap(NamedTuple):
    """``core.entry.Entry``. ``answered``: the highest fence whose begin was answered (a ghost for invariant 6)."""

    index: int
    phase: Phase
    asked: bool
    row_digest: str
    submission: str
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
            if entry.index == index:
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
        key = KEYS[snap.index]
        turn = _thaw_turn(key, snap.turn)
        entry = Entry(self.session, turn, REQUESTS[snap.index] if snap.asked else None, 0.0, BUDGET_S)
        entry.phase, entry.row_digest, entry.submission = snap.phase, snap.row_digest, snap.submission
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
            tuple(sorted(sock.name for sock in session.sinks)),
            stalled,
            tuple(self.outs),
            self.gate.abandon_s,
        )
        return self.out


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
        entry.submission,
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
            ViewSnap(
                v.sink.name, v.seq != 0, v.at, v.rev, v.restarts, v.checked, v.floor, v.done
            )
            for v in entry.views
        ),
    )


# --- inputs ------------------------------------------------------------------------------------------------------


def on_events(gate: Gate, index: int, fence: int, events: tuple[Event, ...], sender: str) -> Out:
    """A batch's part for one turn arrives."""
    live = Live(gate)
    live.events(index, fence, events, sender)
    return live.freeze()


def on_begin(gate: Gate, index: int, fence: int, sender: str) -> Out:
    """A run is about to speak."""
    live = Live(gate)
    entry = live.entry(index)
    if entry is not None:
        live.carry(flow.on_begin(entry, Begin(KEYS[index], fence, sender), gate.name))
    return live.freeze()


def on_tick(gate: Gate, index: int, what: str, row: TurnRow | None) -> Out:
    """A timer: ``watch``, ``hold``, ``cancel``, ``leave`` or ``deadline``; the row it asks for is read at once."""
    live = Live(gate)
    entry = live.entry(index)
    assert entry is not None
    if what == "watch":
        entry.watch.due, entry.watch.ending_until = 0.0, 0.0
    elif what == "hold":
        entry.turn.hold_until = -1.0
    elif what == "cancel":
        entry.cancel_by = -1.0
    elif what == "leave":
        entry.leave_at = -1.0
    else:
        entry.deadline_at = 0.0
    live.carry(flow.on_tick(entry, 0.0))
    if entry.watch.on:
        entry.watch.due = SILENCE_S
    _read(live, entry, row)
    return live.freeze()


def on_detached(gate: Gate, index: int, fence: int, row: TurnRow | None) -> Out:
    """The owner of a run says that nobody follows it; the row is read at once."""
    live = Live(gate)
    entry = live.entry(index)
    if entry is not None:
        live.carry(flow.on_detached(entry, fence))
        _read(live, entry, row)
    return live.freeze()


def _read(live: Live, entry: Entry, row: TurnRow | None) -> None:
    """``watcher.Watcher._read``."""
    index = INDEX[entry.turn.key.turn]
    sends, live.out.sends = live.out.sends, []
    for send in sends:
        if send[0] != "read":
            live.out.sends.append(send)
            continue
        live.carry(flow.on_row(entry, row, 0.0))
        if send[2] and not entry.ended:
            live.out.sends.append(("attach", index))


def on_start(gate: Gate, index: int, sink: str) -> Out:
    """The client sends a turn."""
    live = Live(gate)
    try:
        live.carry(live.session.start(REQUESTS[index], live.socks[sink], 0.0))
    except ProtocolError as error:
        live.out.trouble = f"start refused: {error}"
    return live.freeze()


def on_cancel(gate: Gate, index: int) -> Out:
    """The client cancels. A turn that is not known here is none to cancel."""
    live = Live(gate)
    if live.entry(index) is not None:
        live.carry(live.session.cancel(KEYS[index].turn, 0.0))
    return live.freeze()


def on_accepted(gate: Gate, index: int, out: tuple[str, int, str, bool]) -> Out:
    """The job is confirmed: the end of ``publishing.Publishing.publish``."""
    live = Live(gate)
    live.outs.remove(out)
    entry = live.entry(index)
    if entry is not None:
        live.carry(live.session.accept(entry, 0.0))
    return live.freeze()


def on_recorded(gate: Gate, index: int, out: tuple[str, int, str, bool]) -> Out:
    """The forced record is confirmed: the end of ``publishing.Publishing.record``."""
    live = Live(gate)
    live.outs.remove(out)
    entry = live.entry(index)
    if entry is not None:
        entry.recorded = True
    live.out.sends.append(("stop", index, 0, ""))
    return live.freeze()


def on_submitted(
    gate: Gate, index: int, submission: str, old: tuple[str, int, str, bool], new: tuple[str, int, str, bool] | None
) -> Out:
    """A try of publishing goes out under ``submission``; ``old`` becomes ``new``."""
    live = Live(gate)
    entry = live.entry(index)
    if entry is not None:
        entry.submission = submission
    live.outs.remove(old)
    if new is not None:
        live.outs.append(new)
    return live.freeze()


def on_unknown(gate: Gate, index: int) -> Out:
    """The outcome of publishing the job is unknown: it is published again under a new submission, unless no longer
    wanted.
    """
    live = Live(gate)
    entry = live.entry(index)
    if entry is not None:
        entry.again = True
    if entry is None or entry.phase is not Phase.PUBLISHING or entry.forced is not None:
        live.outs = [out for out in live.outs if out[:2] != ("job", index)]
    return live.freeze()


def without(gate: Gate, old: tuple[str, int, str, bool], new: tuple[str, int, str, bool] | None) -> Gate:
    """``gate`` with a pending publish replaced."""
    outs = list(gate.outs)
    outs.remove(old)
    return gate._replace(outs=tuple(outs + ([new] if new is not None else [])))


def on_leave(gate: Gate, sink: str) -> Out:
    """The socket is gone."""
    live = Live(gate)
    live.session.detach(live.socks[sink], 0.0)
    del live.socks[sink]
    return live.freeze()


def on_reconnect(gate: Gate) -> Out:
    """The gateway's event queue was lost: ``dispatch.Dispatch.watch_all``."""
    live = Live(gate)
    for entry in live.session.open:
        flow.watch_now(entry, 0.0, "reconnect")
    return live.freeze()


def on_room(gate: Gate, sink: str) -> Out:
    """A stalled socket can be written to again."""
    live = Live(gate._replace(stalled=tuple(name for name in gate.stalled if name != sink)))
    sock = live.socks[sink]
    for entry in live.session.entries.values():
        for view in entry.views:
            if view.sink is sock:
                sock.touch(view)
    return live.freeze()


def wanted(gate: Gate, position: Position | None, pending: tuple[int, ...]) -> list[int]:
    """Turns whose rows ``hello`` reads."""
    turns = [KEYS[index].turn for index in pending]
    return [INDEX[turn] for turn in to_read(Live(gate).session, position, turns)]


def on_hello(
    gate: Gate,
    sink: str,
    position: Position | None,
    pending: tuple[int, ...],
    rows: tuple[TurnRow, ...],
    after: tuple[TurnRow, ...],
    starts: tuple[int, ...],
) -> Out:
    """``connection.Connection._resume``, then the turns the client sends again."""
    live = Live(gate)
    sock = live.socks[sink] = Sock(sink)
    client = Returning(
        position=position,
        pending=[KEYS[index].turn for index in pending],
        rows={row.key.turn: row for row in rows},
        after=after,
        now=0.0,
        wall=0.0,
        window_s=600.0,
        budget_s=BUDGET_S,
    )
    result = resume(live.session, sock, client)
    if result.gap:
        live.out.trouble = "3: a client within its window was told of a gap"
    live.session.attach(sock)
    live.carry(result.effects)
    for index in starts:
        live.carry(live.session.start(REQUESTS[index], sock, 0.0))
    return live.freeze()


def show(frame: ServerFrame) -> str:
    """A frame in a few words."""
    match frame:
        case Accepted(turn=turn):
            return f"accepted {turn}"
        case AnswerDelta(text=text):
            return f"delta {text!r}"
        case Restarted():
            return "restarted"
        case Done(status=status, text=text):
            return f"done {status.value} {text!r}"
        case ErrorFrame(code=code):
            return f"error {code}"
        case _:
            return type(frame).__name__


def place(frame: Any) -> Position:
    """The frame's position, with its number counted from :data:`SEQ`."""
    return msgspec.structs.replace(decode_position(frame.position), seq=SEQ - 1)
