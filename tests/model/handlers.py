"""What happens in a run's handler, and how the run is left: the engine's steps, ``work/exits.py``."""

from __future__ import annotations

from typing import Any

from parley_protocol.events import Fault, TurnStatus
from parley_protocol.work import Job
from parley_runtime.errors import EngineError, EngineRejected
from parley_runtime.retry import Retry, after_failure
from parley_runtime.stage import following, record
from parley_runtime.work.stamp import final, repeat, said, stamp

from .hearing import delivered
from .marks import GENERATING, RETRIEVING, sources
from .runs import Run, freeze, stamped_of, timeless
from .world import FAULTS, GENERATE, RECORD, RETRIEVE, Model

_FAULT = Fault("failed", "f", False)
_LATE = Fault("expired", "e", True)
_ANSWER = "ab"


def piece(engine: str, fence: int, k: int) -> str:
    """Token ``k`` of a run: the same each time, or of its own."""
    return _ANSWER[k] if engine != "differs" else chr(ord("a") + 2 * (fence - 1) + k)


def put(m: Model, s: list[int], slot: int, old: Run, new: Run | None) -> None:
    """Replace a run of a worker."""
    s[slot] = m.put(m.table[s[slot]].swap(old, new))


def work(m: Model, s: list[int], slot: int, stage: str, run: Run) -> str:
    """One step of the handler."""
    stamped = stamped_of(run, m.table[run.job], stage)
    out = stamped.output
    if stage == RETRIEVE:
        out.status(RETRIEVING)
        out.retrieval("i", "r", sources(m.size.engine, run.fence))
        out.finish()
        _leave(m, s, slot, run, out, stamp(stamped, following(stamped, ()), 0.0), GENERATE)
        return "retrieve"
    if run.k < 0:
        out.status(GENERATING)
        k = 0
        if m.size.engine == "continues" and out.prefix:
            k = len(out.prefix)
            out.delta(out.prefix)
        if not s[FAULTS] and k < m.size.tokens:
            out.delta(piece(m.size.engine, run.fence, k))
            k += 1
        put(m, s, slot, run, run._replace(out=freeze(out), k=k, dirty=True))
        return "generate"
    if run.k < m.size.tokens:
        out.delta(piece(m.size.engine, run.fence, run.k))
        put(m, s, slot, run, run._replace(out=freeze(out), k=run.k + 1, dirty=True))
        return "token"
    stamped.text = out.text
    found = out.marks.retrieval
    job = record(stamped, sources=found.sources if found is not None else ())
    out.finish()
    _leave(m, s, slot, run, out, stamp(stamped, job, 0.0), RECORD)
    return "finish"


def _leave(m: Model, s: list[int], slot: int, run: Run, out: Any, job: Job, queue: str) -> None:
    """What follows is about to be published; without a fault to come it is at once, since nothing can stop it."""
    exit = (queue, m.put(timeless(job)))
    if not s[FAULTS]:
        m.enqueue(s, *exit)
    phase = "out" if s[FAULTS] else "sent"
    put(m, s, slot, run, run._replace(out=freeze(out), dirty=True, phase=phase, exit=exit))


def ended(m: Model, s: list[int], slot: int, stage: str, run: Run) -> None:
    """``Exits.ended``."""
    if run.end == "handed_over":
        again = timeless(repeat(stamped_of(run, m.table[run.job], stage), tries=m.table[run.job].tries))
        put(m, s, slot, run, run._replace(end="", phase="out", exit=(stage, m.put(again)), live=False))
    else:
        put(m, s, slot, run, None)


def put_off(m: Model, s: list[int], slot: int, stage: str, run: Run) -> None:
    """``Exits.wait``: the job comes back later. Without a lease it is with somebody else by now."""
    if not run.lease:
        put(m, s, slot, run, None)
        return
    again = m.put(timeless(repeat(stamped_of(run, m.table[run.job], stage), tries=m.table[run.job].tries)))
    if not s[FAULTS]:
        m.enqueue(s, "ladder:" + stage, again)
    phase = "out" if s[FAULTS] else "sent"
    put(m, s, slot, run, run._replace(phase=phase, exit=("ladder:" + stage, again), twin=None))


def fail(m: Model, s: list[int], slot: int, stage: str, run: Run, *, fatal: bool) -> str:
    """``Exits.fail``: the engine has raised."""
    job: Job = m.table[run.job]
    stamped = stamped_of(run, job, stage)
    error = EngineRejected("no") if fatal else EngineError("not now")
    outcome = after_failure(error, job.tries, 100.0)
    if isinstance(outcome, Retry):
        again = timeless(repeat(stamped, tries=job.tries + 1))
        put(m, s, slot, run, run._replace(phase="out", exit=("ladder:" + stage, m.put(again))))
    else:
        ending = final(stamped, TurnStatus.FAILED, _FAULT, 0.0, text=said(stamped), forced=False)
        _leave(m, s, slot, run, stamped.output, ending, RECORD)
    return type(outcome).__name__


def expire(m: Model, s: list[int], slot: int, stage: str, run: Run) -> None:
    """``Exits.expire``: the worker's own deadline."""
    stamped = stamped_of(run, m.table[run.job], stage)
    text: str | None = said(stamped)
    if run.phase != "work" and run.repeated:
        text = delivered(m, s, run.turn, run.fence) or ""
    job = final(stamped, TurnStatus.EXPIRED, _LATE, 0.0, text=text, forced=True)
    put(m, s, slot, run, run._replace(phase="out", exit=(RECORD, m.put(timeless(job)))))
