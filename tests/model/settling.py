"""Steps that concern nobody else once no fault is left. Taking them before all others leaves out orders that make no
difference, and most of the states.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import inputs as at
from .fronts import pop, recorder
from .gate import Gate
from .runs import Proc, Run
from .workers import run_steps
from .world import CANCELS, CTL, FIRST_GATE, LANES, PARKED, QUEUE, RETRIEVE, SETTLED, TOLD, Model, State, Step


def steps(m: Model, state: State) -> Iterator[Step]:
    """Any of them will do."""
    yield from _fronts(m, state)
    yield from _workers(m, state)


def _fronts(m: Model, state: State) -> Iterator[Step]:
    """Steps of recorder and parker that concern nobody else; the confirm of a job, which an event would stand for."""
    lanes = m.table[state[LANES]]
    for slot in m.gates:
        gate: Gate = m.table[state[slot]]
        for lane, _ in lanes[slot - FIRST_GATE]:
            entry = gate.entry(lane[0])
            over = entry is not None and (entry.turn.closed or lane[2] < entry.turn.fence)
            if lane[1] and over and m.host(state, f"{lane[1]}:{lane[2]}", lane[0]) is None:
                new = list(state)
                pop(m, new, slot - FIRST_GATE, lane)
                yield "", ("nobody cares for", lane), new
    if not state[CANCELS]:
        for slot in m.gates:
            for out in m.table[state[slot]].outs:
                if out[0] == "job" and out[3]:
                    new = list(state)
                    m.gate_step(new, slot, at.on_accepted, out[1], out)
                    yield "", ("confirm", "job", m.table[state[slot]].name), new
    if any(flag in (TOLD, SETTLED, PARKED) for _, _, flag in m.table[state[QUEUE]]):
        for step in recorder(m, state):
            if step[1][0] in ("recorder acks", "recorder tells", "parker acks"):
                yield step


def _workers(m: Model, state: State) -> Iterator[Step]:
    """Steps that concern nobody else once no fault is left: an ack for which another run answers, the last flush of a
    run that is over, a confirm which no other delivery of the stage's jobs, and no first stage, can ask about, and a
    word to a worker that has nothing of the turn and will get nothing older.
    """
    for slot, stage in m.procs:
        for run in m.table[state[slot]].runs:
            if run.phase in ("decline", "flush") or (run.phase == "sent" and not _may_ask(m, state, stage, run)):
                steps = list(run_steps(m, state, slot, stage, run))
                yield steps[-1] if run.phase == "sent" else steps[0]

    for message in m.table[state[CTL]]:
        slot = message[1]
        if slot in m.gates or message[0] not in ("begin", "stop"):
            continue
        proc: Proc = m.table[state[slot]]
        stage = dict(m.procs)[slot]
        if not proc.runs and not proc.ended and all(stage != queue for queue, _, _ in m.table[state[QUEUE]]):
            new = list(state)
            new[CTL] = m.put(tuple(other for other in m.table[state[CTL]] if other is not message))
            yield "", ("nothing to end", *message), new


def _may_ask(m: Model, state: State, stage: str, run: Run) -> bool:
    """Whether somebody may still look at ``run``: its twin, or a first stage that asks who is alive."""
    stages = (stage, RETRIEVE)
    if any(queue.removeprefix("ladder:") in stages for queue, _, _ in m.table[state[QUEUE]]):
        return True
    return any(
        other is not run and other.phase not in ("flush", "decline")
        for slot, of in m.procs
        if of in stages
        for other in m.table[state[slot]].runs
    )
