"""State of the modelled world, and what every step function needs.

A state is a tuple of small integers: each slot names an interned component (rows, queues, a gateway, a worker...), so
that copying and hashing a state costs next to nothing, and a component's step is computed once and looked up after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from parley_protocol.client import Accepted, AnswerDelta, Done, ErrorFrame, Restarted
from parley_protocol.events import Event, TurnStatus
from parley_rag.parker import FAILED, LATE
from parley_runtime.store.ports import TurnRow

from . import marks
from .gate import INDEX, KEYS, SEQ, Gate, Out, place
from .parts import Client, Ghost, Size, Told, Violation
from .runs import Proc, Run

FAULTS, CANCELS, ROWS, QUEUE, LANES, CTL, CLIENTS, GHOST, FIRST_GATE = range(9)

State = tuple[int, ...]
Step = tuple[str, tuple[Any, ...], list[int]]
"""(kind, label, state): kind "" is free, "time" is free where nothing else can happen, others cost a fault."""

RETRIEVE, GENERATE, RECORD, DEAD = "retrieve", "generate", "record", "dead"
TOLD, SETTLED, PARKED = "told", "settled", "parked"
"""What the recorder has done with a record: committed, and to be told of; to be acked. The parker: to be acked."""


class Model:
    """Interned components and the mutation under test. Slots of gateways and workers follow the fixed ones."""

    def __init__(self, size: Size, mutations: Iterable[str] = ()) -> None:
        self.size = size
        self.mutations = frozenset(mutations)
        self.table: list[Any] = []
        self._ids: dict[tuple[type, Any], int] = {}
        self._memo: dict[tuple[Any, ...], Out] = {}
        self.gates = tuple(range(FIRST_GATE, FIRST_GATE + size.gates))
        first = FIRST_GATE + size.gates
        stages = [RETRIEVE] * size.rags + [GENERATE] * size.engines
        self.procs = tuple((first + i, stage) for i, stage in enumerate(stages))
        self.same = [[slot for slot, stage in self.procs if stage == wanted] for wanted in (RETRIEVE, GENERATE)]

    @property
    def abandon_s(self) -> float:
        return 5.0 if self.size.abandon else 0.0

    def put(self, thing: Any) -> int:
        """The number of a component."""
        key = (type(thing), thing)
        found = self._ids.get(key)
        if found is None:
            found = self._ids[key] = len(self.table)
            self.table.append(thing)
        return found

    def start(self) -> State:
        """Nothing has been asked yet; the first client is connected to the first gateway."""
        size = self.size
        clients = [Client("g0", (Told(),) * size.turns)]
        if size.second:
            clients.append(Client("", (Told(),) * size.turns, waits=True))
        names = [f"c{i}" for i in range(len(clients))]
        gates = [
            Gate(f"g{i}", sinks=(names[0],) if i == 0 else (), abandon_s=self.abandon_s) for i in range(size.gates)
        ]
        ghost = Ghost((False,) * size.turns, ((),) * size.turns, 0, size.gates)
        lanes: tuple[Any, ...] = ((),) * size.gates
        parts = [(None,) * size.turns, (), lanes, (), tuple(clients), ghost, *gates]
        parts += [Proc() for _ in self.procs]
        return (size.faults, size.cancels, *(self.put(part) for part in parts))

    def seal(self, state: list[int]) -> State:
        """Workers of one stage are alike: put them in order, with the control messages that name them."""
        for slots in self.same:
            ordered = sorted(slots, key=state.__getitem__)
            if ordered == slots or all(state[a] == state[b] for a, b in zip(slots, ordered, strict=True)):
                continue
            moved = dict(zip(ordered, slots, strict=True))
            values = [state[slot] for slot in ordered]
            for slot, number in zip(slots, values, strict=True):
                state[slot] = number
            control = self.table[state[CTL]]
            if control:
                renamed = sorted((message[0], moved.get(message[1], message[1]), *message[2:]) for message in control)
                state[CTL] = self.put(tuple(renamed))
        return tuple(state)

    # --- rows and queues --------------------------------------------------------------------------------------

    def row(self, state: Any, turn: int) -> TurnRow | None:
        found: TurnRow | None = self.table[state[ROWS]][turn]
        return found

    def set_row(self, state: list[int], turn: int, row: TurnRow | None) -> None:
        """Invariant 2 is checked here, where rows change."""
        rows = self.table[state[ROWS]]
        old = rows[turn]
        if old is row:
            return
        if old is not None and (row is None or old.closed or row.fence < old.fence):
            raise Violation("2: a row was closed twice, or its fence fell")
        state[ROWS] = self.put((*rows[:turn], row, *rows[turn + 1 :]))
        if row is not None and row.closed:
            ghost: Ghost = self.table[state[GHOST]]
            state[GHOST] = self.put(ghost._replace(begun=(*ghost.begun[:turn], (), *ghost.begun[turn + 1 :])))

    def enqueue(self, state: list[int], queue: str, job: int, flag: Any = False) -> None:
        """A message into a durable queue; ``flag``: redelivered, or what a recorder or parker has done with it."""
        messages = self.table[state[QUEUE]]
        state[QUEUE] = self.put(tuple(sorted((*messages, (queue, job, flag)), key=_queued)))

    def dequeue(self, state: list[int], message: tuple[str, int, Any]) -> None:
        messages = list(self.table[state[QUEUE]])
        messages.remove(message)
        state[QUEUE] = self.put(tuple(messages))

    # --- events and control -----------------------------------------------------------------------------------

    def gate_slot(self, state: Any, name: str) -> int | None:
        for slot in self.gates:
            if self.table[state[slot]].name == name:
                return slot
        return None

    def emit(self, state: list[int], name: str, lane: tuple[int, str, int], events: tuple[Event, ...]) -> None:
        """A batch into a gateway's event queue; nothing where that process is gone."""
        slot = self.gate_slot(state, name)
        if slot is None:
            return
        if not lane[1] and (entry := self.table[state[slot]].entry(lane[0])) is not None and entry.turn.closed:
            return
        place = slot - FIRST_GATE
        lanes = self.table[state[LANES]]
        number = self.put(events)
        mine = dict(lanes[place])
        waiting = mine.get(lane, ())
        if waiting and waiting[-1] == number and not lane[1]:
            return
        mine[lane] = (*waiting, number)
        state[LANES] = self.put((*lanes[:place], tuple(sorted(mine.items())), *lanes[place + 1 :]))

    def post(self, state: list[int], *message: Any) -> None:
        """A control message; its receivers' slot is its second field. Being repeated changes nothing."""
        control = self.table[state[CTL]]
        if message not in control:
            state[CTL] = self.put(tuple(sorted((*control, message))))

    def to_workers(self, state: list[int], kind: str, turn: int, *rest: Any) -> None:
        """To every worker that has something of the turn: to others it would mean nothing."""
        for slot, _ in self.procs:
            proc: Proc = self.table[state[slot]]
            if any(run.turn == turn and run.live for run in proc.runs) or any(end.turn == turn for end in proc.ended):
                self.post(state, kind, slot, turn, *rest)

    def host(self, state: Any, sender: str, turn: int) -> int | None:
        """The worker that runs ``stage:fence`` of the turn."""
        stage, _, fence = sender.partition(":")
        for slot, of in self.procs:
            if of == stage:
                proc: Proc = self.table[state[slot]]
                if any(run.turn == turn and run.live and run.fence == int(fence) for run in proc.runs):
                    return slot
        return None

    # --- gateways ---------------------------------------------------------------------------------------------

    def gate_step(self, state: list[int], slot: int, step: Callable[..., Out], *args: Any, key: Any = None) -> None:
        """One input to a gateway; ``key``: what stands for ``args`` in the memo."""
        memo = (step, state[slot], args if key is None else key)
        out = self._memo.get(memo)
        if out is None:
            out = self._memo[memo] = step(self.table[state[slot]], *args)
        if out.trouble:
            raise Violation(out.trouble)
        state[slot] = self.put(out.gate)
        for send in out.sends:
            self._send(state, slot, out.gate.name, send)
        if out.frames:
            self._deliver(state, out)

    def _send(self, state: list[int], slot: int, name: str, send: tuple[Any, ...]) -> None:
        kind, turn = send[0], send[1]
        if kind == "stop":
            if not send[3]:
                self.to_workers(state, "stop", turn, send[2])
            elif (to := self.host(state, send[3], turn)) is not None:
                self.post(state, "stop", to, turn, send[2])
        elif kind == "prefix":
            if (to := self.host(state, send[4], turn)) is not None:
                self.post(state, "prefix", to, turn, send[2], name, send[3] or "")
        elif kind == "attach":
            self.to_workers(state, "attach", turn, name)
        elif kind == "leave":
            if (to := self.host(state, send[3], turn)) is not None:
                self.post(state, "leave", to, turn, name)
        elif kind == "left":
            self.to_workers(state, "abandon", turn, name)
        elif kind == "order":
            if "session order" not in self.mutations and not self._before_closed(state, turn):
                raise Violation("9: a turn was published before the one before it had closed")
        else:
            raise AssertionError(send)

    def _before_closed(self, state: Any, turn: int) -> bool:
        rows = self.table[state[ROWS]]
        return all(row is not None and row.closed for row in rows[:turn])

    def _deliver(self, state: list[int], out: Out) -> None:
        """Frames reach their clients: invariants 5 and 7."""
        clients = list(self.table[state[CLIENTS]])
        expected: dict[tuple[str, int], int] = {}
        for name, frame in out.frames:
            number = int(name[1:])
            turn = INDEX[getattr(frame, "turn", "")]
            told = clients[number].turns[turn]
            if isinstance(frame, Accepted):
                told = told if told.state not in ("new", "sent") else told._replace(state="pending")
                self._accepted(state, turn)
            elif isinstance(frame, ErrorFrame):
                raise Violation(f"1: a turn ended with an error frame: {frame.code}")
            else:
                seq = expected.get((name, turn), SEQ if told.position is not None else 0)
                number_of: int = getattr(frame, "seq", -1)
                if number_of != seq:
                    raise Violation(f"7: frame {number_of} came instead of {seq}")
                expected[name, turn] = seq + 1
                told = self._told(state, turn, told, frame)
                clients[number] = clients[number]._replace(last=turn)
            turns = clients[number].turns
            clients[number] = clients[number]._replace(turns=(*turns[:turn], told, *turns[turn + 1 :]))
        state[CLIENTS] = self.put(tuple(clients))
        for client, name in zip(clients, (f"c{i}" for i in range(len(clients))), strict=True):
            if client.sock == out.gate.name and name not in out.gate.stalled:
                _check_prefix(client, name, out.gate)

    def _told(self, state: list[int], turn: int, told: Told, frame: Any) -> Told:
        if told.state == "done":
            raise Violation(f"5: a frame came after done: {type(frame).__name__}")
        text, where = told.text, "pending"
        if isinstance(frame, AnswerDelta):
            text += frame.text
        elif isinstance(frame, Restarted):
            text = ""
        elif isinstance(frame, Done):
            where = "done"
            row = self.row(state, turn)
            if row is not None and row.status not in self._ends():
                raise Violation(f"1: the turn ended {row.status.value} for no reason")
            if row is None or not row.closed:
                raise Violation("5: done before the row was closed")
            same = frame.status is row.status and frame.text == text
            if not same or _differs(row, text, early=self.size.early):
                raise Violation(f"5: the client has {text!r}, done says {frame.text!r}, the row {row.text!r}")
        seen, wrong = marks.told(told.seen, frame, self.row(state, turn))
        if wrong:
            raise Violation(wrong)
        self._accepted(state, turn)
        return told._replace(state=where, text=text, position=place(frame), seen=seen)

    def _ends(self) -> set[TurnStatus]:
        ends = {TurnStatus.COMPLETED}
        kinds = self.size.kinds if self.size.faults else frozenset()
        if self.size.cancels:
            ends.add(TurnStatus.CANCELLED)
        if "budget" in kinds:
            ends.add(TurnStatus.EXPIRED)
        if kinds & {"poison", "refusal"}:
            ends.add(TurnStatus.FAILED)
        return ends

    def _accepted(self, state: list[int], turn: int) -> None:
        ghost: Ghost = self.table[state[GHOST]]
        if not ghost.accepted[turn]:
            accepted = (*ghost.accepted[:turn], True, *ghost.accepted[turn + 1 :])
            state[GHOST] = self.put(ghost._replace(accepted=accepted))

    # --- after each step --------------------------------------------------------------------------------------

    def check(self, state: Any) -> None:
        """Invariant 1: an open, accepted turn has a durable message that can close it."""
        ghost: Ghost = self.table[state[GHOST]]
        for turn, row in enumerate(self.table[state[ROWS]]):
            if not ghost.accepted[turn] or (row is not None and row.closed):
                continue
            if not any(_closes(self.table[job], row, queue) for queue, job in self._messages(state, turn)):
                raise Violation("1: an open, accepted turn has no durable message that can close it")

    def _messages(self, state: Any, turn: int) -> Iterator[tuple[str, int]]:
        key = KEYS[turn]
        for queue, job, flag in self.table[state[QUEUE]]:
            if self.table[job].key == key and flag != PARKED:
                yield queue, job
        for slot, _ in self.procs:
            for run in self.table[state[slot]].runs:
                if run.turn == turn:
                    for queue, job, _ in run.lease:
                        yield queue, job

    def over(self, state: Any) -> bool:
        """Every client has read the end of every turn it knows."""
        first, *others = self.table[state[CLIENTS]]
        return all(told.state == "done" for told in first.turns) and all(
            not client.waits and all(told.state in ("new", "done") for told in client.turns) for client in others
        )

    def note_begun(self, state: list[int], turn: int, stage: str, fence: int) -> None:
        """Invariant 3."""
        ghost: Ghost = self.table[state[GHOST]]
        begun = ghost.begun[turn]
        row = self.row(state, turn)
        if row is not None and row.closed:
            return  # whatever it makes is dropped
        if (stage, fence) in begun:
            raise Violation(f"3: two runs of {stage} share fence {fence}")
        begun = tuple(sorted((*begun, (stage, fence))))
        state[GHOST] = self.put(ghost._replace(begun=(*ghost.begun[:turn], begun, *ghost.begun[turn + 1 :])))


