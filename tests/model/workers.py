"""Steps of the workers: ``work/serve.py``, ``work/exits.py`` and ``work/runs.py`` from one await to the next.

Publishing, its confirm and the ack, a claim and its answer are steps of their own, so that a kill falls between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from parley_protocol.events import TurnStatus
from parley_protocol.work import Job, Record, Retrieve
from parley_runtime.run import Output
from parley_runtime.store.ports import Crossed, TurnRow
from parley_runtime.work.admission import Drop, Emit, Go, Refuse, expected_fence, first_step, verdict
from parley_runtime.work.admission import Step as Ask
from parley_runtime.work.envelope import terminal_of

from . import hearing
from . import row as rows
from .gate import INDEX, KEYS
from .handlers import ended, put_off, work
from .runs import (
    Ended,
    OutSnap,
    Proc,
    Run,
    end_below,
    flush,
    freeze,
    thaw,
)
from .world import CTL, FAULTS, GENERATE, QUEUE, RETRIEVE, Model, State, Step, Violation

SEATS = 2
REPEATED = (-1, -1)
"""A twin that has published the same job once more."""


def steps(m: Model, state: State) -> Iterator[Step]:
    """Everything that workers may do next."""
    yield from _deliveries(m, state)
    for slot, stage in m.procs:
        proc: Proc = m.table[state[slot]]
        for run in proc.runs:
            yield from run_steps(m, state, slot, stage, run)
        for end in proc.ended:
            yield from _ended_steps(m, state, slot, end)
    yield from hearing.steps(m, state)


def _deliveries(m: Model, state: State) -> Iterator[Step]:
    for message in dict.fromkeys(m.table[state[QUEUE]]):
        queue, job, _ = message
        if queue.startswith("ladder:"):
            new = list(state)
            m.dequeue(new, message)
            m.enqueue(new, queue.removeprefix("ladder:"), job)
            yield "time" if hearing.idle(m, state, queue, job) else "", ("the ladder gives back", queue), new
        seen = set()
        for slot, stage in m.procs:
            if stage != queue or state[slot] in seen or len(m.table[state[slot]].runs) >= SEATS:
                continue
            seen.add(state[slot])
            new = list(state)
            m.dequeue(new, message)
            _deliver(m, new, slot, stage, message)
            yield "", ("deliver", message, slot), new


def _deliver(m: Model, s: list[int], slot: int, stage: str, message: tuple[str, int, bool]) -> None:
    job: Job = m.table[message[1]]
    out = OutSnap(n=job.n, marks=job.marks)
    run = Run(INDEX[job.key.turn], message[1], (message,), "", job.base, job.fence, out=out, gates=job.reply_to)
    twin = _twin(m, s, slot, stage, run)
    if twin is not None and twin.leaving:
        _put(m, s, slot, None, run._replace(phase="wait", twin=(m.table[twin.job].base, twin.fence)))
    else:
        _admit(m, s, slot, stage, run, message[2])


def _twin(m: Model, s: Any, slot: int, stage: str, run: Run) -> Run | None:
    """``Runs.twin``."""
    job: Job = m.table[run.job]
    proc: Proc = m.table[s[slot]]
    for other in proc.runs:
        if not other.live or other.turn != run.turn or other.end:
            continue
        of: Job = m.table[other.job]
        if of.submission == job.submission and (stage == RETRIEVE or of.base == job.base):
            return other
    return None


def _admit(m: Model, s: list[int], slot: int, stage: str, run: Run, redelivered: bool, old: Run | None = None) -> None:
    """``Claims.decide`` up to the first question."""
    job: Job = m.table[run.job]
    first = stage == RETRIEVE
    asked = {"first_stage": first, "redelivered": redelivered, "delivery_count": None}
    step = first_step(job, always=m.size.always, **asked)  # type: ignore[arg-type]
    if step is Ask.GO:
        _enter(m, s, slot, stage, run, Go(job.base, job.fence), old)
        return
    fence = expected_fence(job, **asked)  # type: ignore[arg-type]
    if step is Ask.ASK_THEN_CLAIM_FIRST and _asks(m, s, slot, run):
        _put(m, s, slot, old, run._replace(phase="ask"))
    elif fence is None:
        _put(m, s, slot, old, run._replace(phase="read", repeated=True))
    else:
        _put(m, s, slot, old, run._replace(phase="claiming", expects=fence))


def _asks(m: Model, s: Any, slot: int, run: Run) -> bool:
    """``Claims._alive`` up to the question to the other workers."""
    row = m.row(s, run.turn)
    if _twin(m, s, slot, RETRIEVE, run) is not None or row is None:
        return False
    return not row.closed and row.submission == m.table[run.job].submission


def _put(m: Model, s: list[int], slot: int, old: Run | None, new: Run | None) -> None:
    proc: Proc = m.table[s[slot]]
    if old is None:
        assert new is not None
        proc = Proc((*proc.runs, new), proc.ended).swap(new, new)
    else:
        proc = proc.swap(old, new)
    s[slot] = m.put(proc)


def run_steps(m: Model, state: State, slot: int, stage: str, run: Run) -> Iterator[Step]:
    """What one run may do next."""
    new = list(state)
    tag = (stage, slot, f"fence {run.fence}")
    if run.dirty and (run.live or run.phase == "flush"):
        _flush(m, new, slot, stage, run)
        yield "", ("flush", *tag), new
        new = list(state)
    for name in run.lonely:
        # Runs.still_detached, some time after the gateway has left.
        if not run.gates and not run.end and not run.leaving and (gate := m.gate_slot(state, name)) is not None:
            m.post(new, "detached", gate, run.turn, run.fence, stage)
        _put(m, new, slot, run, run._replace(lonely=tuple(other for other in run.lonely if other != name)))
        yield "time", ("still detached?", name, *tag), new
        new = list(state)
    if run.end:
        ended(m, new, slot, stage, run)
        yield "", ("ended: " + run.end, *tag), new
        return
    match run.phase:
        case "ask":
            yield from _asked(m, state, slot, stage, run)
        case "read" | "prove" | "claiming" | "claimed" | "waited":
            yield from _claim_steps(m, state, slot, stage, run)
        case "decline":
            _put(m, new, slot, run, None)
            yield "", ("ack: another one answers", *tag), new
        case "seat":
            _begin(m, new, slot, stage, run)
            yield "", ("seat", *tag), new
        case "begin":
            quick = not any(
                c[0] in ("begin", "prefix") and c[2:4] == (run.turn, run.fence) and _answers(m, c)
                for c in m.table[state[CTL]]
            )
            speaking = run._replace(phase="work", out=run.out._replace(prefix=run.heard), dirty=True)
            _put(m, new, slot, run, speaking)
            yield "" if quick else "time", ("begin is answered" if quick else "begin times out", *tag), new
        case "work":
            label = work(m, new, slot, stage, run)
            yield "", (label, *tag), new
        case "out":
            assert run.exit is not None
            m.enqueue(new, *run.exit)
            _put(m, new, slot, run, run._replace(phase="sent"))
            yield "", ("publish", m.table[run.exit[1]], *tag), new
        case "sent":
            _confirmed(m, new, slot, stage, run)
            yield "", ("confirm and ack", *tag), new
        case _:
            pass


def _claim_steps(m: Model, state: State, slot: int, stage: str, run: Run) -> Iterator[Step]:
    """Read the row, prove the delivery, claim, go on: ``work/claims.py``."""
    new = list(state)
    tag = (stage, slot, f"fence {run.fence}")
    match run.phase:
        case "read":
            row = m.row(state, run.turn)
            # Without a fault to come the proof cannot fail, and nobody else takes part in it.
            reading: Run | None = run._replace(phase="prove", expects=0 if row is None else row.fence)
            if not state[FAULTS]:
                reading = run._replace(phase="claiming", expects=0 if row is None else row.fence) if run.lease else None
            _put(m, new, slot, run, reading)
            yield "", ("read the row", *tag), new
        case "prove":
            _put(m, new, slot, run, run._replace(phase="claiming") if run.lease else None)
            yield "", ("the delivery is ours" if run.lease else "the delivery is lost", *tag), new
        case "claiming":
            claimed = _claim(m, new, slot, stage, run)
            if not state[FAULTS] and claimed is not None:
                # What it says to others travels on its own.
                _claimed(m, new, slot, stage, claimed)
            yield "", ("claim", *tag), new
        case "claimed":
            _claimed(m, new, slot, stage, run)
            yield "", ("go on after the claim", *tag), new
        case "waited":
            _waited(m, new, slot, stage, run)
            yield "", ("look at the row after the twin", *tag), new


def _answers(m: Model, message: tuple[Any, ...]) -> bool:
    """Whether a begin goes to a gateway (or is its answer): workers do not answer."""
    return message[0] == "prefix" or message[1] in m.gates


def _asked(m: Model, state: State, slot: int, stage: str, run: Run) -> Iterator[Step]:
    """``Server._alive``: the answer of the other workers, or none in time."""
    alive = hearing.alive(m, state, run.turn)
    new = list(state)
    if alive:
        if "alive is acked" in m.mutations:
            _put(m, new, slot, run, run._replace(phase="decline"))
        else:
            put_off(m, new, slot, stage, run)
        yield "", ("alive elsewhere", stage, slot), new
    new = list(state)
    _put(m, new, slot, run, run._replace(phase="read", repeated=True))
    yield "time" if alive else "", ("nobody says it is alive", stage, slot), new


def _claim(m: Model, s: list[int], slot: int, stage: str, run: Run) -> Run | None:
    """The claim's statement is executed. None: it was crossed by another."""
    job: Job = m.table[run.job]
    row: TurnRow | None = m.row(s, run.turn)
    fence = None if "expected fence" in m.mutations else run.expects
    claim: Any
    if isinstance(job, Retrieve):
        submission = job.submission
        if "submission test" in m.mutations and row is not None:
            submission = row.submission
        row, claim = rows.claim_first(row, job.key, submission, job.digest, fence)
    else:
        row, claim = rows.claim_later(row, job.base, fence)
    m.set_row(s, run.turn, row)
    if not isinstance(claim, Crossed):
        claimed = run._replace(phase="claimed", expects=-1, verdict=m.put(verdict(job, claim)))
        _put(m, s, slot, run, claimed)
        return claimed
    asks = not run.repeated and stage == RETRIEVE and _asks(m, s, slot, run)
    _put(m, s, slot, run, run._replace(phase="ask" if asks else "read", expects=-1, repeated=True))
    return None


