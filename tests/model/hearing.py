"""Control messages as workers hear them: ``work/runs.py`` and ``work/asks.py``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from parley_protocol.work import Job

from . import inputs as at
from .gate import INDEX, KEYS
from .runs import Proc, Run, end_below, follow, leave, stop_all
from .world import CTL, RETRIEVE, Model, State, Step

ASKS = "asks:0"
"""Who asks without a run; no answer is sent there."""


def steps(m: Model, state: State) -> Iterator[Step]:
    """A worker hears a control message."""
    for message in m.table[state[CTL]]:
        slot = message[1]
        if slot in m.gates:
            continue
        new = list(state)
        new[CTL] = m.put(tuple(other for other in m.table[state[CTL]] if other is not message))
        new[slot] = m.put(_hear(m.table[state[slot]], message))
        yield "", ("hear", *message), new


def alive(m: Model, state: State, turn: int) -> bool:
    """Whether a worker would say that it runs the row's base (``Runs.runs_base``)."""
    row = m.row(state, turn)
    base = row.base if row is not None else 0
    return any(
        run.live and not run.end and run.turn == turn and run.base == base
        for slot, stage in m.procs
        if stage != RETRIEVE
        for run in m.table[state[slot]].runs
    )


def idle(m: Model, state: State, queue: str, job: int) -> bool:
    """Whether a job on the ladder would only be put off once more. Then it may as well stay there: whatever happens
    meanwhile to the worker that asks would bring it back to its queue.
    """
    asking: Job = m.table[job]
    turn = INDEX[asking.key.turn]
    row = m.row(state, turn)
    if queue != "ladder:" + RETRIEVE or row is None or row.closed or row.submission != asking.submission:
        return False
    twins = (run for slot, of in m.procs if of == RETRIEVE for run in m.table[state[slot]].runs if run.turn == turn)
    return alive(m, state, turn) and not any(run.live and not run.end for run in twins)


def delivered(m: Model, s: list[int], turn: int, fence: int) -> str | None:
    """``work.lastword.LastWord`` in one step: a gateway that holds the turn answers in time."""
    row = m.row(s, turn)
    if row is None:
        return ""
    if row.closed:
        return row.text
    fence = max(fence, row.fence)
    known: list[str] = []
    for slot in m.gates:
        if m.table[s[slot]].entry(turn) is None:
            continue
        out = at.on_begin(m.table[s[slot]], turn, fence, ASKS)
        known += [send[3] for send in out.sends if send[0] == "prefix" and send[3] is not None]
        m.gate_step(s, slot, at.on_begin, turn, fence, ASKS)
    return max(known, key=len, default=None)


def _hear(proc: Proc, message: tuple[Any, ...]) -> Proc:
    kind, turn = message[0], message[2]
    if kind == "begin":
        return end_below(proc, turn, message[3])
    if kind == "stop":
        return end_below(proc, turn, message[3]) if message[3] else stop_all(proc, turn)
    runs = list(proc.runs)
    ended = list(proc.ended)
    for place, run in enumerate(runs):
        if not run.live or run.turn != turn:
            continue
        if kind == "prefix" and run.fence == message[3]:
            runs[place] = _prefix(run, message[4], message[5])
        elif kind == "attach" and not run.end:
            speaks = run.fence == 1 or run.phase not in ("seat", "begin")
            runs[place] = follow(run, KEYS[turn], message[3])._replace(dirty=run.dirty or speaks)
        elif kind in ("leave", "abandon"):
            left: Run = leave(run, KEYS[turn], message[3])
            if kind == "abandon" and not left.gates and not left.end:
                left = left._replace(lonely=tuple(sorted({*left.lonely, message[3]})))
            runs[place] = left
    if kind == "attach" and not any(run.live and run.turn == turn and not run.end for run in runs):
        ended = [follow(end, KEYS[turn], message[3])._replace(dirty=True) if end.turn == turn else end for end in ended]
    return Proc(tuple(runs), tuple(ended))


def _prefix(run: Run, gateway: str, text: str) -> Run:
    """``Asks._prefix`` and ``Runs.follow``."""
    run = follow(run, KEYS[run.turn], gateway)
    if run.phase == "begin":
        return run._replace(heard=max(run.heard, text, key=len))
    return run._replace(dirty=True)
