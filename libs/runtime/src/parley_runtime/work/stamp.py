"""The jobs that leave a run: the next stage's, its own once more, or the record that ends its turn early."""

from typing import Any, TypeVar

import msgspec

from parley_protocol.events import Fault, Hop, TurnStatus
from parley_protocol.work import Job, Record
from parley_runtime.work.live import LiveRun

J = TypeVar("J", bound=Job)


def stamp(run: LiveRun[Any], job: J, now: float) -> J:
    """``job`` as the one that follows ``run`` at monotonic time ``now``. Its numbers are final: the run must write
    nothing afterwards.
    """
    return msgspec.structs.replace(
        job,
        base=run.job.base,
        fence=run.fence,
        again=False,
        n=run.output.n,
        marks=run.output.marks,
        reply_to=tuple(run.feed.gateways),
        hops=(*run.job.hops, _hop(run, now)),
        tries=0,
    )


def repeat(run: LiveRun[J], *, tries: int) -> J:
    """The run's own job for another attempt, whose reader claims a higher fence."""
    return msgspec.structs.replace(
        run.job, again=True, tries=tries, marks=run.output.marks, reply_to=tuple(run.feed.gateways)
    )


def said(run: LiveRun[Any]) -> str:
    """What this run, or the one it repeats, has let out."""
    return run.output.prefix if run.output.comparing else run.output.text


def final(run: LiveRun[Any], status: TurnStatus, fault: Fault, now: float, *, text: str | None, forced: bool) -> Record:
    """A record without a whole answer: ``text`` is what has been delivered, None where nobody knows. That of a run
    which never had a fence is always forced. While another submission of the turn is at work, it ends nothing.
    """
    record = Record(
        key=run.key,
        submission=run.job.submission,
        budget_s=run.remaining_s(),
        question=run.job.question,
        kb=run.job.kb,
        status=status,
        text=text,
        fault=fault,
        forced=forced or not run.claimed,
        own=True,
    )
    return stamp(run, record, now)


def _hop(run: LiveRun[Any], now: float) -> Hop:
    first_ms = (run.first_at - run.started) * 1000 if run.first_at else 0.0
    return Hop(run.stage, round(run.wait_ms, 3), round((now - run.started) * 1000, 3), round(first_ms, 3))