def _claimed(m: Model, s: list[int], slot: int, stage: str, run: Run) -> None:
    """The store's answer is here: ``Server._enter`` or ``_decline``."""
    decision = m.table[run.verdict]
    run_ = run._replace(verdict=-1)
    match decision:
        case Go():
            _enter(m, s, slot, stage, run_, decision, run)
        case Emit(row):
            job: Job = m.table[run.job]
            for gateway in job.reply_to:
                m.emit(s, gateway, (run.turn, "", 0), (terminal_of(row),))
            _put(m, s, slot, run, None)
        case Refuse():
            raise Violation("4: a turn's own text was refused as another")
        case Drop():
            _put(m, s, slot, run, None)


def _enter(m: Model, s: list[int], slot: int, stage: str, run: Run, go: Go, old: Run | None) -> None:
    """``Server._enter``."""
    job: Job = m.table[run.job]
    twin = _twin(m, s, slot, stage, run)
    if twin is not None and (not twin.leaving or "adopt while leaving" in m.mutations) and go.fence > twin.fence:
        _announce(m, s, slot, stage, run.turn, go.fence)
        _adopt(m, s, slot, stage, twin, run, go)
        if old is not None:
            _put(m, s, slot, old, None)
        return
    mine = m.put(msgspec.structs.replace(job, base=go.base, fence=go.fence))
    out = OutSnap(n=job.n, marks=job.marks)
    if go.fence > 1:
        out = freeze(Output(job.n, job.marks, replaces=True))
    run = run._replace(job=mine, base=go.base, fence=go.fence, claimed=True, live=True, out=out, phase="work")
    m.note_begun(s, run.turn, stage, run.fence)
    s[slot] = m.put(end_below(m.table[s[slot]], run.turn, run.fence))
    if go.fence == 1:
        _put(m, s, slot, old, run)
        return
    run = run._replace(phase="seat")
    _put(m, s, slot, old, run)
    if "seat" not in m.size.kinds:
        _begin(m, s, slot, stage, run)