def _differs(row: TurnRow, text: str, *, early: bool) -> bool:
    """Who ends a turn without having spoken for it has asked those that know: none is none. ``early``: a parker may
    have stopped asking before somebody came to know; then its record leaves the text open.
    """
    if early and row.text is None and row.fault in (LATE, FAILED):
        return False
    return (row.text or "") != text


def _queued(message: tuple[str, int, Any]) -> tuple[str, int, str]:
    return message[0], message[1], str(message[2])


def _check_prefix(client: Client, name: str, gate: Gate) -> None:
    for entry in gate.entries:
        turn = entry.turn
        for view in entry.views:
            if view.sink != name or not turn.known or view.done or turn.waits:
                continue
            if client.turns[entry.place].text != turn.text:
                seen = client.turns[entry.place].text
                raise Violation(f"7: the client has {seen!r} of {turn.text!r}")


def _closes(job: Any, row: TurnRow | None, queue: str) -> bool:
    mine = row is None or job.submission == row.submission
    if queue == DEAD:
        return mine
    if hasattr(job, "forced"):
        return (mine or not job.own) if job.forced else (row is not None and job.fence == row.fence)
    if hasattr(job, "digest"):
        return mine
    return row is not None and job.base == row.base


__all__ = ["Client", "Ghost", "Model", "Proc", "Run", "Size", "State", "Step", "Told", "TurnStatus", "Violation"]
