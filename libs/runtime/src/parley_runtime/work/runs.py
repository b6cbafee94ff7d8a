"""The runs of one process by turn, and what control messages do to them."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from parley_protocol.control import Alive, Attach, Begin, Detached, Leave, Running, Stop
from parley_protocol.ids import TurnKey
from parley_protocol.work import Job
from parley_runtime.control import ControlPlane
from parley_runtime.sink import EventSink, Feed
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import counter
from parley_runtime.work.live import End, LiveRun
from parley_runtime.work.options import WorkerOptions

AnyRun = LiveRun[Any]

DETACHED_S = 5.0
"""A run that nobody follows is said to be detached after this time. Every gateway with a socket of the session asks
again after 2 s of silence, so whoever was taken off the list by mistake is on it again by then.
"""


def count_waste(run: AnyRun, why: str) -> None:
    """What ``run`` has made is thrown away."""
    if run.seated:
        counter(names.WASTED).labels(run.stage, why).inc()
        counter(names.WASTED_TOKENS).labels(run.stage, why).inc(run.pieces)


def send_to_row(sink: EventSink, run: AnyRun) -> None:
    """A turn that one gateway has ended by force: the others would hear of it only after a silence, since the
    forced record names but the one. An ``ending`` snapshot makes them read the row.
    """
    speaks = run.end is None and (run.begun or run.fence == 1)
    if speaks and len(run.feed.gateways) > 1:
        run.output.ending = True
        sink.emit(tuple(run.feed.gateways), run.key, run.fence, run.output.snapshot())


class Ended:
    """Finished runs that still answer an attach for a while, with an ``ending`` snapshot. Bounded."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._feeds: OrderedDict[TurnKey, tuple[Feed, float]] = OrderedDict()

    def remember(self, run: AnyRun) -> None:
        """``run`` has published its record."""
        run.output.ending = True
        if not self._options.ended_turns or not self._options.ended_s:
            return
        self._feeds.pop(run.key, None)
        self._feeds[run.key] = (run.feed, self._loop.time() + self._options.ended_s)
        if len(self._feeds) > self._options.ended_turns:
            self._feeds.popitem(last=False)
        if len(self._feeds) == 1:
            self._loop.call_later(self._options.ended_s, self._forget)

    def get(self, key: TurnKey) -> Feed | None:
        """The turn's, if its time has not passed."""
        feed, until = self._feeds.get(key, (None, 0.0))
        return feed if until > self._loop.time() else None

    def drop(self, key: TurnKey, *, below: int | None = None) -> None:
        """The turn has ended otherwise; ``below``: only one with a lower fence."""
        found = self._feeds.get(key)
        if found is not None and (below is None or found[0].fence < below):
            del self._feeds[key]

    def _forget(self) -> None:
        now = self._loop.time()
        while self._feeds:
            key, (_, until) = next(iter(self._feeds.items()))
            if until > now:
                self._loop.call_at(until, self._forget)
                return
            del self._feeds[key]


class Runs:
    """Live runs; ``ended`` are finished ones."""

    def __init__(self, control: ControlPlane, sink: EventSink, options: WorkerOptions) -> None:
        self._control = control
        self._sink = sink
        self.ended = Ended(options)
        self._loop = asyncio.get_running_loop()
        self._live: dict[TurnKey, list[AnyRun]] = {}
        control.on(Stop, self._on_stop)
        control.on(Begin, self._on_begin)
        control.on(Attach, self._on_attach)
        control.on(Leave, self._on_leave)
        control.on(Running, self._on_running)

    def __iter__(self) -> Iterator[AnyRun]:
        return (run for runs in tuple(self._live.values()) for run in tuple(runs))

    def add(self, run: AnyRun) -> None:
        """``run`` has a fence: lower ones of its turn end, and it hears control from now on."""
        self.end_below(run.key, run.fence)
        self._live.setdefault(run.key, []).append(run)

    def remove(self, run: AnyRun) -> None:
        """Forget ``run``. Idempotent."""
        runs = self._live.get(run.key)
        if runs is None or run not in runs:
            return
        runs.remove(run)
        if not runs:
            del self._live[run.key]

    def twin(self, stage: str, job: Job, *, first: bool) -> AnyRun | None:
        """The live run of the very job ``job``, if this process has it."""
        for run in self._live.get(job.key, ()):
            same = run.job.submission == job.submission and (first or run.job.base == job.base)
            if run.stage == stage and same and run.end is None:
                return run
        return None

    def runs_base(self, key: TurnKey, base: int) -> bool:
        """Whether a later stage's run of ``base`` is alive here. A first stage's run does not count: only its own
        delivery keeps the turn alive, so that delivery must not be acked for its sake.
        """
        return any(not run.first and run.job.base == base and run.end is None for run in self._live.get(key, ()))

    def end_below(self, key: TurnKey, fence: int) -> None:
        """A run with ``fence`` speaks for the turn: lower ones end."""
        for run in tuple(self._live.get(key, ())):
            if run.fence < fence:
                run.feed.mute()
                if run.stop(End.SUPERSEDED):
                    count_waste(run, End.SUPERSEDED.value)
        self.ended.drop(key, below=fence)

    def follow(self, key: TurnKey, fence: int, gateway: str, late: bool) -> None:
        """``gateway`` answered a begin: it follows. ``late``: the run may have spoken, so it gets a snapshot now."""
        for run in self._live.get(key, ()):
            if run.fence == fence:
                run.feed.follow(gateway)
                if late:
                    self._sink.touch(run.feed, urgent=True)

    def _on_begin(self, begin: Begin) -> None:
        self.end_below(begin.key, begin.fence)

    def _on_stop(self, stop: Stop) -> None:
        if stop.fence:
            self.end_below(stop.key, stop.fence)
            return
        for run in tuple(self._live.get(stop.key, ())):
            send_to_row(self._sink, run)
            run.feed.mute()
            if run.stop(End.STOPPED):
                count_waste(run, End.STOPPED.value)
        self.ended.drop(stop.key)

    def _on_attach(self, attach: Attach) -> None:
        # Following and queueing the snapshot happen in this one tick: nothing is missed and nothing is sent twice.
        for key in attach.keys:
            runs = [run for run in self._live.get(key, ()) if run.end is None]
            for run in runs:
                run.feed.follow(attach.gateway)
                # One that takes over says nothing before its begin: the run before it may still be heard until then.
                if run.begun or run.fence == 1:
                    self._sink.touch(run.feed, urgent=True)
            feed = self.ended.get(key)
            if not runs and feed is not None:
                feed.follow(attach.gateway)
                self._sink.touch(feed, urgent=True)

    def _on_leave(self, leave: Leave) -> None:
        for run in self._live.get(leave.key, ()):
            run.feed.leave(leave.gateway)
            if leave.abandoned and not run.feed.gateways and run.end is None:
                self._loop.call_later(DETACHED_S, self._still_detached, run, leave.gateway)

    def _still_detached(self, run: AnyRun, gateway: str) -> None:
        if not run.feed.gateways and run.end is None and not run.leaving:
            self._control.post(gateway, Detached(run.key, run.fence, self._control.process_id))

    def _on_running(self, running: Running) -> None:
        if self.runs_base(running.key, running.base):
            self._control.post(running.worker, Alive(running.key, running.base, self._control.process_id))