def _adopt(m: Model, s: list[int], slot: int, stage: str, twin: Run, run: Run, go: Go) -> None:
    """``LiveRun.adopt``."""
    out = thaw(twin.out)
    out.refence()
    job = m.put(msgspec.structs.replace(m.table[twin.job], base=go.base, fence=go.fence))
    m.note_begun(s, run.turn, stage, go.fence)
    adopted = twin._replace(
        lease=tuple(sorted((*twin.lease, *run.lease))),
        job=job,
        base=go.base,
        fence=go.fence,
        out=freeze(out),
        dirty=True,
    )
    _put(m, s, slot, twin, adopted)


def _announce(m: Model, s: list[int], slot: int, stage: str, turn: int, fence: int) -> None:
    """``Asks.announce``: to gateways that hold the turn, and to workers with lower runs of it."""
    if "begin" in m.mutations:
        return
    for gate in m.gates:
        if m.table[s[gate]].entry(turn) is not None:
            m.post(s, "begin", gate, turn, fence, stage)
    for at, _ in m.procs:
        proc: Proc = m.table[s[at]]
        lower = any(run.live and run.turn == turn and run.fence < fence for run in proc.runs)
        if at != slot and (lower or any(end.turn == turn and end.fence < fence for end in proc.ended)):
            m.post(s, "begin", at, turn, fence)


