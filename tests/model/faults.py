"""What may go wrong, each at any moment and at the cost of one fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from . import inputs as at
from .fronts import pop
from .gate import Gate
from .handlers import expire, fail
from .runs import Proc, Run
from .world import (
    CLIENTS,
    CTL,
    DEAD,
    FIRST_GATE,
    GENERATE,
    GHOST,
    LANES,
    PARKED,
    QUEUE,
    RETRIEVE,
    SETTLED,
    TOLD,
    Client,
    Model,
    State,
    Step,
)


def steps(m: Model, state: State) -> Iterator[Step]:
    """Every fault of the size's kinds that can happen now."""
    kinds = m.size.kinds
    for slot, stage in m.procs:
        proc: Proc = m.table[state[slot]]
        if proc.runs or proc.ended:
            yield from _worker(m, state, slot, stage, proc)
    for slot in m.gates:
        yield from _gateway(m, state, slot)
    if "control" in kinds:
        for message in m.table[state[CTL]]:
            new = list(state)
            new[CTL] = m.put(tuple(other for other in m.table[state[CTL]] if other is not message))
            yield "control", ("control message lost", *message), new
    yield from _queues(m, state)


def _worker(m: Model, state: State, slot: int, stage: str, proc: Proc) -> Iterator[Step]:
    new = list(state)
    _give_back(m, new, slot)
    new[slot] = m.put(Proc())
    yield "kill rag" if stage == RETRIEVE else "kill engine", ("kill", stage, slot), new
    if any(run.lease for run in proc.runs):
        new = list(state)
        _give_back(m, new, slot)
        yield "channel rag" if stage == RETRIEVE else "channel engine", ("channel lost", stage, slot), new
    for run in proc.runs:
        yield from _run(m, state, slot, stage, run)


def _give_back(m: Model, s: list[int], slot: int) -> None:
    """The broker takes a worker's deliveries back."""
    proc: Proc = m.table[s[slot]]
    for run in proc.runs:
        for queue, job, _ in run.lease:
            m.enqueue(s, queue, job, True)
    s[slot] = m.put(Proc(tuple(run._replace(lease=()) for run in proc.runs), proc.ended))


def _run(m: Model, state: State, slot: int, stage: str, run: Run) -> Iterator[Step]:
    tag = (stage, slot, f"fence {run.fence}")
    if run.live and run.phase == "work" and not run.end:
        if stage == GENERATE:
            for kind, fatal in (("engine", False), ("refusal", True)):
                new = list(state)
                outcome = fail(m, new, slot, stage, run, fatal=fatal)
                yield kind, ("engine fails", outcome, *tag), new
        new = list(state)
        _replace(m, new, slot, run, run._replace(end="handed_over"))
        yield "drain", ("drain", *tag), new
    if run.live and run.phase in ("work", "begin", "seat") and not run.end:
        new = list(state)
        expire(m, new, slot, stage, run)
        yield "budget", ("worker's deadline", *tag), new
    if run.phase == "out" and run.exit is not None:
        queue, job = run.exit
        again = m.put(msgspec.structs.replace(m.table[job], again=True))
        for arrives in (True, False):
            new = list(state)
            if arrives:
                m.enqueue(new, queue, job)
            _replace(m, new, slot, run, run._replace(exit=(queue, again)))
            yield "unknown", ("publish, outcome unknown", arrives, *tag), new


def _replace(m: Model, s: list[int], slot: int, old: Run, run: Run) -> None:
    s[slot] = m.put(m.table[s[slot]].swap(old, run))


