"""Steps of clients, gateways, recorder and parker."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec

from parley_gateway.core.entry import Check, Phase
from parley_gateway.publishing import Publishing
from parley_protocol import codec
from parley_protocol.events import TurnStatus
from parley_protocol.work import Record, Retrieve
from parley_rag.parker import record_for
from parley_runtime.store.ports import Superseded
from parley_runtime.work.envelope import terminal_of

from . import hearing, marks
from . import inputs as at
from . import row as rows
from .gate import INDEX, KEYS, REQUESTS, Gate, Live
from .runs import timeless
from .world import (
    CLIENTS,
    CTL,
    DEAD,
    FIRST_GATE,
    GHOST,
    LANES,
    PARKED,
    QUEUE,
    RECORD,
    RETRIEVE,
    ROWS,
    SETTLED,
    TOLD,
    Client,
    Ghost,
    Model,
    State,
    Step,
    Told,
    Violation,
)


def steps(m: Model, state: State) -> Iterator[Step]:
    """Everything that clients, gateways, recorder and parker may do next."""
    yield from _clients(m, state)
    for slot in m.gates:
        yield from _publishing(m, state, slot)
        yield from _events(m, state, slot)
        yield from _timers(m, state, slot)
    yield from _control(m, state)
    yield from recorder(m, state)


# --- clients -------------------------------------------------------------------------------------------------------


def _clients(m: Model, state: State) -> Iterator[Step]:
    clients = m.table[state[CLIENTS]]
    for number, client in enumerate(clients):
        if client.sock:
            yield from _starts(m, state, number, client)
        elif not client.waits:
            for slot in m.gates:
                new = list(state)
                connect(m, new, number, slot)
                yield "", ("connect", f"c{number}", m.table[state[slot]].name), new
        elif clients[0].turns[0].state != "new":
            home = clients[0].sock
            for slot in m.gates:
                if (m.table[state[slot]].name == home) is (m.size.second == "same"):
                    new = list(state)
                    _set_client(m, new, number, _adopting(client))
                    connect(m, new, number, slot)
                    yield "", ("join", f"c{number}", m.table[state[slot]].name), new


def _adopting(client: Client) -> Client:
    return client._replace(waits=False, turns=(Told("pending"), *client.turns[1:]))


def _starts(m: Model, state: State, number: int, client: Client) -> Iterator[Step]:
    slot = m.gate_slot(state, client.sock)
    assert slot is not None
    for turn, told in enumerate(client.turns):
        if told.state == "new" and number == 0:
            new = list(state)
            _set_told(m, new, number, turn, told._replace(state="sent"))
            m.gate_step(new, slot, at.on_start, turn, f"c{number}")
            yield "", ("start", turn, client.sock), new
            return
        if told.state in ("sent", "pending") and not told.cancelled and state[1]:
            new = list(state)
            _set_told(m, new, number, turn, told._replace(cancelled=True))
            m.gate_step(new, slot, at.on_cancel, turn)
            new[1] -= 1
            yield "cancel", ("cancel", turn, client.sock), new


def connect(m: Model, s: list[int], number: int, slot: int) -> None:
    """``hello``, and again what was not accepted and what is to be cancelled: ``parley_client.resume.Memory``."""
    clients = m.table[s[CLIENTS]]
    client: Client = clients[number]
    gate: Gate = m.table[s[slot]]
    client = client._replace(sock=gate.name)
    _set_client(m, s, number, client)
    pending = tuple(i for i, told in enumerate(client.turns) if told.state == "pending")
    starts = tuple(i for i, told in enumerate(client.turns) if told.state == "sent")
    position = client.turns[client.last].position if client.last >= 0 else None
    table = m.table[s[ROWS]]
    wanted = at.wanted(gate, position, pending)
    found = tuple(table[i] for i in wanted if table[i] is not None)
    after = tuple(row for row in table[client.last + 1 :] if row is not None) if position is not None else ()
    m.gate_step(s, slot, at.on_hello, f"c{number}", position, pending, found, after, starts)
    for turn, told in enumerate(client.turns):
        if told.cancelled and told.state != "done":
            m.gate_step(s, slot, at.on_cancel, turn)


def _set_client(m: Model, s: list[int], number: int, client: Client) -> None:
    clients = m.table[s[CLIENTS]]
    s[CLIENTS] = m.put((*clients[:number], client, *clients[number + 1 :]))


def _set_told(m: Model, s: list[int], number: int, turn: int, told: Told) -> None:
    client: Client = m.table[s[CLIENTS]][number]
    _set_client(m, s, number, client._replace(turns=(*client.turns[:turn], told, *client.turns[turn + 1 :])))


# --- gateways ------------------------------------------------------------------------------------------------------


def _publishing(m: Model, state: State, slot: int) -> Iterator[Step]:
    """``publishing.Publishing``: a try, its outcome, its confirm."""
    gate: Gate = m.table[state[slot]]
    for out in gate.outs:
        kind, turn, _, sent = out
        new = list(state)
        if sent:
            m.gate_step(new, slot, at.on_accepted if kind == "job" else at.on_recorded, turn, out)
            yield "", ("confirm", kind, gate.name), new
            continue
        publish(m, new, slot, out, arrives=True, confirmed=True)
        yield "", ("publish", kind, gate.name), new
        for arrives in (True, False):
            new = list(state)
            publish(m, new, slot, out, arrives=arrives, confirmed=False)
            yield "unknown", ("publish, outcome unknown", kind, arrives, gate.name), new


def publish(
    m: Model, s: list[int], slot: int, out: tuple[str, int, str, bool], *, arrives: bool, confirmed: bool
) -> None:
    """One try."""
    kind, turn, status, _ = out
    gate: Gate = m.table[s[slot]]
    then = (kind, turn, status, confirmed)
    entry = gate.entry(turn)
    if kind == "record":
        assert entry is not None
        text = entry.turn.text if entry.turn.known else hearing.delivered(m, s, turn, entry.turn.fence) or ""
        record = _forced(gate, turn, TurnStatus(status), text)
        if arrives:
            m.enqueue(s, RECORD, m.put(timeless(record)))
        s[slot] = m.put(at.without(m.table[s[slot]], out, then))
        return
    ghost: Ghost = m.table[s[GHOST]]
    s[GHOST] = m.put(ghost._replace(submissions=ghost.submissions + 1))
    submission = f"s{ghost.submissions + 1}"
    if arrives:
        request = REQUESTS[turn]
        job = Retrieve(
            key=KEYS[turn],
            submission=submission,
            budget_s=1.0,
            again=entry is not None and entry.again,
            reply_to=(gate.name,),
            question=request.text,
            kb=request.kb,
            digest=request.digest,
        )
        m.enqueue(s, RETRIEVE, m.put(timeless(job)))
    m.gate_step(s, slot, at.on_submitted, turn, submission, out, then)
    if not confirmed:
        m.gate_step(s, slot, at.on_unknown, turn)


def _forced(gate: Gate, turn: int, status: TurnStatus, text: str) -> Record:
    """``Publishing._forced`` itself."""
    entry = Live(gate).entry(turn)
    shell: Any = SimpleNamespace(gateway=gate.name, _clock=SimpleNamespace(wall=lambda: 0.0))
    record: Record = Publishing._forced(shell, entry, status, text)  # type: ignore[arg-type]
    return record


def _events(m: Model, state: State, slot: int) -> Iterator[Step]:
    """The next batch of some worker. Those of different connections come in any order."""
    lanes = m.table[state[LANES]]
    place = slot - FIRST_GATE
    for lane, waiting in lanes[place]:
        new = list(state)
        pop(m, new, place, lane)
        turn, stage, fence = lane
        events = m.table[waiting[0]]
        row = m.row(state, turn)
        if not stage:
            fence = row.fence if row is not None else 0
        sender = f"{stage}:{fence}" if stage else ""
        key = (lane, waiting[0], fence, state[ROWS])
        m.gate_step(new, slot, at.on_events, turn, fence, events, sender, row, key=key)
        yield "", ("events", m.table[state[slot]].name, lane, events), new


def pop(m: Model, s: list[int], place: int, lane: tuple[int, str, int]) -> None:
    """Take the next batch off a lane."""
    lanes = m.table[s[LANES]]
    mine = dict(lanes[place])
    rest = mine[lane][1:]
    if rest:
        mine[lane] = rest
    else:
        del mine[lane]
    s[LANES] = m.put((*lanes[:place], tuple(sorted(mine.items())), *lanes[place + 1 :]))


def _timers(m: Model, state: State, slot: int) -> Iterator[Step]:
    gate: Gate = m.table[state[slot]]
    for index in gate.open:
        entry = gate.entry(index)
        assert entry is not None
        if entry.phase is Phase.QUEUED and entry.forced is None:
            continue
        row = m.row(state, index)
        timers = [("watch", "" if entry.due else "time")]
        if entry.turn.holding:
            timers.append(("hold", "time"))
        if entry.cancelling and entry.forced is None:
            timers.append(("cancel", "time"))
        if entry.leaving:
            timers.append(("leave", "time"))
        if entry.checking is Check.NONE and entry.forced is None:
            timers.append(("deadline", "budget"))
        for what, kind in timers:
            if what == "watch" and entry.phase is Phase.PUBLISHING and entry.forced is None:
                continue
            new = list(state)
            read = None if "row reads" in m.mutations else row
            m.gate_step(new, slot, at.on_tick, index, what, read)
            yield kind, (what, gate.name, f"turn {index}"), new
    for name in gate.stalled:
        new = list(state)
        m.gate_step(new, slot, at.on_room, name)
        yield "", ("reads again", name), new


def _control(m: Model, state: State) -> Iterator[Step]:
    """A gateway hears a begin."""
    for message in m.table[state[CTL]]:
        kind, slot, turn, *rest = message
        if slot not in m.gates:
            continue
        new = list(state)
        new[CTL] = m.put(tuple(other for other in m.table[state[CTL]] if other is not message))
        if kind == "begin":
            m.gate_step(new, slot, at.on_begin, turn, rest[0], f"{rest[1]}:{rest[0]}")
        else:
            m.gate_step(new, slot, at.on_detached, turn, rest[0], m.row(state, turn))
        yield "", (kind, m.table[state[slot]].name, turn, rest), new


# --- recorder and parker -------------------------------------------------------------------------------------------


def recorder(m: Model, state: State) -> Iterator[Step]:
    """``recorder.Recorder._record``: commit, event, ack. ``parker.Parker._serve``: the question to the gateways and the
    record in one, ack.
    """
    for message in dict.fromkeys(m.table[state[QUEUE]]):
        queue, job, flag = message
        new = list(state)
        if queue == DEAD:
            yield _park(m, new, message)
            continue
        if queue != RECORD:
            continue
        record: Record = m.table[job]
        turn = INDEX[record.key.turn]
        m.dequeue(new, message)
        if flag == SETTLED:
            yield "", ("recorder acks",), new
        elif flag == TOLD:
            row = m.row(state, turn)
            assert row is not None
            for gateway in record.reply_to:
                m.emit(new, gateway, (turn, "", 0), (terminal_of(row),))
            m.enqueue(new, RECORD, job, SETTLED)
            yield "", ("recorder tells", record.reply_to), new
        else:
            before = m.row(state, turn)
            rules = {"fenced": "fence test" not in m.mutations, "once": "closed is for ever" not in m.mutations}
            row, closing = rows.close(before, record, **rules)
            if row is not None and row.closed and not (before is not None and before.closed):
                _stored(m, record, row)
            m.set_row(new, turn, row)
            m.enqueue(new, RECORD, job, SETTLED if isinstance(closing, Superseded) else TOLD)
            yield "", ("recorder commits", type(closing).__name__, record), new


def _stored(m: Model, record: Record, row: Any) -> None:
    if not record.forced and record.fence != row.fence:
        raise Violation(f"4: an answer of fence {record.fence} was stored in a row of fence {row.fence}")
    if wrong := marks.stored(row, m.size.engine):
        raise Violation(wrong)


def _park(m: Model, new: list[int], message: tuple[str, int, Any]) -> Step:
    _, job, flag = message
    m.dequeue(new, message)
    if flag == PARKED:
        return "", ("parker acks",), new
    record = record_for(codec.pack(m.table[job]), flag)
    text: str | None = ""
    if record is not None:
        text = hearing.delivered(m, new, INDEX[record.key.turn], record.fence)
        m.enqueue(new, RECORD, m.put(timeless(msgspec.structs.replace(record, text=text))))
    m.enqueue(new, DEAD, job, PARKED)
    # It goes on asking while nobody knows, for longer than anything takes that is on its way.
    return "time" if text is None else "", ("parker records", flag), new