def _begin(m: Model, s: list[int], slot: int, stage: str, run: Run) -> None:
    """``Server._work`` with a seat: an earlier run may have spoken, so ask; else only say so."""
    _put(m, s, slot, run, run._replace(phase="begin" if run.repeated else "work"))
    _announce(m, s, slot, stage, run.turn, run.fence)


def _confirmed(m: Model, s: list[int], slot: int, stage: str, run: Run) -> None:
    """The confirm is seen: whoever waits is told, the deliveries are acked, the run is over."""
    assert run.exit is not None
    job: Job = m.table[run.exit[1]]
    proc: Proc = m.table[s[slot]]
    waiting = (m.table[run.job].base, run.fence)
    # A job published once more has not ended anything.
    twin = REPEATED if job.again and not isinstance(job, Record) and run.exit[0].endswith(stage) else waiting
    runs = tuple(
        r._replace(phase="waited", twin=twin)
        if run.live and r.phase == "wait" and r.twin == waiting and r.turn == run.turn
        else r
        for r in proc.runs
    )
    proc = proc._replace(runs=runs)
    remembers = isinstance(job, Record) and job.status is TurnStatus.COMPLETED
    if remembers:
        after = Ended(run.turn, run.fence, run.out._replace(ending=True), run.gates, run.behind, run.dirty)
        others = tuple(end for end in proc.ended if end.turn != run.turn)
        proc = proc.swap(run, None)._replace(ended=(*others, after))
    else:
        lingers = run.dirty and run.live and bool(run.gates)
        proc = proc.swap(run, run._replace(phase="flush", live=False, lease=(), exit=None) if lingers else None)
    s[slot] = m.put(proc)


def _waited(m: Model, s: list[int], slot: int, stage: str, run: Run) -> None:
    """``Server._published``: does what the twin published still speak for the turn?"""
    assert run.twin is not None
    row = m.row(s, run.turn)
    speaks = row is None or row.closed or (row.base == run.twin[0] if stage == RETRIEVE else row.fence == run.twin[1])
    if run.twin == REPEATED:
        speaks = False
    if speaks and "a published twin is enough" in m.mutations:
        _put(m, s, slot, run, None)
    elif speaks:
        put_off(m, s, slot, stage, run)
    else:
        _admit(m, s, slot, stage, run._replace(twin=None), True, run)


def _flush(m: Model, s: list[int], slot: int, stage: str, run: Run) -> None:
    after, sends = flush(run, KEYS[run.turn])
    for gateway, events in sends:
        m.emit(s, gateway, (run.turn, stage, run.fence), events)
    _put(m, s, slot, run, None if run.phase == "flush" else after)


def _ended_steps(m: Model, state: State, slot: int, ended: Ended) -> Iterator[Step]:
    """It is not forgotten here: what it answers once the row is closed is dropped anyway."""
    if not ended.dirty:
        return
    new = list(state)
    proc: Proc = m.table[state[slot]]
    others = tuple(end for end in proc.ended if end is not ended)
    after, sends = flush(ended, KEYS[ended.turn])
    for gateway, events in sends:
        m.emit(new, gateway, (ended.turn, GENERATE, ended.fence), events)
    new[slot] = m.put(proc._replace(ended=(*others, after)))
    yield "", ("flush after the end", slot), new