def _gateway(m: Model, state: State, slot: int) -> Iterator[Step]:
    gate: Gate = m.table[state[slot]]
    place = slot - FIRST_GATE
    lanes = m.table[state[LANES]]
    if gate.entries or gate.sinks:
        yield "kill gateway", ("kill gateway", gate.name), _killed(m, state, slot)
    if gate.open:
        new = list(state)
        new[LANES] = m.put((*lanes[:place], (), *lanes[place + 1 :]))
        m.gate_step(new, slot, at.on_reconnect)
        yield "epoch", ("event queue lost", gate.name), new
    for lane, _ in lanes[place]:
        new = list(state)
        pop(m, new, place, lane)
        _batch_failed(m, new, lane, gate.name)
        yield "batch", ("batch lost", gate.name, lane), new
    for sink in gate.sinks:
        new = list(state)
        m.gate_step(new, slot, at.on_leave, sink)
        _disconnect(m, new, sink)
        yield "drop", ("client drops", sink), new
        if sink not in gate.stalled:
            new = list(state)
            new[slot] = m.put(gate._replace(stalled=tuple(sorted((*gate.stalled, sink)))))
            yield "stall", ("stops reading", sink), new


def _killed(m: Model, state: State, slot: int) -> list[int]:
    """A gateway is killed and another one starts in its place, under a name of its own."""
    new = list(state)
    gate: Gate = m.table[state[slot]]
    place = slot - FIRST_GATE
    lanes = m.table[state[LANES]]
    ghost = m.table[state[GHOST]]
    new[GHOST] = m.put(ghost._replace(gates=ghost.gates + 1))
    new[slot] = m.put(Gate(f"g{ghost.gates}", abandon_s=m.abandon_s))
    new[LANES] = m.put((*lanes[:place], (), *lanes[place + 1 :]))
    new[CTL] = m.put(tuple(message for message in m.table[state[CTL]] if message[1] != slot))
    for sink in gate.sinks:
        _disconnect(m, new, sink)
    return new


def _disconnect(m: Model, s: list[int], sink: str) -> None:
    clients = list(m.table[s[CLIENTS]])
    client: Client = clients[int(sink[1:])]
    clients[int(sink[1:])] = client._replace(sock="")
    s[CLIENTS] = m.put(tuple(clients))


def _batch_failed(m: Model, s: list[int], lane: tuple[int, str, int], gateway: str) -> None:
    """``lanes.Lanes._failed``: a snapshot follows."""
    turn, stage, fence = lane
    for slot, of in m.procs:
        if of != stage:
            continue
        proc: Proc = m.table[s[slot]]
        runs = tuple(_behind(run, turn, fence, gateway) for run in proc.runs)
        s[slot] = m.put(Proc(runs, tuple(_behind(end, turn, fence, gateway) for end in proc.ended)))


def _behind(run: Any, turn: int, fence: int, gateway: str) -> Any:
    if run.turn != turn or run.fence != fence or gateway not in run.gates:
        return run
    if isinstance(run, Run) and not run.live and run.phase != "flush":
        return run
    return run._replace(behind=tuple(sorted({*run.behind, gateway})), dirty=True)


def _queues(m: Model, state: State) -> Iterator[Step]:
    """Recorder and parker are killed; messages outlive their time or their deliveries."""
    messages = m.table[state[QUEUE]]
    if any(flag in (TOLD, SETTLED, PARKED) for _, _, flag in messages):
        new = list(state)
        back = [
            (q, j, "delivery_limit" if q == DEAD else False) if f in (TOLD, SETTLED, PARKED) else (q, j, f)
            for q, j, f in messages
        ]
        new[QUEUE] = m.put(())
        for message in back:
            m.enqueue(new, *message)
        yield "kill recorder", ("kill recorder and parker",), new
    for message in dict.fromkeys(messages):
        queue, job, flag = message
        if queue not in (RETRIEVE, GENERATE):
            continue
        new = list(state)
        m.dequeue(new, message)
        m.enqueue(new, DEAD, job, "expired")
        yield "budget", ("expires in the queue", queue), new
        if flag is True:
            new = list(state)
            m.dequeue(new, message)
            m.enqueue(new, DEAD, job, "delivery_limit")
            yield "poison", ("delivery limit", queue), new
