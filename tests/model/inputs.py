"""Everything that can come to a gateway of the model: one function each, from one snapshot to the next."""

from __future__ import annotations

from parley_gateway.core import flow
from parley_gateway.core.entry import Entry, Phase
from parley_gateway.core.resume import Returning, over, resume, to_read
from parley_gateway.core.watch import SILENCE_S
from parley_protocol.control import Begin
from parley_protocol.events import Event
from parley_protocol.faults import ProtocolError
from parley_protocol.ids import TurnId
from parley_protocol.position import Position
from parley_runtime.store.ports import TurnRow

from .gate import BUDGET_S, INDEX, KEYS, REQUESTS, Gate, Live, Out, Sock


def on_events(gate: Gate, index: int, fence: int, events: tuple[Event, ...], sender: str, row: TurnRow | None) -> Out:
    """A batch's part for one turn arrives; the row is read at once where that is asked for."""
    live = Live(gate)
    live.events(index, fence, events, sender)
    entry = live.entry(index)
    if entry is not None:
        _read(live, entry, row)
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
        entry.submissions += (submission,)
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
    turns = [KEYS[index].turn for index in pending]
    read: dict[TurnId, TurnRow | None] = dict.fromkeys(to_read(live.session, position, turns))
    client = Returning(
        position=position,
        pending=turns,
        rows=read | {row.key.turn: row for row in rows},
        after=after,
        now=0.0,
        window_s=600.0,
        budget_s=BUDGET_S,
        over=over(live.session),
    )
    result = resume(live.session, sock, client)
    if result.gap:
        live.out.trouble = "3: a client within its window was told of a gap"
    live.session.attach(sock)
    live.carry(result.effects)
    for index in starts:
        live.carry(live.session.start(REQUESTS[index], sock, 0.0))
    return live.freeze()
