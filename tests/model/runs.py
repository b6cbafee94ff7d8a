"""One run of the model: the real ``run.Output``, ``feed.Feed`` and ``work.stamp``, rebuilt from a snapshot.

A run's ``phase`` says between which two awaits of ``work/serve.py`` and ``work/exits.py`` it stands:

    ask       the other workers are asked whether they run the turn
    read      the row is to be read before the claim
    prove     the broker is asked whether the delivery is still ours
    claiming  its claim is on the way to the store
    claimed   the store has answered
    wait      an earlier run of this process is publishing what ends it; ``waited``: it has
    begin     answers to ``begin`` are awaited
    work      its handler is at work
    out       what follows it is to be published
    sent      that is in its queue; the confirm has not been seen
    flush     settled, with events still to be sent
    decline   another one answers for the turn: to be acked
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from parley_protocol.events import Event, Marks
from parley_protocol.work import Job
from parley_runtime.feed import Feed
from parley_runtime.run import Output

REGISTERED = ("begin", "work", "out", "sent")
LEAVING = ("out", "sent")


class OutSnap(NamedTuple):
    """``run.Output``."""

    n: int = 0
    marks: Marks = Marks()
    prefix: str = ""
    ending: bool = False
    comparing: bool = False
    text: str = ""
    items: tuple[Event, ...] = ()
    open: str = ""
    delta_n: int = 0
    delta_at: int = 0


class Run(NamedTuple):
    """A delivery at a worker. ``lease``: its messages that are still ours to settle, as (queue, job id, redelivered).
    ``live``: in the process's registry. ``k``: pieces written, -1 before the first status. ``exit``: (queue, job id)
    of what is to be published. ``twin``: (base, fence) of the run that is waited for. ``expects``: the fence that a
    claim expects of the row. ``lonely``: gateways that have left it for good and would be told that nobody follows it.
    """

    turn: int
    job: int
    lease: tuple[tuple[str, int, bool], ...]
    phase: str
    base: int
    fence: int
    expects: int = -1
    verdict: int = -1
    repeated: bool = False
    live: bool = False
    claimed: bool = False
    out: OutSnap = OutSnap()
    gates: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    dirty: bool = False
    end: str = ""
    k: int = -1
    exit: tuple[str, int] | None = None
    heard: str = ""
    twin: tuple[int, int] | None = None
    lonely: tuple[str, ...] = ()

    @property
    def leaving(self) -> bool:
        return self.phase in LEAVING


class Ended(NamedTuple):
    """A run that has published its record and still answers an attach."""

    turn: int
    fence: int
    out: OutSnap
    gates: tuple[str, ...]
    behind: tuple[str, ...] = ()
    dirty: bool = False


class Proc(NamedTuple):
    """One worker process of one stage."""

    runs: tuple[Run, ...] = ()
    ended: tuple[Ended, ...] = ()

    def swap(self, old: Run, new: Run | None) -> Proc:
        """With ``old`` replaced, or gone."""
        runs = list(self.runs)
        runs.remove(old)
        if new is not None:
            runs.append(new)
        return self._replace(runs=tuple(sorted(runs, key=_order)))


def _order(run: Run) -> tuple[Any, ...]:
    return (run.turn, run.fence, run.phase, run.job, run.lease, run.base, run.verdict, run.k, run.expects)


def thaw(snap: OutSnap) -> Output:
    """The Output of a snapshot."""
    out = Output(snap.n, snap.marks, prefix=snap.prefix)
    out.ending = snap.ending
    out._comparing = snap.comparing
    out._at = len(snap.text)
    out._parts = [snap.text] if snap.text else []
    out._items = list(snap.items)
    out._open = [snap.open] if snap.open else []
    out._delta_n = snap.delta_n if snap.open else 0
    out._delta_at = snap.delta_at if snap.open else 0
    return out


def freeze(out: Output) -> OutSnap:
    """The snapshot of an Output."""
    unsent = "".join(out._open)
    return OutSnap(
        out.n,
        out.marks,
        out.prefix,
        out.ending,
        out.comparing,
        out.text,
        tuple(out._items),
        unsent,
        out._delta_n if unsent else 0,
        out._delta_at if unsent else 0,
    )


def feed_of(run: Run | Ended, key: Any, out: Output) -> Feed:
    """The Feed of a run."""
    feed = Feed(key, run.fence, out, run.gates)
    feed.behind = set(run.behind)
    feed.queued = run.dirty
    return feed


class Stamped:
    """What ``work.stamp`` and ``stage.following`` read of a LiveRun."""

    wait_ms = started = first_at = 0.0

    def __init__(self, run: Run, job: Job, stage: str) -> None:
        self.job = job
        self.key = job.key
        self.fence = run.fence
        self.stage = stage
        self.claimed = run.claimed
        self.output = thaw(run.out)
        self.feed = feed_of(run, job.key, self.output)
        self.text = self.output.text

    def remaining_s(self) -> float:
        return 1.0


def stamped_of(run: Run, job: Job, stage: str) -> Any:
    """Stands in for the LiveRun."""
    return Stamped(run, job, stage)


def timeless(job: Job) -> Job:
    """``job`` without what only figures need."""
    return msgspec.structs.replace(job, hops=(), budget_s=1.0, sent_at=0.0)


def flush(run: Run | Ended, key: Any) -> tuple[Any, list[tuple[str, tuple[Event, ...]]]]:
    """``sink.EventSink._flush`` and ``_route`` for one feed: the run afterwards and (gateway, events) to send."""
    out = thaw(run.out)
    feed = feed_of(run, key, out)
    items = out.take()
    sends: list[tuple[str, tuple[Event, ...]]] = []
    for gateway in feed.gateways:
        if gateway in feed.behind:
            feed.behind.discard(gateway)
            sends.append((gateway, (out.snapshot(),)))
        elif items:
            sends.append((gateway, items))
    return run._replace(out=freeze(out), behind=tuple(sorted(feed.behind)), dirty=False), sends


def follow(run: Any, key: Any, gateway: str) -> Any:
    """``Feed.follow``."""
    feed = feed_of(run, key, thaw(run.out))
    feed.follow(gateway)
    return run._replace(gates=tuple(feed.gateways), behind=tuple(sorted(feed.behind)))


def leave(run: Any, key: Any, gateway: str) -> Any:
    """``Feed.leave``."""
    feed = feed_of(run, key, thaw(run.out))
    feed.leave(gateway)
    return run._replace(gates=tuple(feed.gateways), behind=tuple(sorted(feed.behind)))


def _stopped(run: Run, why: str) -> Run:
    """``LiveRun.stop``, muted."""
    return run._replace(gates=(), behind=(), end=run.end or ("" if run.leaving else why))


def end_below(proc: Proc, turn: int, fence: int) -> Proc:
    """``work.runs.Runs.end_below``."""
    runs = []
    for run in proc.runs:
        lower = run.live and run.turn == turn and run.fence < fence
        runs.append(_stopped(run, "superseded") if lower else run)
    ended = tuple(run for run in proc.ended if not (run.turn == turn and run.fence < fence))
    return proc._replace(runs=tuple(runs), ended=ended)


def stop_all(proc: Proc, turn: int) -> Proc:
    """``work.runs.Runs._on_stop`` with fence 0."""
    runs = []
    for run in proc.runs:
        runs.append(_stopped(run, "stopped") if run.live and run.turn == turn else run)
    return proc._replace(runs=tuple(runs), ended=tuple(run for run in proc.ended if run.turn != turn))
